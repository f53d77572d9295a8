"""Constraints of a run: those of the template, and of inputs that keep letters of their own."""

from __future__ import annotations

import pytest
import torch

from designkit.alphabet import DNA
from designkit.constraints import ConstraintSettings
from designkit.errors import BudgetExhausted, UsageError
from designkit.randomness import Noise, noise_for
from designkit.recipes._constraints import RunConstraints

CPU = torch.device("cpu")


def tokens(*sequences: str) -> torch.Tensor:
    return torch.from_numpy(DNA.encode(list(sequences)))


def test_inputs_keep_their_own_letters() -> None:
    own = RunConstraints(ConstraintSettings(fix="1-2,6", forbid=("GGG:forward",)), DNA)
    first, second = "ACGTAC", "TTGGAG"
    assert own.free(6, first) == own.free(6, second) == 3
    assert own.changeable(6, first).tolist() == [False, False, True, True, True, False]
    assert own.violations("ACAAAC", first) == []
    assert own.violations("TCAAAC", first) == ["position 1: T, must be A"]
    assert own.violations("TTGGGG", second)[0].startswith("GGG at positions 3-5")
    # One guard for all: what is kept is given to samplers, and the guard leaves it open.
    guard = own.guard(6, CPU, first)
    assert guard.given is None
    assert guard.holds(tokens("ACAAAC", "TTAAAG", "TTGGGA")).tolist() == [True, True, False]


def test_without_an_input_letters_are_those_of_the_template() -> None:
    own = RunConstraints(ConstraintSettings(template="ACGTAC", fix="1-2"), DNA)
    guard = own.guard(6, CPU)
    assert guard.given.tolist() == [0, 1, -1, -1, -1, -1]
    assert guard.holds(tokens("ACAAAA", "TCAAAA")).tolist() == [True, False]
    with pytest.raises(UsageError, match="add --template"):
        RunConstraints(ConstraintSettings(fix="1-2"), DNA).of(6)


def test_a_template_holds_for_inputs_too() -> None:
    own = RunConstraints(ConstraintSettings(template="NNGNNN", fix="1"), DNA)
    assert own.changeable(6, "ACGTAC").tolist() == [False, True, False, True, True, True]
    assert own.violations("ACATAC", "ACGTAC") == ["position 3: A, must be G"]


def test_which_constraints_speak_of_positions() -> None:
    for fields, places in (
        ({"fix": "1"}, True),
        ({"template": "NNN"}, True),
        ({"coding": "1-3"}, True),
        ({"forbid": "GC", "gc": "0.4-0.6", "max_homopolymer": 3}, False),
    ):
        assert RunConstraints(ConstraintSettings(**fields), DNA).keeps_places == places


def test_a_budget_that_ends_while_designs_are_drawn_again_leaves_the_others() -> None:
    own = RunConstraints(ConstraintSettings(gc="0.5-0.5"), DNA)
    attempts = []

    def draw(anew: Noise, rows: torch.Tensor, attempt: int) -> list[str]:
        attempts.append(rows.tolist())
        if attempt == 2:
            raise BudgetExhausted("spent")
        return [["AC", "GG", "TT"][row] if attempt == 0 or row == 2 else "CA" for row in rows]

    assert own.draw(noise_for(0, 3), 1, draw) == ["AC", "CA", None]
    assert attempts == [[0, 1, 2], [1, 2], [2]]
    assert own.given_up_after == "the attempts that --max-evals allows"

    def spent(anew: Noise, rows: torch.Tensor, attempt: int) -> list[str]:
        raise BudgetExhausted("spent")

    with pytest.raises(BudgetExhausted):
        own.draw(noise_for(0, 3), 1, spent)
