"""The contract's edges: functions as rewards, wrong answers, failing items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from designkit.errors import ConfigurationError, RewardError
from designkit.rewards import Output, Reward, RewardInfo, Scores, reward, score_all


@reward(alphabet="dna", unit="fraction", range=(0, 1), version="2")
def share(sequences: list[str], letter: str = "G", *, scale: float = 1.0) -> list[float]:
    """Share of a letter."""
    return [scale * s.count(letter) / len(s) for s in sequences]


def test_shortest_plugin() -> None:
    @reward
    def length(sequences: list[str]) -> list[int]:
        return [len(s) for s in sequences]

    made = length()
    assert score_all(made, ["A", "AAA"]).values.tolist() == [[1], [3]]
    assert made.info == RewardInfo("length", outputs=(Output("length"),))


def test_function_with_parameters() -> None:
    made = share(letter="A", scale="2")
    assert score_all(made, ["AACC"]).values.tolist() == [[1.0]]
    assert made.info.params == {"letter": "A", "scale": 2.0}
    assert made.info.outputs == (Output("share", unit="fraction", range=(0, 1)),)
    assert (made.info.alphabets, made.info.version) == (("dna",), "2")
    assert isinstance(made, Reward)
    assert share.__doc__ == "Share of a letter."
    assert share.function(["GC"]) == [0.5]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"leter": "A"}, "reward share: unknown key 'leter'; did you mean 'letter'?"),
        ({"scale": "much"}, "reward share: scale: must be a number, not 'much'"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        share(**parameters)
    assert str(caught.value) == message


def test_required_parameters() -> None:
    @reward(name="distance")
    def to_target(sequences: list[str], target: str) -> list[float]:
        return [float(s != target) for s in sequences]

    with pytest.raises(ConfigurationError, match=r"reward distance needs target: distance\?target"):
        to_target()
    assert score_all(to_target(target="A"), ["A", "C"]).values.tolist() == [[0], [1]]


TWO = (Output("x"), Output("y", direction="minimize"))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ([1, None], [[1], [np.nan]]),
        ((0.5, float("nan")), [[0.5], [np.nan]]),
        (np.array([1.0, 2.0]), [[1], [2]]),
        (np.array([[1.0], [2.0]]), [[1], [2]]),
        (torch.tensor([1.0, 2.0]), [[1], [2]]),
    ],
)
def test_forms_of_an_answer(result: Any, expected: Any) -> None:
    scores = score_all(reward(lambda sequences: result)(), ["A", "C"])
    np.testing.assert_array_equal(scores.values, expected)
    assert [error is not None for error in scores.errors] == np.isnan(scores.values[:, 0]).tolist()


@pytest.mark.parametrize("result", [{"y": [3, 4], "x": [1, 2]}, np.array([[1, 3], [2, 4]])])
def test_several_outputs(result: Any) -> None:
    @reward(outputs=TWO)
    def both(sequences: list[str]) -> Any:
        return result

    assert score_all(both(), ["A", "C"]).values.tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([1.0], "reward 'wrong' returned 1 values for 2 sequences"),
        ([1.0, 2.0, 3.0], "returned 3 values for 2 sequences"),
        ([[1.0, 2.0], [3.0, 4.0]], r"shape \(2, 2\); 2 sequences with 1 outputs need \(2, 1\)"),
        (1.0, "returned 0 dimensions"),
        (None, "returned nothing; return a value for each sequence"),
        (["high", "low"], "not numbers"),
        ({"other": [1, 2]}, r"returned \['other'\], declared are the outputs \['wrong'\]"),
        ({"wrong": [1]}, "returned 1 values"),
    ],
)
def test_wrong_answers_name_the_reward(result: Any, message: str) -> None:
    @reward
    def wrong(sequences: list[str]) -> Any:
        return result

    with pytest.raises(RewardError, match=message) as caught:
        score_all(wrong(), ["A", "C"])
    assert "'wrong'" in str(caught.value)
    assert caught.value.exit_code == 4


def test_outputs_of_different_lengths() -> None:
    @reward(outputs=TWO)
    def ragged(sequences: list[str]) -> Any:
        return {"x": [1, 2], "y": [1]}

    with pytest.raises(RewardError, match="different lengths"):
        score_all(ragged(), ["A", "C"])


class Given(Reward):
    """Returns what it was given, whatever that is."""

    def __init__(self, answer: Any):
        super().__init__()
        self.answer, self.info = answer, RewardInfo("given")

    def score(self, sequences: list[str]) -> Scores:
        return self.answer


@pytest.mark.parametrize(
    "answer", [[1.0], Scores(np.zeros((2, 1)), [None]), Scores(np.zeros((1, 1)), [None])]
)
def test_wrong_answers_of_a_class(answer: Any) -> None:
    made = Given(answer)
    with pytest.raises(RewardError, match="'given' returned"):
        score_all(made, ["A", "C"])


def test_infinite_is_a_failure_and_an_item_with_an_error_has_no_value() -> None:
    made = Given(Scores(np.array([[np.inf], [-np.inf], [0.0], [5.0]]), [None, None, None, "bad"]))
    scores = score_all(made, list("ACGT"))
    np.testing.assert_array_equal(scores.values[:, 0], [np.nan, np.nan, 0, np.nan])
    assert scores.errors == ["the reward returned inf", "the reward returned -inf", None, "bad"]
    assert made.answer.values[0, 0] == np.inf, "the reward's own array is left alone"


@pytest.mark.parametrize("bad", [[], [0], [7], [2, 3], [0, 4, 7], list(range(8))])
def test_failing_items_are_found(bad: Sequence[int]) -> None:
    sent: list[int] = []

    @reward
    def picky(sequences: list[str]) -> list[float]:
        sent.append(len(sequences))
        if failing := [s for s in sequences if int(s) in bad]:
            raise ValueError(f"cannot fold\n{failing[0]}")
        return [float(s) for s in sequences]

    scores = score_all(picky(), [str(n) for n in range(8)])
    for number in range(8):
        if number in bad:
            assert np.isnan(scores.values[number, 0])
            assert scores.errors[number] == f"ValueError: cannot fold {number}"
        else:
            assert (scores.values[number, 0], scores.errors[number]) == (number, None)
    assert sent[0] == 8
    assert len(sent) <= 1 + 2 * 3 * max(1, len(bad))  # two halves for each of three levels


def test_what_a_reward_prints_stays_out_of_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    @reward
    def chatty(sequences: list[str]) -> list[float]:
        print("scoring")  # noqa: T201 - that is the test
        return [1.0 for _ in sequences]

    score_all(chatty(), ["A", "C"])
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "scoring\n")


def test_a_reward_that_exits_fails_its_items() -> None:
    @reward
    def leaving(sequences: list[str]) -> list[float]:
        if "C" in sequences:
            raise SystemExit(3)
        return [1.0 for _ in sequences]

    scores = score_all(leaving(), ["A", "C"])
    assert scores.errors == [None, "SystemExit: 3"]


def test_interrupts_are_not_items_that_fail() -> None:
    @reward
    def stopped(sequences: list[str]) -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_all(stopped(), ["A", "C"])


def test_a_function_that_sorts_its_input_does_not_disturb_others() -> None:
    @reward
    def rude(sequences: list[str]) -> list[float]:
        sequences.clear()
        return [1.0, 2.0]

    given = ["A", "C"]
    assert score_all(rude(), given).values.tolist() == [[1], [2]]
    assert given == ["A", "C"]


@pytest.mark.parametrize(
    "function",
    [
        lambda: [],
        lambda *, sequences: [],
        lambda sequences, *more: [],
        lambda sequences, **more: [],
    ],
)
def test_signatures_that_are_no_rewards(function: Any) -> None:
    with pytest.raises(RewardError):
        reward(function)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Output("x", direction="up"),  # type: ignore[arg-type]
        lambda: RewardInfo("x", outputs=(Output("a"), Output("a"))),
        lambda: RewardInfo("x", cost="free"),  # type: ignore[arg-type]
        lambda: RewardInfo("x", max_batch=0),
    ],
)
def test_declarations_are_checked(make: Any) -> None:
    with pytest.raises(RewardError):
        make()
