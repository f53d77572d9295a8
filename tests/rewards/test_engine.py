"""The engine sends each distinct sequence once, joins by sequence, and counts exactly."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from designkit.alphabet import DNA, PROTEIN, RNA
from designkit.errors import BudgetExhausted, RewardError, UsageError
from designkit.rewards import Output, Reward, RewardEngine, RewardInfo, Scores, WeightedReward
from designkit.rewards.gc import GC


class Counting(Reward):
    """Number of A, or with ``noisy`` a running number; remembers what it was sent."""

    def __init__(self, name: str = "a", **info: Any):
        super().__init__()
        self.info = RewardInfo(name, **info)
        self.batches: list[list[str]] = []

    @property
    def seen(self) -> list[str]:
        return [sequence for batch in self.batches for sequence in batch]

    def score(self, sequences: list[str]) -> Scores:
        self.batches.append(sequences)
        if self.info.deterministic:
            values = [float(s.count("A")) if "T" not in s else np.nan for s in sequences]
        else:
            values = [float(n) for n in range(len(self.seen) - len(sequences), len(self.seen))]
        rows = np.array(values).reshape(-1, 1).repeat(len(self.info.outputs), axis=1)
        return Scores(rows, [None] * len(sequences))


def engine_of(*rewards: Reward | WeightedReward, **settings: Any) -> RewardEngine:
    weighted = [r if isinstance(r, WeightedReward) else WeightedReward(r) for r in rewards]
    return RewardEngine(weighted, alphabet=DNA, **settings)


def test_each_distinct_sequence_is_sent_once() -> None:
    reward = Counting()
    engine = engine_of(reward)
    first = engine.score(["AAC", "CCC", "AAC", "ACA", "CCC"])
    assert first.reward.tolist() == [2, 0, 2, 2, 0]
    second = engine.score(["CCC", "AAA", "AAC"])
    assert second.reward.tolist() == [0, 3, 2]
    assert reward.batches == [["AAC", "CCC", "ACA"], ["AAA"]]
    assert (engine.calls, engine.rows_requested, engine.rows_scored) == (2, 8, 4)
    engine.score(["AAA"] * 3)
    assert (engine.calls, engine.rows_requested, engine.rows_scored) == (2, 11, 4)


@given(st.lists(st.lists(st.text("AC", min_size=1, max_size=3), max_size=12), max_size=4))
def test_values_stay_with_their_sequences(batches: list[list[str]]) -> None:
    reward = Counting(max_batch=3)
    engine = engine_of(reward, memory=4)
    for batch in batches:
        assert engine.score(batch).reward.tolist() == [float(s.count("A")) for s in batch]


def test_the_least_recently_used_is_forgotten() -> None:
    reward = Counting()
    engine = engine_of(reward, memory=2)
    for sequence in ("A", "C", "A", "G", "A", "C"):  # C goes when G comes
        engine.score([sequence])
    assert reward.seen == ["A", "C", "G", "C"]
    assert engine.score(["GG", "GC", "GA", "GG"]).reward.tolist() == [0, 0, 1, 0]


def test_batches_are_no_larger_than_the_reward_allows() -> None:
    reward = Counting(max_batch=2)
    engine = engine_of(reward)
    engine.score(["A", "C", "G", "AA", "CC"])
    assert [len(batch) for batch in reward.batches] == [2, 2, 1]
    assert engine.calls == 3


def test_rewards_with_noise_see_every_row_every_time() -> None:
    noisy, steady = Counting("noisy", deterministic=False), Counting("steady")
    engine = engine_of(noisy, steady)
    scored = engine.score(["A", "C", "A"])
    assert scored.columns["noisy"].tolist() == [0, 1, 2]
    assert engine.score(["A"]).columns["noisy"].tolist() == [3]
    assert steady.seen == ["A", "C"]
    assert engine.rows_scored == 4
    assert scored.reward.tolist() == [1, 1, 3]


def test_weights_directions_roles_and_columns() -> None:
    two = (Output("score", direction="minimize"), Output("extra"))
    engine = engine_of(
        WeightedReward(GC(), weight=2),
        WeightedReward(Counting("a", outputs=two), weight=0.5),
        WeightedReward(Counting("watched"), role="monitor"),
    )
    scored = engine.score(["AACG", "CTCC", "CCCC"])
    assert tuple(scored.columns) == engine.columns == ("gc", "a", "a_extra", "watched")
    assert scored.columns["a"].tolist()[::2] == [2, 0]  # recorded as it is, not turned round
    np.testing.assert_array_equal(scored.reward, [2 * 0.5 - 0.5 * 2, np.nan, 2])
    assert scored.reasons == [
        None,
        "a: the reward gave no score; watched: the reward gave no score",
        None,
    ]
    assert engine.nan_rows == 1


def test_a_monitor_without_a_score_leaves_the_objective_alone() -> None:
    engine = engine_of(GC(), WeightedReward(Counting("watched"), role="monitor"))
    scored = engine.score(["TTGG"])
    assert scored.reward.tolist() == [0.5]
    assert scored.reasons == ["watched: the reward gave no score"]
    assert engine.nan_rows == 0


def test_labels() -> None:
    engine = engine_of(GC(), GC(low=0.4), WeightedReward(GC(), label="mine"), GC())
    assert engine.columns == ("gc", "gc_2", "mine", "gc_3")
    two = (Output("score"), Output("2"))
    assert engine_of(Counting("gc", outputs=two), GC()).columns == ("gc", "gc_2", "gc_3")
    with pytest.raises(UsageError, match="two rewards record a column 'x_2'"):
        engine_of(WeightedReward(GC(), label="x_2"), Counting("x", outputs=two))
    with pytest.raises(UsageError, match="cannot have the column 'sequence'"):
        engine_of(Counting("sequence"))


def test_nothing_to_score() -> None:
    engine = engine_of(Counting())
    assert engine.score([]).reward.shape == (0,)
    assert engine.calls == 0


def test_letters_outside_the_alphabet_are_not_sent() -> None:
    reward, noisy = Counting(), Counting("noisy", deterministic=False)
    engine = engine_of(reward, noisy)
    for _ in range(2):
        scored = engine.score(["AN", "AA", "aa"])
        assert np.isnan(scored.reward).tolist() == [True, False, True]
        assert scored.reasons[0] == "letter 'N' at position 2 is not dna"
    assert reward.seen == ["AA"]
    assert noisy.seen == ["AA", "AA"]
    assert engine.rows_scored == 2
    assert engine.nan_rows == 4


def test_values_of_tokens() -> None:
    reward = Counting()
    engine = engine_of(reward)
    tokens = torch.from_numpy(DNA.encode(["AAC", "ATC", "AAC", "CCC"]))
    values = engine.values(tokens)
    assert values.dtype == torch.float64
    assert values.tolist() == [2, -np.inf, 2, 0]
    assert engine.values(tokens).tolist() == values.tolist()
    assert reward.seen == ["AAC", "ATC", "CCC"]  # "no score" is remembered too
    assert engine.nan_rows == 2


def test_the_budget_counts_distinct_sequences_and_is_never_overspent() -> None:
    reward = Counting()
    engine = engine_of(reward, max_evals=3)
    engine.score(["A", "A", "C"])
    with pytest.raises(BudgetExhausted, match=r"budget of 3 .*\(2 made, 2 more asked for\)"):
        engine.score(["G", "GG"])
    assert reward.seen == ["A", "C"]
    assert engine.score(["A", "G", "C"]).reward.tolist() == [1, 0, 0]
    assert engine.rows_scored == 3


def test_alphabet_is_checked_before_anything_is_scored() -> None:
    with pytest.raises(RewardError, match=r"'gc' scores dna or rna sequences, not protein$"):
        RewardEngine([WeightedReward(GC())], alphabet=PROTEIN)
    with pytest.raises(RewardError, match="RNA with U"):
        RewardEngine([WeightedReward(Counting(alphabets=("dna",)))], alphabet=RNA)


def test_there_must_be_an_objective() -> None:
    for rewards in ([], [WeightedReward(GC(), role="monitor")]):
        with pytest.raises(UsageError, match="no reward to optimise"):
            RewardEngine(rewards, alphabet=DNA)


@pytest.mark.parametrize("settings", [{"max_evals": -1}, {"memory": -1}])
def test_numbers_out_of_range(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="0 or more"):
        engine_of(GC(), **settings)


def test_large_batches_with_everything_at_once() -> None:
    source = random.Random(0)
    sequences = ["".join(source.choices("ACG", k=6)) for _ in range(5000)]
    reward = Counting(max_batch=64)
    engine = engine_of(reward, memory=100)
    scored = engine.score(sequences)
    assert scored.reward.tolist() == [s.count("A") for s in sequences]
    assert sorted(reward.seen) == sorted(set(sequences))
