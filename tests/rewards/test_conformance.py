"""The checks of a reward: one that is broken in one way fails exactly that check."""

from __future__ import annotations

import math
import os
import random
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from designkit.alphabet import DNA, RNA, Alphabet
from designkit.errors import RewardError
from designkit.rewards import (
    Finding,
    Output,
    Reward,
    RewardInfo,
    Scores,
    check_reward,
    reward,
    time_reward,
)
from designkit.rewards._conformance import FURTHER, NEEDED
from designkit.settings import Settings
from tests.rewards.examples import random_sequences

SEQUENCES = random_sequences(count=20, length=12)


class ShareSettings(Settings):
    """What is counted.

    Args:
        letter: the letter.
        scale: factor of the share.
    """

    letter: str = "G"
    scale: float = 1.0


class Share(Reward):
    """The share of a letter; it keeps the contract."""

    template = RewardInfo(
        name="share",
        alphabets=("dna",),
        outputs=(Output("share", unit="fraction", range=(0, 1)),),
        differentiable=True,
    )
    settings_type = ShareSettings
    settings: ShareSettings

    def score(self, sequences: list[str]) -> Scores:
        counts = np.array([s.count(self.settings.letter) for s in sequences], dtype=float)
        lengths = np.array([len(s) or math.nan for s in sequences], dtype=float)
        errors = [None if s else "empty sequence" for s in sequences]
        return Scores((self.settings.scale * counts / lengths)[:, None], errors)

    def score_relaxed(self, probs: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        share = probs[..., DNA.index[self.settings.letter]]
        valid = torch.ones_like(share) if valid is None else valid.to(share)
        return self.settings.scale * (share * valid).sum(1) / valid.sum(1)


def changed(**info: Any) -> type[Share]:
    """``Share`` with another template."""
    return type("Changed", (Share,), {"template": replace(Share.template, **info)})


class AnyAlphabet(Share):
    def bind(self, alphabet: Alphabet) -> None:
        pass


class TooFew(Share):
    def score(self, sequences: list[str]) -> Scores:
        scores = super().score(sequences)
        return Scores(scores.values[:-1], scores.errors[:-1])


class NotForNothing(Share):
    def score(self, sequences: list[str]) -> Scores:
        if not sequences:
            raise IndexError("list index out of range")
        return super().score(sequences)


class Silent(Share):
    def score(self, sequences: list[str]) -> Scores:
        return Scores(np.full((len(sequences), 1), math.nan), ["no idea"] * len(sequences))


class Noisy(Share):
    template = replace(Share.template, differentiable=False)
    score_relaxed = Reward.score_relaxed

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._random = np.random.default_rng(0)

    def score(self, sequences: list[str]) -> Scores:
        scores = super().score(sequences)
        return Scores(scores.values * self._random.random((len(sequences), 1)), scores.errors)


class Sorted(Share):
    template = replace(Share.template, differentiable=False)
    score_relaxed = Reward.score_relaxed

    def score(self, sequences: list[str]) -> Scores:
        return super().score(sorted(sequences))


class OfTheBatch(Share):
    template = replace(Share.template, differentiable=False)
    score_relaxed = Reward.score_relaxed

    def score(self, sequences: list[str]) -> Scores:
        scores = super().score(sequences)
        if len(sequences) > 2:
            scores.values /= np.nanmax(scores.values) or 1
        return scores


class NoReason(Share):
    def score(self, sequences: list[str]) -> Scores:
        return Scores(super().score(sequences).values, [None] * len(sequences))


class Infinite(Share):
    def score(self, sequences: list[str]) -> Scores:
        scores = super().score(sequences)
        return Scores(np.where(np.isnan(scores.values), -np.inf, scores.values), scores.errors)


class ReasonBesideValue(Share):
    def score(self, sequences: list[str]) -> Scores:
        scores = super().score(sequences)
        return Scores(np.nan_to_num(scores.values), scores.errors)


class StopsAtEmpty(Share):
    def score(self, sequences: list[str]) -> Scores:
        if "" in sequences:
            raise RewardError("an empty sequence")
        return super().score(sequences)


class StopsAtPlain(Share):
    def score(self, sequences: list[str]) -> Scores:
        if any(len(s) > 1 and len(set(s)) == 1 for s in sequences):
            raise RewardError("no variety")
        return super().score(sequences)


class RelaxedIsMore(Share):
    def score_relaxed(self, probs: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        return super().score_relaxed(probs, valid) + 0.1


class RelaxedIsAColumn(Share):
    def score_relaxed(self, probs: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        return super().score_relaxed(probs, valid)[:, None]


class CountsPadding(Share):
    def score_relaxed(self, probs: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        return super().score_relaxed(probs)


class DoubleGradient(Share):
    def score_relaxed(self, probs: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        value = super().score_relaxed(probs, valid)
        return 2 * value - value.detach()


class NoGradient(Share):
    def score_relaxed(self, probs: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        return super().score_relaxed(probs, valid).detach()


class DrawsGlobally(Share):
    def score(self, sequences: list[str]) -> Scores:
        random.random()
        return super().score(sequences)


class SeedsNumpy(Share):
    def score(self, sequences: list[str]) -> Scores:
        np.random.seed(7)
        return super().score(sequences)


class SeedsTorch(Share):
    def score(self, sequences: list[str]) -> Scores:
        torch.manual_seed(7)
        return super().score(sequences)


class Prints(Share):
    def score(self, sequences: list[str]) -> Scores:
        print("scoring")  # noqa: T201
        return super().score(sequences)


class PrintsLikeAProgram(Share):
    def score(self, sequences: list[str]) -> Scores:
        os.write(1, b"from a program\n")
        return super().score(sequences)


class ForgetsParameters(Share):
    def __init__(self, **parameters: Any):
        super().__init__(**{"letter": "C", **parameters})
        self.info = replace(self.info, params={})


class ListSettings(ShareSettings):
    """A list that cannot be written after a ``?``."""

    letters: tuple[str, ...] = ("G", "C")


class UnreadableList(Share):
    settings_type = ListSettings


BROKEN = [
    ("alphabets", AnyAlphabet, "bind"),
    ("alphabets", changed(alphabets=("rna",)), "scores rna sequences, not dna"),
    ("shape", TooFew, "returned 0 values for 1 sequences"),
    ("shape", NotForNothing, "return values of shape (0, 1)"),
    ("values", Silent, "none of 20 sequences has a score (no idea)"),
    ("repeat", Noisy, "declare deterministic=False"),
    ("order", Sorted, "values change places"),
    ("order", OfTheBatch, "must not depend on the batch"),
    ("range", changed(outputs=(Output("share", range=(0, 0.9)),)), "share 1 is outside 0 to 0.9"),
    ("reasons", NoReason, "sequence '' has no score and no reason"),
    ("reasons", Infinite, "infinite"),
    ("reasons", ReasonBesideValue, "both a value and a reason"),
    ("lengths", StopsAtEmpty, "return NaN and a reason"),
    ("letters", StopsAtPlain, "one and the same letter would stop a run"),
    ("relaxed", RelaxedIsMore, "both must be the same"),
    ("relaxed", RelaxedIsAColumn, "gives shape (20, 1), not (20,)"),
    ("relaxed", changed(differentiable=False), "declare differentiable=True"),
    ("padding", CountsPadding, "leave out what is False in valid"),
    ("gradient", DoubleGradient, "differences of the values say"),
    ("gradient", NoGradient, "without a gradient"),
    ("randomness", DrawsGlobally, "generator of random:"),
    ("randomness", SeedsNumpy, "generator of numpy.random:"),
    ("randomness", SeedsTorch, "generator of torch:"),
    ("silence", Prints, "writes 'scoring' to standard output"),
    ("silence", PrintsLikeAProgram, "writes 'from a program' to standard output"),
    ("parameters", ForgetsParameters, "does not hold letter"),
    ("parameters", UnreadableList, "letters"),
    ("run", changed(name="id"), "cannot have the column 'id'"),
]


def failed(findings: list[Finding]) -> list[str]:
    return [finding.check for finding in findings if finding.outcome == "failed"]


@pytest.mark.parametrize("parameters", [{}, {"letter": "C", "scale": 0.5}])
def test_a_good_reward_passes_every_check(parameters: dict[str, Any]) -> None:
    findings = check_reward(Share(**parameters), DNA, SEQUENCES)
    assert {finding.check: finding.outcome for finding in findings} == dict.fromkeys(
        [*NEEDED, *FURTHER], "ok"
    )


@pytest.mark.parametrize(
    ("check", "broken", "advice"), BROKEN, ids=[f"{c}-{b.__name__}" for c, b, _ in BROKEN]
)
def test_a_broken_reward_fails_exactly_its_check(
    check: str, broken: type[Reward], advice: str
) -> None:
    findings = check_reward(broken(), DNA, SEQUENCES)
    assert failed(findings) == [check], findings
    assert advice in next(finding.detail for finding in findings if finding.check == check)


def test_there_is_a_broken_reward_for_every_check() -> None:
    assert {check for check, _, _ in BROKEN} == {*NEEDED, *FURTHER}


def test_what_a_reward_does_not_claim_is_skipped() -> None:
    @reward(alphabet="dna", deterministic=False)
    def noise(sequences: list[str]) -> list[float]:
        return [draws.random() for _ in sequences]

    draws = random.Random(0)
    outcomes = {f.check: (f.outcome, f.detail) for f in check_reward(noise(), DNA, SEQUENCES)}
    assert outcomes["repeat"] == (
        "skipped",
        "declares deterministic=False: two calls may differ, nothing is remembered",
    )
    skipped = {check for check, (outcome, _) in outcomes.items() if outcome == "skipped"}
    assert skipped == {"repeat", "order", "range", "relaxed", "padding", "gradient"}
    assert "failed" not in {outcome for outcome, _ in outcomes.values()}


def test_a_function_that_fails_for_some_sequences_keeps_the_contract() -> None:
    @reward(alphabet="dna", unit="fraction", range=(0, 1))
    def gc(sequences: list[str]) -> list[float]:
        return [(s.count("G") + s.count("C")) / len(s) for s in sequences]

    findings = check_reward(gc(), DNA, SEQUENCES)
    assert failed(findings) == []
    lengths = next(finding for finding in findings if finding.check == "lengths")
    assert "ZeroDivisionError" in lengths.detail


def test_coupled_rewards_are_not_compared_with_sequences_alone() -> None:
    @reward(coupled=True)
    def rank(sequences: list[str]) -> list[float]:
        counts = [s.count("G") for s in sequences]
        return [float(sum(other < count for other in counts)) for count in counts]

    assert failed(check_reward(rank(), RNA, random_sequences(RNA, 20))) == []

    @reward
    def not_declared(sequences: list[str]) -> list[float]:
        return rank().score(sequences).values[:, 0].tolist()

    assert failed(check_reward(not_declared(), RNA, random_sequences(RNA, 20))) == ["order"]


def test_batches_are_no_larger_than_the_reward_takes() -> None:
    @reward(alphabet="dna", max_batch=4)
    def small(sequences: list[str]) -> list[float]:
        assert len(sequences) <= 4
        return [float(s.count("G")) for s in sequences]

    reasons = {f.check: f.detail for f in check_reward(small(), DNA, SEQUENCES)}
    assert reasons["values"].startswith("20 of 20")
    assert time_reward(small(), SEQUENCES).detail.endswith("in batches of 4")


def test_the_check_leaves_the_random_generators_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    check_reward(SeedsNumpy(), DNA, SEQUENCES)
    check_reward(SeedsTorch(), DNA, SEQUENCES)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_networks_in_single_precision_are_checked_too() -> None:
    layer = torch.nn.Linear(4, 1)

    class Network(Share):
        template = replace(Share.template, outputs=(Output("share"),))
        factor = 1.0

        def score(self, sequences: list[str]) -> Scores:
            values = np.full((len(sequences), 1), math.nan)
            for row, sequence in enumerate(sequences):
                if sequence:
                    probs = torch.eye(4)[torch.from_numpy(DNA.encode([sequence]))]
                    values[row] = float(self.score_relaxed(probs).detach())
            return Scores(values, [None if s else "empty" for s in sequences])

        def score_relaxed(
            self, probs: torch.Tensor, valid: torch.Tensor | None = None
        ) -> torch.Tensor:
            if valid is not None and not bool(valid.all()):
                raise RewardError("one length at a time")
            value = torch.tanh(layer(probs)).mean((1, 2))
            return self.factor * value + (1 - self.factor) * value.detach()

    details = {f.check: f.detail for f in check_reward(Network(), DNA, SEQUENCES)}
    assert details["gradient"].endswith("single precision")
    assert details["padding"] == "refused: one length at a time"
    Network.factor = 1.2
    assert failed(check_reward(Network(), DNA, SEQUENCES)) == ["gradient"]


def test_slow_rewards_are_not_timed_for_long() -> None:
    slept = []

    @reward
    def slow(sequences: list[str]) -> list[float]:
        slept.append(len(sequences))
        time.sleep(0.002 * len(sequences))
        return [0.0] * len(sequences)

    finding = time_reward(slow(), SEQUENCES, seconds=0.1)
    assert finding.outcome == "ok"
    assert finding.detail.endswith("in batches of 16")
    assert max(slept) == 16  # 64 would take 0.13 seconds
