"""When a refinement ends: what is written, and what is reached."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from designkit.algorithms.refinement.base import Archive, Ledger
from designkit.alphabet import DNA
from designkit.recipes._until import Clock, Stopping, Until, as_mapping
from designkit.rewards import INFEASIBLE, Scored


def until(text: str) -> Until:
    return Until.model_validate(as_mapping(text))


def test_what_is_written() -> None:
    found = until("rounds=20, evals=1000,time=2m,reward=1.5,plateau=5,above=12:10")
    assert found == Until(rounds=20, evals=1000, time=120, reward=1.5, plateau=5, above=(12.0, 10))
    assert found.describe() == "rounds=20,evals=1000,time=120s,reward=1.5,plateau=5,above=12:10"
    assert until("above=-0.5").above == (-0.5, 1)
    assert until("time=90").time == 90
    assert Until(above=3).above == (3, 1)
    assert as_mapping({"rounds": 3}) == {"rounds": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rounds", "'rounds' must be KEY=VALUE, like rounds=20"),
        ("rounds=", "must be KEY=VALUE"),
        ("round=3", "unknown 'round'; choose from rounds, evals, time, reward, plateau, above"),
        ("rounds=3,rounds=4", "rounds is given twice"),
        ("rounds=3,", "'' must be KEY=VALUE"),
        ("time=soon", "must be a time such as 90s, 30m or 2h"),
        ("above=good", "must be REWARD:DESIGNS, like 12:10"),
        ("above=3:many", "must be REWARD:DESIGNS"),
        ("rounds=x", "valid integer"),
        ("evals=0", "greater than or equal to 1"),
        ("reward=nan", "finite"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises((ValueError, ValidationError), match=message):
        until(text)


class Letters:
    """Rewards are numbers of A; sequences with a T are outside the bounds."""

    def score(self, sequences, *, monitors=True):
        feasible = np.array(["T" not in s for s in sequences])
        values = np.where(feasible, [float(s.count("A")) for s in sequences], INFEASIBLE)
        return Scored({}, values, [None] * len(sequences), feasible)

    def score_relaxed(self, probs, valid=None):
        raise NotImplementedError


def archive() -> Archive:
    """Two lineages after two rounds."""
    own = Archive(Ledger(Letters(), DNA), DNA, ("CCCC", "GGGG"))
    own.add(["CCCC", "GGGG"], [0, 1], 0)
    own.add(["ACCC", "AGGG"], [0, 1], 1)
    own.add(["AACC", "TAAA"], [0, 1], 2)
    return own


@pytest.mark.parametrize(
    ("text", "round", "ends"),
    [
        ("rounds=3", 2, False),
        ("rounds=3", 3, True),
        ("rounds=0", 0, True),
        ("evals=7", 2, False),
        ("evals=6", 2, True),
        ("reward=1", 2, True),
        ("reward=2", 2, False),  # the second lineage has it outside the bounds alone
        ("plateau=2", 3, False),
        ("plateau=2", 4, True),
        ("above=1:3", 2, True),
        ("above=1:4", 2, False),
        ("above=2", 2, True),
        ("rounds=9,above=2", 2, True),
    ],
)
def test_what_is_reached(text: str, round: int, ends: bool) -> None:
    stopping = Stopping(until(text), archive(), lambda: False)
    assert bool(stopping.reason(round)) == ends
    assert bool(stopping.reason(round)) == ends  # nothing is counted twice
    if ends:
        assert stopping.reason(round).split("=")[0] in text


def test_a_run_that_finds_nothing_new_ends() -> None:
    """The last design came in round 2; 100 rounds, and 2000 children, are waited for."""
    for children, waited in ((50, 100), (20, 100), (10, 200)):
        stopping = Stopping(until("evals=1000"), archive(), lambda: False, children)
        assert stopping.reason(1 + waited) == ""
        assert stopping.reason(2 + waited).startswith(f"nothing new: {waited} rounds found no")
        stopping.note(1, 6)
        stopping.note(50, 7)  # scored, but no design
        stopping.note(60, 7)
        assert stopping.reason(49 + waited) == ""
        assert stopping.reason(50 + waited).startswith("nothing new")


@pytest.mark.parametrize(
    ("text", "ends"), [("evals=1000", True), ("rounds=1000", False), ("time=2m", False)]
)
def test_chains_that_will_end_may_come_back_to_what_they_know(text: str, ends: bool) -> None:
    for follows_law in (True, False):
        stopping = Stopping(until(text), archive(), lambda: False, 50, follows_law=follows_law)
        assert bool(stopping.reason(500)) == (ends or not follows_law)


def test_time_goes_on_where_it_was() -> None:
    assert Stopping(until("time=2m"), archive(), lambda: True).reason(1) == "time=120s"
    assert not Clock(100).over()
    assert Clock(100, spent=100).over()
    assert not Clock(None, spent=1e9).over()
    assert Clock(None, spent=50).seconds == pytest.approx(50, abs=1)
