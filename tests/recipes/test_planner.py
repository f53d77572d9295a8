"""The method that a budget of rewards allows."""

from __future__ import annotations

from typing import Any

import pytest

from designkit import plugins
from designkit.algorithms.sampling.best_of_n import BestOfN
from designkit.algorithms.sampling.classifier import Classifier
from designkit.algorithms.sampling.svdd import SVDD
from designkit.errors import UsageError
from designkit.recipes._planner import FEWEST_PARTICLES, MOST_PARTICLES, plan_method
from designkit.settings import Layer, validate

LENGTH = 40


def planned(budget: Any = None, num: int = 10, **method: Any) -> dict[str, Any]:
    data = {"max_evals": budget, "num": num}
    return plan_method(Layer("flags", data), {"name": "auto", **method}, [LENGTH], 4)


def reward_rows(num: int, name: str, **settings: Any) -> int:
    method = validate(plugins.find("designkit.samplers", name), Layer("method", settings))
    drawn = -(-num // method.population) * method.population
    return drawn * method.calls_per_design(LENGTH)[1]


@pytest.mark.parametrize("alpha", [None, 0.0, 0.5, "auto"])
@pytest.mark.parametrize("num", [1, 2, 10, 64, 65, 1000])
@pytest.mark.parametrize("each", [1, 7, 19, 20, 60, 300, 5000])
def test_the_budget_is_kept_and_used(each: int, num: int, alpha: float | str | None) -> None:
    found = planned(each * num, num, **({} if alpha is None else {"temperature": alpha}))
    asked = reward_rows(num, **found)
    assert asked <= each * num
    if found.get("particles") != MOST_PARTICLES:
        assert asked > 0.45 * each * num
    if alpha:
        assert found["temperature"] == alpha
        assert found["name"] in ("smc", "best_of_n")
    else:
        assert found["name"] == ("svdd" if each >= 20 else "best_of_n")


def test_more_rewards_buy_steps_and_then_candidates() -> None:
    steps = [planned(each * 10)["steps"] for each in (20, 100, 200, 400, 1000)]
    assert steps == [2, 10, 20, LENGTH, LENGTH]
    assert planned(10_000)["candidates"] == 25


@pytest.mark.parametrize("num", [1, 3, 20, 64, 65, 200])
@pytest.mark.parametrize("each", [10, 100, 1000])
def test_a_law_is_drawn_by_populations_that_can_be_resampled(num: int, each: int) -> None:
    """However few of their designs are written; before that, steps are given up."""
    found = planned(each * num, num, temperature=0.02)
    if found["name"] == "best_of_n":
        assert each * num < 5 * max(num, FEWEST_PARTICLES)
        return
    assert found["particles"] >= FEWEST_PARTICLES
    assert "value" not in found
    if found["particles"] > max(num, FEWEST_PARTICLES):
        assert "steps" not in found


def test_few_letters_or_none_to_be_found_can_be_planned() -> None:
    for free, steps in ((0, 1), (1, 1), (3, 3)):
        data = {"max_evals": 45 * 20, "num": 20}
        found = plan_method(Layer("flags", data), {"name": "auto", "temperature": 1.0}, [free], 4)
        assert (found["name"], found["particles"]) == ("smc", 45 * 20 // steps)


def test_under_bounds_of_gc_half_of_the_budget_is_left_for_designs_drawn_again() -> None:
    def bounded(each: int, **alpha: float) -> dict[str, Any]:
        data = {"max_evals": 10 * each, "num": 10, "constraints": {"gc": ("0.4-0.6",)}}
        return plan_method(Layer("flags", data), {"name": "auto", **alpha}, [LENGTH], 4)

    assert 0.4 * 2000 < reward_rows(10, **bounded(200, temperature=0.5)) <= 1000
    found = bounded(1000)
    assert (found["name"], found["steps"]) == ("svdd", LENGTH)
    assert 0.4 * 10_000 < reward_rows(10, **found) <= 5000
    assert bounded(200) == {"name": "best_of_n", "candidates": 200}  # steps would be too few


def test_what_cannot_be_planned_is_said() -> None:
    with pytest.raises(UsageError, match="add --max-evals N"):
        planned()
    with pytest.raises(UsageError, match="less than one reward for each of 10 designs"):
        planned(9)
    with pytest.raises(UsageError, match="method auto chooses candidates, steps itself"):
        planned(100, steps=3, candidates=4)


def test_methods_fit_budgets() -> None:
    assert SVDD(candidates=10).within(LENGTH, 100).steps == 10
    assert SVDD(candidates=10).within(LENGTH, 10_000).steps == LENGTH
    assert SVDD(candidates=10, value={"name": "monte_carlo", "completions": 4}).within(
        LENGTH, 100
    ).calls_per_design(LENGTH)[1] in range(80, 101)
    with pytest.raises(UsageError, match="a budget of 9 rewards a design is too small: steps=1"):
        SVDD(candidates=10).within(LENGTH, 9)
    assert BestOfN().within(LENGTH, 33).candidates == 33


@pytest.mark.parametrize("letters", [2, 4, 20])
def test_budgets_are_those_of_the_alphabet(letters: int) -> None:
    """``classifier`` tries every letter of it."""
    budget = 10_000
    fitted = Classifier(value="monte_carlo", decoding="grid").within(LENGTH, budget, letters)
    assert fitted.calls_per_design(LENGTH, letters)[1] <= budget
    more = fitted.model_copy(update={"steps": fitted.steps_for(LENGTH) + 1})
    assert more.calls_per_design(LENGTH, letters)[1] > budget


def test_designs_of_several_lengths_have_no_more_steps_than_letters() -> None:
    def steps(each: int) -> int | None:
        data = {"max_evals": each, "num": 1}
        return plan_method(Layer("flags", data), {"name": "auto"}, [12, 30], 4).get("steps")

    assert [steps(each) for each in (50, 200, 5000)] == [5, 12, None]
