"""Does the relaxed form of a reward agree with the hard one, and its gradient with differences?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.errors import RewardError
from designkit.rewards._batches import score_all
from designkit.rewards._conformance.case import Case, Failed, Skipped
from designkit.rewards.base import Reward

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 3
_DIRECTIONS = 3
# Steps of the differences, and how far they may be from the derivative, as a share of both.
_DOUBLE = ((1e-4, 1e-5, 1e-6), 1e-4)
_SINGLE = ((1e-1, 3e-2, 1e-2, 3e-3), 5e-2)
_AGREEMENT = 1e-5


def relaxed(case: Case) -> str:
    """The relaxed score of one-hots is the score."""
    import numpy as np
    import torch

    overridden = type(case.reward).score_relaxed is not Reward.score_relaxed
    rows = _rows_of_one_length(case)
    probs = _one_hots(case, [case.sequences[row] for row in rows])
    if not case.reward.info.differentiable:
        if overridden and _is_answered(case.reward, probs):
            raise Failed("score_relaxed works: declare differentiable=True")
        raise Skipped("not differentiable")
    hard = case.values[rows, 0]
    for valid in (None, torch.ones(probs.shape[:2], dtype=torch.bool)):
        found = _ask(case.reward, probs, valid)
        if found.shape != (len(rows),):
            raise Failed(f"score_relaxed gives shape {tuple(found.shape)}, not ({len(rows)},)")
        values = found.detach().double().cpu().numpy()
        if not np.allclose(values, hard, rtol=_AGREEMENT, atol=_AGREEMENT):
            worst = int(np.argmax(np.abs(values - hard)))
            raise Failed(
                f"score_relaxed gives {values[worst]:.6g} for the one-hots of a sequence whose "
                f"score is {hard[worst]:.6g}: both must be the same, in unit and direction"
            )
    return f"the same as the score on {len(rows)} one-hots"


def padding(case: Case) -> str:
    """Positions that do not exist do not count."""
    import numpy as np
    import torch

    if not case.reward.info.differentiable:
        raise Skipped("not differentiable")
    if "relaxed" not in case.passed:
        raise Skipped("the relaxed score is wrong without padding")
    rows = _rows_of_one_length(case)[:_ROWS]
    length = len(case.alphabet.split(case.sequences[rows[0]]))
    kept = length - max(1, length // 4)
    hard = score_all(case.reward, [case.first(case.sequences[row], kept) for row in rows])
    if np.isnan(hard.values[:, 0]).any():
        raise Skipped(f"no score at length {kept}")
    probs = _one_hots(case, [case.sequences[row] for row in rows])
    valid = torch.ones(probs.shape[:2], dtype=torch.bool)
    valid[:, kept:] = False
    try:
        found = _ask(case.reward, probs, valid).detach().double().cpu().numpy()
    except RewardError as refusal:
        return f"refused: {refusal}"
    if not np.allclose(found, hard.values[:, 0], rtol=_AGREEMENT, atol=_AGREEMENT):
        raise Failed(
            f"{length} positions of which {kept} exist get {found[0]:.6g}, the {kept} letters "
            f"alone {hard.values[0, 0]:.6g}: leave out what is False in valid"
        )
    return "positions that do not exist do not count"


def gradient(case: Case) -> str:
    """The gradient is that of the values: differences along random directions."""
    import torch

    if not case.reward.info.differentiable:
        raise Skipped("not differentiable")
    length = len(case.alphabet.split(case.sequences[_rows_of_one_length(case)[0]]))
    source = torch.Generator().manual_seed(0)
    shape = (_ROWS, length, case.alphabet.size)
    probs = torch.softmax(torch.randn(shape, generator=source, dtype=torch.float64), -1)
    steps: tuple[float, ...]
    steps, tolerance = _DOUBLE
    if not _works_in(case.reward, probs):
        probs, (steps, tolerance) = probs.float(), _SINGLE
    probs.requires_grad_()
    values = case.reward.score_relaxed(probs)
    if values.shape != (_ROWS,):
        raise Skipped("the relaxed score has another shape than it should")
    if not torch.isfinite(values).all():
        raise Skipped("no value at random probabilities of this length")
    if not values.requires_grad:
        raise Failed("score_relaxed gives a value without a gradient: compute it with torch only")
    (slope,) = torch.autograd.grad(values.sum(), probs)
    if not torch.isfinite(slope).all():
        raise Failed("the gradient is not finite at random probabilities")
    margin = tolerance * 1e-3 * float(slope.norm(dim=(1, 2)).max())
    with torch.no_grad():
        for _ in range(_DIRECTIONS):
            direction = torch.randn(shape, generator=source, dtype=torch.float64).to(probs)
            direction -= direction.mean(-1, keepdim=True)  # probabilities still sum to 1
            direction /= direction.norm(dim=(1, 2), keepdim=True)
            expected = (slope * direction).sum((1, 2)).double()
            apart = torch.full((_ROWS,), torch.inf, dtype=torch.float64)
            for step in steps:
                above = case.reward.score_relaxed(probs + step * direction).double()
                below = case.reward.score_relaxed(probs - step * direction).double()
                found = (above - below) / (2 * step)
                allowed = tolerance * (found.abs() + expected.abs()) + margin
                apart = torch.minimum(apart, (found - expected).abs() - allowed)
            if (apart > 0).any():
                row = int(apart.argmax())
                raise Failed(
                    f"the derivative along a random direction is {expected[row]:.6g}, differences "
                    f"of the values say {found[row]:.6g}: look for detach(), rounding, argmax"
                )
    precision = "double" if probs.dtype == torch.float64 else "single"
    return f"agrees with differences in {_ROWS * _DIRECTIONS} directions, {precision} precision"


def _rows_of_one_length(case: Case) -> list[int]:
    """Places of the sequences that have a score and the commonest length."""
    import numpy as np

    rows: dict[int, list[int]] = {}
    for row in np.flatnonzero(np.isfinite(case.values[:, 0])).tolist():
        rows.setdefault(len(case.alphabet.split(case.sequences[row])), []).append(row)
    return max(rows.values(), key=len)


def _one_hots(case: Case, sequences: list[str]) -> Tensor:
    import torch

    tokens = torch.from_numpy(case.alphabet.encode(sequences))
    return torch.nn.functional.one_hot(tokens, case.alphabet.size).double()


def _ask(reward: Reward, probs: Tensor, valid: Tensor | None = None) -> Tensor:
    """The relaxed score of float64 probabilities, in single precision where it must be."""
    return reward.score_relaxed(probs if _works_in(reward, probs) else probs.float(), valid)


def _works_in(reward: Reward, probs: Tensor) -> bool:
    """Whether a reward takes probabilities of this precision; networks know but one."""
    try:
        reward.score_relaxed(probs[:1])
    except RuntimeError as problem:
        if "dtype" in str(problem) or "type" in str(problem):
            return False
        raise
    return True


def _is_answered(reward: Reward, probs: Tensor) -> bool:
    try:
        _ask(reward, probs)
    except RewardError:
        return False
    return True
