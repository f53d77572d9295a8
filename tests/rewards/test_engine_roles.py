"""Filters, constraints, monitors, outputs and directions: by hand, and by what each reward saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from designkit.alphabet import DNA
from designkit.errors import BudgetExhausted, RewardError, UsageError
from designkit.rewards import (
    INFEASIBLE,
    Output,
    Reward,
    RewardEngine,
    RewardInfo,
    Scores,
    WeightedReward,
)
from designkit.rewards._transforms import Rank, Sigmoid, Step, ZScore
from designkit.rewards.gc import GC


class Count(Reward):
    """How often letters occur, one output for each; NaN for sequences with a T."""

    def __init__(self, letters: str, **info: Any):
        super().__init__()
        outputs = tuple(Output(letter.lower()) for letter in letters)
        self.info = RewardInfo(info.pop("name", letters.lower()), outputs=outputs, **info)
        self.letters = letters
        self.seen: list[str] = []

    def score(self, sequences: list[str]) -> Scores:
        self.seen += sequences
        values = [[s.count(x) if "T" not in s else np.nan for x in self.letters] for s in sequences]
        return Scores(
            np.array(values, dtype=float).reshape(-1, len(self.letters)), [None] * len(values)
        )


def engine_of(*weighted: WeightedReward, **settings: Any) -> RewardEngine:
    return RewardEngine(weighted, alphabet=DNA, **settings)


def test_a_filter_spares_the_rewards_after_it() -> None:
    expensive, cheap = Count("A", cost="expensive"), Count("C")
    engine = engine_of(
        WeightedReward(expensive), WeightedReward(cheap, role="filter", at_most=1, weight=2)
    )
    scored = engine.score(["AAC", "ACC", "CCC", "AAA", "AT"])
    assert cheap.seen == ["AAC", "ACC", "CCC", "AAA", "AT"]
    assert expensive.seen == ["AAC", "AAA"]
    np.testing.assert_array_equal(
        scored.reward, [2, INFEASIBLE - 2, INFEASIBLE - 4, 3, np.nan]
    )  # weight 2 times 1 or 2 too many
    assert scored.feasible.tolist() == [True, False, False, True, False]
    np.testing.assert_array_equal(scored.columns["a"], [2, np.nan, np.nan, 3, np.nan])
    np.testing.assert_array_equal(scored.columns["feasible"], [1, 0, 0, 1, np.nan])
    np.testing.assert_array_equal(scored.columns["violation"], [0, 2, 4, 0, np.nan])
    assert scored.reasons == [None, None, None, None, "c: the reward gave no score"]
    assert (engine.rows_scored, engine.infeasible_rows, engine.nan_rows) == (2, 2, 1)


def test_cheap_filters_come_first() -> None:
    slow, quick = Count("A", cost="expensive"), Count("C")
    engine = engine_of(
        WeightedReward(slow, role="filter", at_least=1),
        WeightedReward(quick, role="filter", at_most=0),
        WeightedReward(Count("G")),
    )
    assert engine.score(["AG", "CA", "GG"]).feasible.tolist() == [True, False, False]
    assert slow.seen == ["AG", "GG"]


def test_constraints_rank_below_and_are_all_asked() -> None:
    objective = Count("A")
    engine = engine_of(
        WeightedReward(objective),
        WeightedReward(Count("C"), role="constraint", at_least=1, at_most=2),
        WeightedReward(Count("G"), role="constraint", at_most=0),
    )
    scored = engine.score(["AC", "AAA", "ACCCCGG", "TC", "ACC"])
    np.testing.assert_array_equal(scored.reward, [1, INFEASIBLE - 1, INFEASIBLE - 4, np.nan, 1])
    np.testing.assert_array_equal(scored.columns["a"], [1, 3, 1, np.nan, 1])
    assert scored.feasible.tolist() == [True, False, False, False, True]
    assert (scored.reward[[0, 4]].min() > scored.reward[[1, 2]].max()).all()


def test_outside_the_bounds_and_without_an_objective_is_without_a_score() -> None:
    class Picky(Count):
        def score(self, sequences: list[str]) -> Scores:
            scores = super().score(sequences)
            scores.values[[s.startswith("G") for s in sequences]] = np.nan
            return scores

    engine = engine_of(
        WeightedReward(Picky("A")), WeightedReward(Count("C"), role="constraint", at_least=1)
    )
    scored = engine.score(["GA", "AA", "GC"])
    np.testing.assert_array_equal(scored.reward, [np.nan, INFEASIBLE - 1, np.nan])
    assert (engine.nan_rows, engine.infeasible_rows) == (2, 1)


def test_only_bounds() -> None:
    engine = engine_of(WeightedReward(Count("C"), role="constraint", at_least=1))
    np.testing.assert_array_equal(engine.score(["AC", "AA"]).reward, [0, INFEASIBLE - 1])


def test_monitors_are_asked_about_designs_only() -> None:
    monitor = Count("G", cost="expensive")
    engine = engine_of(WeightedReward(Count("A")), WeightedReward(monitor, role="monitor"))
    tokens = torch.from_numpy(DNA.encode(["AAG", "GGG"]))
    assert engine.values(tokens).tolist() == [2, 0]
    assert monitor.seen == []
    scored = engine.score(["AAG", "AAT"])
    assert monitor.seen == ["AAG", "AAT"]
    assert scored.columns["g"][0] == 1
    assert engine.monitor(["GG", "AAG", "GG"])["g"].tolist() == [2, 1, 2]
    assert monitor.seen == ["AAG", "AAT", "GG"]
    assert engine.rows_scored == 3  # monitors are not in the budget


def test_a_monitor_without_a_score_does_not_cost_the_reward() -> None:
    engine = engine_of(WeightedReward(GC()), WeightedReward(Count("G"), role="monitor"))
    scored = engine.score(["GT"])
    assert scored.reward.tolist() == [0.5]
    assert scored.reasons == ["g: the reward gave no score"]
    assert engine.nan_rows == 0


def test_the_output_that_counts() -> None:
    engine = engine_of(WeightedReward(Count("AC", name="both"), output="c", direction="minimize"))
    scored = engine.score(["AAC", "CCC"])
    assert scored.reward.tolist() == [-1, -3]
    assert {k: v.tolist() for k, v in scored.columns.items()} == {"both_a": [2, 0], "both": [1, 3]}
    with pytest.raises(UsageError, match=r"no output 'g' .*it has a, c"):
        engine_of(WeightedReward(Count("AC"), output="g"))


def test_what_another_output_lacks_is_no_failure() -> None:
    class Half(Count):
        def score(self, sequences: list[str]) -> Scores:
            scores = super().score(sequences)
            scores.values[:, 0] = np.nan
            return scores

    second = engine_of(WeightedReward(Half("AC", name="both"), output="c")).score(["AC", "AT"])
    assert second.reasons == [None, "both: the reward gave no score"]
    np.testing.assert_array_equal(second.reward, [1, np.nan])
    assert engine_of(WeightedReward(Half("AC"))).score(["AC"]).reasons[0] is not None


def test_transforms_and_weights() -> None:
    gc = WeightedReward(GC(), transform=Sigmoid(low=0, high=1), weight=0.3)
    engine = engine_of(gc, WeightedReward(Count("A"), weight=0.1))
    found = engine.score(["GC", "AT", "GA"]).reward[[0, 2]]
    np.testing.assert_allclose(found, [0.3 * 0.95, 0.3 * 0.5 + 0.1], rtol=1e-12)
    np.testing.assert_array_equal(engine.score(["GA"]).columns["gc"], [0.5])  # its own unit


def test_ranks_are_of_the_population() -> None:
    engine = engine_of(WeightedReward(Count("A"), transform=Rank()))
    assert engine.coupled
    assert engine.score(["A", "AAA", "AA", "AAA"]).reward.tolist() == [0, 1, 0.5, 1]
    assert engine.score(["AAA", "AAAAA"]).reward.tolist() == [0, 1]


def test_pareto_fronts_of_the_population() -> None:
    engine = engine_of(WeightedReward(Count("A")), WeightedReward(Count("C")), aggregation="pareto")
    assert engine.coupled
    assert engine.score(["AAC", "ACC", "AC", "GG"]).reward.tolist() == [0, 0, -1, -2]


@pytest.mark.parametrize(
    ("weighted", "message"),
    [
        (WeightedReward(GC(), role="filter"), "filter 'gc' needs at_least, at_most or both"),
        (WeightedReward(GC(), at_most=1), "are for the roles constraint and filter"),
        (WeightedReward(GC(), role="constraint", at_most=1, weight=0), "weight must be above 0"),
        (WeightedReward(GC(), role="monitor", transform=Step(low=1)), "for the role objective"),
        (
            WeightedReward(GC(), transform=Sigmoid(low=0, high=1), direction="minimize"),
            "less is better, but Sigmoid rises; use reverse_sigmoid, or say direction=maximize",
        ),
    ],
)
def test_parts_that_do_not_fit(weighted: WeightedReward, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        engine_of(weighted, WeightedReward(Count("A")))


def test_statistics_come_from_the_reference_and_not_from_the_budget() -> None:
    with pytest.raises(UsageError, match="needs reference values"):
        engine_of(WeightedReward(GC(), transform=ZScore()))
    objective = Count("A")
    sequences = ["A" * n + "C" * (40 - n) for n in range(40)]
    asked: list[int] = []

    def reference() -> list[str]:
        asked.append(1)
        return [*sequences, sequences[0]]

    engine = engine_of(
        WeightedReward(objective, transform=ZScore()),
        WeightedReward(Count("C"), role="monitor"),
        reference=reference,
        max_evals=1,
    )
    assert objective.seen == sequences
    np.testing.assert_allclose(
        engine.score(["A" * 3]).reward, (3 - 19.5) / np.std(range(40), ddof=1)
    )
    assert engine.rewards[0].transform.mean == 19.5  # type: ignore[union-attr]
    assert np.std(engine.reference_rewards(), ddof=1) == pytest.approx(1)
    assert objective.seen == [*sequences, "AAA"]
    assert engine.rows_scored == 1
    with pytest.raises(RewardError, match="needs 20 reference sequences with a score, 1 of 2"):
        engine_of(WeightedReward(Count("A"), transform=ZScore()), reference=lambda: ["A", "T"])


def test_large_negative_objectives() -> None:
    reward = WeightedReward(Count("A"), weight=-1e7)
    assert engine_of(reward).score(["AA", "A"]).reward.tolist() == [-2e7, -1e7]
    bounded = engine_of(reward, WeightedReward(Count("C"), role="constraint", at_most=1))
    with pytest.raises(UsageError, match="smaller weights or a transform"):
        bounded.score(["AA"])


def test_a_population_is_scored_whole() -> None:
    with pytest.raises(RewardError, match="not in batches"):
        RewardInfo("crowd", coupled=True, max_batch=2)

    class Crowd(Count):
        def score(self, sequences: list[str]) -> Scores:
            if "GGG" in sequences:
                raise ValueError("no G")
            return Scores(
                np.full((len(sequences), 1), float(len(sequences))), [None] * len(sequences)
            )

    engine = engine_of(WeightedReward(Crowd("A", coupled=True)))
    assert engine.score(["A", "C", "A", "AA"]).reward.tolist() == [3, 3, 3, 3]
    failed = engine.score(["A", "GGG"])
    assert failed.reasons == ["a: ValueError: no G"] * 2


def test_a_noisy_monitor_does_not_change_ranks() -> None:
    ranked = WeightedReward(Count("A"), transform=Rank())
    noisy = WeightedReward(Count("C", deterministic=False), role="monitor")
    sequences = ["A", "A", "AA", "AAA"]
    plain = engine_of(ranked).score(sequences).reward
    np.testing.assert_array_equal(engine_of(ranked, noisy).score(sequences).reward, plain)


def test_weights_of_products() -> None:
    with pytest.raises(UsageError, match="needs weights above 0"):
        engine_of(WeightedReward(GC(), weight=-1), aggregation="min")


def test_a_budget_stops_before_it_is_overspent() -> None:
    objective, sieve = Count("A"), Count("C")
    engine = engine_of(
        WeightedReward(objective),
        WeightedReward(sieve, role="filter", at_most=0),
        max_evals=3,
    )
    engine.score(["A", "AA", "C", "A"])
    with pytest.raises(BudgetExhausted, match=r"budget of 3 .* \(2 made, 2 more asked for\)"):
        engine.score(["AAA", "AAAA", "AA"])
    assert objective.seen == ["A", "AA"]
    assert engine.score(["AAA", "AA", "CC"]).reward[:2].tolist() == [3, 2]
    assert engine.rows_scored == 3


class Squares(Reward):
    """Sum of squared shares of A: differentiable and not linear."""

    def __init__(self) -> None:
        super().__init__()
        self.info = RewardInfo("squares", differentiable=True)

    def score(self, sequences: list[str]) -> Scores:
        return Scores(np.array([[float(s.count("A"))] for s in sequences]), [None] * len(sequences))

    def score_relaxed(self, probs: torch.Tensor, valid: Any = None) -> torch.Tensor:
        return (probs[..., 0] ** 2).sum(1)


@pytest.mark.parametrize("aggregation", ["sum", "product", "geometric_mean", "min"])
def test_relaxed_objective_equals_the_hard_one(aggregation: Any) -> None:
    engine = engine_of(
        WeightedReward(Squares(), weight=2, transform=Sigmoid(low=0, high=5)),
        WeightedReward(GC(), weight=3),
        aggregation=aggregation,
    )
    sequences = ["AACG", "AAAG", "GGCC"]
    tokens = torch.from_numpy(DNA.encode(sequences))
    probs = torch.nn.functional.one_hot(tokens, 4).double()
    np.testing.assert_allclose(engine.score_relaxed(probs), engine.score(sequences).reward)
    soft = torch.softmax(torch.arange(32.0).reshape(2, 4, 4).double().sin(), -1).requires_grad_()
    assert torch.autograd.gradcheck(engine.score_relaxed, (soft,))


@pytest.mark.parametrize("aggregation", ["sum", "product", "geometric_mean", "min"])
def test_slopes_are_those_of_the_relaxed_objective_and_scores_come_with_them(
    aggregation: Any,
) -> None:
    bound = Count("T")
    engine = engine_of(
        WeightedReward(Squares(), weight=2, transform=Sigmoid(low=0, high=5)),
        WeightedReward(GC(), weight=3),
        WeightedReward(bound, role="constraint", at_most=1),
        aggregation=aggregation,
        max_evals=3,
    )
    sequences = ["AACG", "AAAG", "ATTC"]
    tokens = torch.from_numpy(DNA.encode(sequences))
    slopes = engine.slopes(tokens)
    assert engine.score(sequences).feasible.tolist() == [True, True, False]
    assert (engine.rows_scored, bound.seen) == (3, sequences)
    assert [use["rows"] for use in engine.usage()] == [3, 3, 3]
    probs = torch.nn.functional.one_hot(tokens, 4).float().requires_grad_()
    engine.max_evals = None
    (expected,) = torch.autograd.grad(engine.score_relaxed(probs).sum(), probs)
    torch.testing.assert_close(slopes, expected)


def test_slopes_of_what_has_no_score_are_zero_and_do_not_spoil_others() -> None:
    class Choosy(Squares):
        def score(self, sequences: list[str]) -> Scores:
            if any("T" in s for s in sequences):
                raise ValueError("no T")
            return super().score(sequences)

    engine = engine_of(WeightedReward(Choosy()), WeightedReward(GC()))
    tokens = torch.from_numpy(DNA.encode(["AACG", "ATAG"]))
    slopes = engine.slopes(tokens)
    alone = engine_of(WeightedReward(Squares()), WeightedReward(GC())).slopes(tokens[:1])
    torch.testing.assert_close(slopes[:1], alone)
    assert not slopes[1].any()
    assert np.isnan(engine.score(["AACG", "ATAG"]).reward).tolist() == [False, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: engine_of(WeightedReward(Count("A"))), "'a' is not differentiable"),
        (lambda: engine_of(WeightedReward(GC(), transform=Rank())), "no derivative"),
    ],
)
def test_what_has_no_derivative(make: Callable[[], RewardEngine], message: str) -> None:
    with pytest.raises((RewardError, UsageError), match=message):
        make().score_relaxed(torch.ones(1, 3, 4))


def test_memory_runs_out() -> None:
    """A batch that does not fit is halved, once for all."""

    class Large(Count):
        def score(self, sequences: list[str]) -> Scores:
            self.sizes.append(len(sequences))
            if len(sequences) > 3:
                raise MemoryError
            return super().score(sequences)

    reward = Large("A")
    reward.sizes = []
    engine = engine_of(WeightedReward(reward))
    sequences = ["A" * n for n in range(1, 9)]
    assert engine.score(sequences).reward.tolist() == list(range(1, 9))
    assert engine.score(["A" * n for n in range(9, 14)]).reward.tolist() == list(range(9, 14))
    assert reward.sizes == [8, 4, 2, 2, 2, 2, 2, 2, 1]
    assert reward.seen == ["A" * n for n in range(1, 14)]


def test_usage_counts() -> None:
    engine = engine_of(WeightedReward(Count("A")))
    engine.score(["A", "C", "A", "T"])
    engine.score(["A", "G"])
    (usage,) = engine.usage()
    assert usage.pop("seconds") >= 0
    assert usage == {
        "column": "a",
        "calls": 2,
        "rows": 4,
        "from_memory": 1,
        "from_cache": 0,
        "failed": 1,
    }
