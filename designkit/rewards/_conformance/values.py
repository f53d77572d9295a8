"""Values: as many as sequences, their own, in range, and with a reason where there is none."""

from __future__ import annotations

import contextlib
import random
import sys

from designkit.alphabet import BUILTIN_ALPHABETS
from designkit.errors import RewardError
from designkit.rewards._batches import score_all
from designkit.rewards._conformance.case import RELATIVE, Case, Failed, Skipped, describe, short
from designkit.rewards._function import FunctionReward
from designkit.rewards.base import Reward, Scores

_ALONE = 8


def alphabets(case: Case) -> str:
    """The declared alphabets are read, the others refused."""
    declared = case.reward.info.alphabets
    for name, other in BUILTIN_ALPHABETS.items():
        if declared and name not in declared and other.letters != case.alphabet.letters:
            try:
                case.reward.bind(other)
            except RewardError:
                continue
            raise Failed(f"bind() accepts {name}, which it does not declare: call super().bind()")
    case.reward.bind(case.alphabet)
    return f"reads {case.alphabet.name}" + ("; any alphabet" if not declared else "")


def shape(case: Case) -> str:
    """As many values come out as sequences go in."""
    width = len(case.reward.info.outputs)
    for count in sorted({1, min(7, len(case.sequences)), len(case.sequences)}):
        scores = score_all(case.reward, case.sequences[:count])
    case.values = scores.values
    try:
        nothing = case.reward.score([])
        shape = tuple(nothing.values.shape)
    except Exception as problem:
        raise Failed(
            f"an empty list raises {describe(problem)}: return values of shape (0, {width})"
        ) from problem
    if shape != (0, width) or len(nothing.errors):
        raise Failed(f"an empty list gives values of shape {shape}: return shape (0, {width})")
    return f"0, 1 and {len(case.sequences)} sequences in, as many values out"


def values(case: Case) -> str:
    """Some sequences have a score."""
    import numpy as np

    first, output = case.values[:, 0], case.reward.info.outputs[0]
    count = int(np.isfinite(first).sum())
    if not count:
        reasons = score_all(case.reward, case.sequences[:1]).errors
        raise Failed(
            f"none of {len(first)} sequences has a score ({reasons[0]}): check with sequences that "
            "should have one (--length, --sequences)"
        )
    low, high = float(np.nanmin(first)), float(np.nanmax(first))
    span = f"all {low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    said = f"{count} of {len(first)} sequences have a score, {span} {output.unit}".rstrip()
    return said + ("; sequences that differ in it would tell more" if low == high else "")


def repeat(case: Case) -> str:
    """The same sequences have the same values again."""
    if not case.reward.info.deterministic:
        raise Skipped("declares deterministic=False: two calls may differ, nothing is remembered")
    if not case.same(score_all(case.reward, case.sequences).values, case.values):
        raise Failed("a second call gives other values: declare deterministic=False, or seed it")
    return "a second call gives the same values"


def order(case: Case) -> str:
    """Values belong to their sequences, whatever stands around them."""
    if "repeat" not in case.passed:
        raise Skipped("two calls differ anyway")
    count = len(case.sequences)
    order = random.Random(0).sample(range(count), count)
    shuffled = score_all(case.reward, [case.sequences[row] for row in order]).values
    if not case.same(shuffled, case.values[order]):
        raise Failed("values change places when sequences do: return them in the given order")
    if case.reward.info.coupled:
        return "values follow their sequences; coupled, so not compared with sequences alone"
    for row in range(min(_ALONE, count)):
        alone = score_all(case.reward, [case.sequences[row]]).values
        if not case.same(alone, case.values[row : row + 1]):
            raise Failed(
                f"{short(case.sequences[row])} has {case.values[row, 0]:.6g} among others and "
                f"{alone[0, 0]:.6g} alone: values must not depend on the batch (or declare "
                "coupled=True)"
            )
    return "values follow their sequences, alone and among others"


def declared_range(case: Case) -> str:
    """Values lie in the declared range, those of one and the same letter too."""
    import numpy as np

    declared, found = [], case.values
    with contextlib.suppress(Exception, SystemExit):  # that is for another check to say
        found = np.concatenate([found, score_all(case.reward, case.homopolymers()).values])
    for column, output in zip(found.T, case.reward.info.outputs, strict=True):
        if output.range is None or np.isnan(column).all():
            continue
        low, high = output.range
        margin = RELATIVE * (1.0 if np.isinf(high - low) else high - low)
        for value in (float(np.nanmin(column)), float(np.nanmax(column))):
            if not low - margin <= value <= high + margin:
                raise Failed(f"{output.name} {value:.6g} is outside {low:g} to {high:g}: widen it")
        declared.append(f"{output.name} within {low:g} to {high:g}")
    if not declared:
        raise Skipped("no range declared")
    return ", ".join(declared)


def reasons(case: Case) -> str:
    """What has no score has a reason, and what has one has none."""
    import numpy as np

    batches = [[case.first(case.sequences[0], count)] for count in (0, 1)]
    size = case.reward.info.max_batch or len(case.sequences)
    batches += [case.sequences[start:][:size] for start in range(0, len(case.sequences), size)]
    missing = 0
    for batch in batches:
        scores = _try(case.reward, batch)
        if scores is None:
            continue
        for sequence, values, reason in zip(batch, scores.values, scores.errors, strict=True):
            where = f"sequence {short(sequence)}"
            if np.isinf(values).any():
                raise Failed(f"{where} has an infinite value: return NaN and say why")
            if reason is not None and not np.isnan(values[0]):
                raise Failed(f"{where} has both a value and a reason: make the value NaN")
            missing += bool(np.isnan(values[0]))
            if (
                reason is None
                and np.isnan(values[0])
                and not isinstance(case.reward, FunctionReward)
            ):
                raise Failed(f"{where} has no score and no reason: say why in Scores.errors")
    return f"{missing} without a score" + (", with reasons" if missing else "")


def _try(reward: Reward, batch: list[str]) -> Scores | None:
    """What a reward itself returns; None where it raises, which is a reason too."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return reward.score(list(batch))
    except (Exception, SystemExit):
        return None


def lengths(case: Case) -> str:
    """Sequences of no, one and few letters do not disturb their neighbours."""
    rows = [row % len(case.sequences) for row in range(5)]
    half = max(1, len(case.alphabet.split(case.sequences[rows[3]])) // 2)
    wanted = zip(rows[1:4], (0, 1, half), strict=True)
    middle = [case.first(case.sequences[row], count) for row, count in wanted]
    batch = [case.sequences[rows[0]], *middle, case.sequences[rows[4]]]
    found = _scored_together(case, batch, "an empty, a one-letter and a half sequence")
    if case.stable and not case.same(found.values[[0, 4]], case.values[[rows[0], rows[4]]]):
        raise Failed("sequences beside an empty one get other values than without it")
    empty = found.errors[1] or f"{found.values[1, 0]:.4g}"
    one = found.errors[2] or f"{found.values[2, 0]:.4g}"
    return f"no letters: {empty}; one letter: {one}"


def letters(case: Case) -> str:
    """Every letter of the alphabet is read, also where there is no other."""
    batch = case.homopolymers()
    found = _scored_together(case, batch, "sequences of one and the same letter")
    count = sum(error is None for error in found.errors)
    return f"{count} of {len(batch)} sequences of one and the same letter have a score"


def _scored_together(case: Case, batch: list[str], what: str) -> Scores:
    try:
        return score_all(case.reward, batch)
    except (Exception, SystemExit) as problem:
        raise Failed(
            f"{what} would stop a run ({describe(problem)}): return NaN and a reason instead"
        ) from problem
