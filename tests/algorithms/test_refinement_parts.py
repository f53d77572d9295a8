"""The parts of refiners: books of what was scored, positions, and who goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designkit.algorithms.refinement._adaptive import adapted, shares_of
from designkit.algorithms.refinement._brood import Brood, slot_of
from designkit.algorithms.refinement._drafts import Drafts
from designkit.algorithms.refinement._positions import (
    between,
    near,
    run,
    scattered,
    within_edits,
)
from designkit.algorithms.refinement._survivors import survivors
from designkit.algorithms.refinement._variation import crossed, resized, shifted, well_placed
from designkit.algorithms.refinement.base import Archive, Brief, Ledger, Spent
from designkit.alphabet import DNA
from designkit.randomness import noise_for
from designkit.rewards import Scored

N = 2000


class ByLength:
    """A judge whose rewards are numbers of A; NaN for sequences that begin with T."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, sequences, *, monitors=True):
        self.asked += sequences
        values = np.array(
            [np.nan if s[:1] == "T" else s.count("A") for s in sequences], dtype=float
        )
        reasons = ["begins with T" if np.isnan(value) else None for value in values]
        return Scored(
            {"a": values, "twice": 2 * values}, values, reasons, ~np.isnan(values), values[None]
        )

    def score_relaxed(self, probs, valid=None):
        return probs[..., 0].sum(1)


def test_the_ledger_asks_once_and_goes_on_after_a_restart() -> None:
    judge = ByLength()
    ledger = Ledger(judge, DNA)
    assert ledger.look_up(["AA", "CA", "AA", "TT"]).tolist() == [0, 1, 0, 2]
    assert ledger.look_up(["TT", "AC"]).tolist() == [2, 3]
    assert judge.asked == ["AA", "CA", "TT", "AC"]
    assert (len(ledger), ledger.asked, ledger.unscored) == (4, 6, 1)
    assert ledger.rewards == [2, 1, -np.inf, 1]
    assert ledger.reasons == {2: "begins with T"}
    tokens = torch.from_numpy(DNA.encode(["AA", "TT", "AG"]))
    assert ledger.values(tokens).tolist() == [2, -np.inf, 1]
    again = Ledger(ByLength(), DNA)
    again.restore(ledger.rows(0))
    for name in ("sequences", "rewards", "feasible", "reasons", "asked", "unscored"):
        assert getattr(again, name) == getattr(ledger, name)
    np.testing.assert_array_equal(again.columns["twice"], ledger.columns["twice"])
    assert ledger.rows(4)["sequences"] == ["AG"]


def test_the_ledger_keeps_its_limit() -> None:
    judge = ByLength()
    ledger = Ledger(judge, DNA, limit=3)
    ledger.look_up(["AA", "CC"])
    assert ledger.affordable(["AA", "GG", "GG", "AC", "CC"]) == [True, True, True, False, True]
    with pytest.raises(Spent):
        ledger.look_up(["GG", "AC"])
    assert judge.asked == ["AA", "CC"]
    ledger.look_up(["GG", "AA"])
    assert ledger.affordable(["AC", "GG"]) == [False, True]


def archive(roots: tuple[str | None, ...] = ("AAAA", None), aligned: bool = True) -> Archive:
    return Archive(Ledger(ByLength(), DNA), DNA, roots, aligned=aligned)


def test_the_archive_numbers_distinct_designs_of_each_lineage() -> None:
    own = archive()
    assert own.add(["AAAA", "AACC", "AAAA"], [0, 0, 1], 0).tolist() == [0, 1, 2]
    assert own.add(["AACC", "CCCC", "TTTT"], [0, 0, 0], 1, [0, 1, 1], [-1, 0, -1]).tolist() == [
        1,
        3,
        4,
    ]
    assert [d.edits for d in own.designs] == [0, 2, -1, 4, 4]
    assert own.designs[3].parent == 1
    assert own.designs[3].partner == 0
    assert own.best(0) == [0, 1, 3, 4]
    assert own.best(0, 2) == [0, 1]
    assert (own.leader(0), own.leader(1)) == (0, 2)
    assert own.number_of(0, "CCCC") == 3
    assert own.number_of(1, "CCCC") is None
    assert own.is_within(1, 2)
    assert not own.is_within(1, 2.5)
    assert not own.is_within(4, -np.inf)  # no score is within no bounds
    population = own.population([1, 3, 2], 5, {"m": torch.ones(2)})
    assert population.tokens.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert population.lineages.tolist() == [0, 0, 1]
    assert population.round == 5
    again = archive()
    again.ledger.restore(own.ledger.rows(0))
    again.restore(own.rows(0))
    assert again.designs == own.designs
    assert again.best(0) == own.best(0)
    assert own.rows(4) == [[3, 0, 1, -1, 1, 4]]


def test_edits_are_substitutions_or_levenshtein() -> None:
    assert archive(("ACGT",)).edits(["CGTA"], [0]).tolist() == [4]
    assert archive(("ACGT",), aligned=False).edits(["CGTA", "ACG"], [0, 0]).tolist() == [2, 1]
    assert archive((None,)).edits(["CGTA"], [0]).tolist() == [-1]
    assert archive(("ACGT",)).distances(["AC", "AA"], ["ACC", None]).tolist() == [1, -1]


def test_shares_follow_the_successes() -> None:
    own = archive(("CCCC", "GGGG", "AAAA"))
    own.add(["CCCC", "GGGG", "AAAA"], [0, 1, 2], 0)
    new = own.add(["ACCC", "CCCG", "CCGG", "AGGG", "AAGG"], [0, 0, 0, 1, 1], 1, [0, 0, 0, 1, 1])
    first = shares_of(own.population([0, 1, 2], 0), 3, 0.3)
    assert first.tolist() == [0.3] * 3
    after = adapted(own, first / 2, new.tolist(), 0.3)
    expected = [0.15 * np.exp(1 / 3 - 0.2), 0.3, 0.15]
    np.testing.assert_allclose(after, expected)
    low = adapted(own, first, own.add(["CCCT"], [0], 2, [0]).tolist(), 0.3)
    assert low[0] == pytest.approx(0.3 * np.exp(-0.2))
    remembering = own.population([0, 1, 2], 2, {"share": low})
    assert shares_of(remembering, 3, 0.3).equal(low)


def test_numbers_of_positions_are_spread_over_scales() -> None:
    most = torch.full((20_000,), 31)
    drawn = between(noise_for(0, 20_000), "count", most)
    assert (int(drawn.min()), int(drawn.max())) == (1, 31)
    shares = [
        float(((drawn >= low) & (drawn < 2 * low)).double().mean()) for low in (1, 2, 4, 8, 16)
    ]
    np.testing.assert_allclose(shares, [0.2] * 5, atol=0.01)
    assert between(noise_for(0, 5), "count", torch.ones(5)).tolist() == [1] * 5


@pytest.mark.parametrize("choose", [scattered, run])
def test_chosen_positions_may_change(choose) -> None:
    changeable = torch.tensor([1, 1, 0, 1, 1, 0, 1, 1, 0, 0]).bool().expand(N, -1)
    for count in (1, 3, 6, 9):
        chosen = choose(noise_for(1, N), changeable, torch.full((N,), count))
        assert (chosen.sum(1) == min(count, 6)).all()
        assert not (chosen & ~changeable).any()
        if choose is scattered and count == 3:
            shares = chosen.double().mean(0)
            np.testing.assert_allclose(shares[changeable[0]], [0.5] * 6, atol=0.03)
        if choose is run and count == 3:
            # A window of three of the six, at one of four places.
            places = chosen[:, changeable[0]].long().argmax(1).bincount() / N
            np.testing.assert_allclose(places, [0.25] * 4, atol=0.03)
            assert (chosen[:, changeable[0]].long().diff(dim=1).abs().sum(1) <= 2).all()


def test_positions_near_cuts() -> None:
    changeable = torch.ones(1, 8, dtype=torch.bool)
    changeable[0, 3] = False
    chosen = near(torch.tensor([[4, -8]]), 2, changeable)
    assert chosen[0].nonzero().flatten().tolist() == [2, 4, 5]


def test_sequences_come_back_within_their_edits() -> None:
    generator = torch.Generator().manual_seed(0)
    roots = torch.randint(4, (N, 12), generator=generator)
    tokens = torch.randint(4, (N, 12), generator=generator)
    chosen = torch.rand(N, 12, generator=generator) < torch.rand(N, 1, generator=generator)
    for most in (1, 4, 12):
        limit = torch.full((N,), most)
        kept, drawn = within_edits(noise_for(2, N), tokens, roots, chosen, limit)
        worst = ((kept != roots) | drawn).sum(1)
        assert int(worst.max()) <= most
        assert not (drawn & ~chosen).any()
        assert ((kept == tokens) | (kept == roots)).all()
        # No more is given back than has to be.
        needless = (kept != tokens).any(1) & (worst < most)
        assert not needless.any()
    assert torch.equal(kept, tokens)
    # Where there is no root to compare with, what is changed already is counted by the caller.
    limit = torch.arange(N) % 5
    kept, drawn = within_edits(noise_for(2, N), tokens, torch.full_like(roots, -1), chosen, limit)
    assert torch.equal(kept, tokens)
    assert drawn.sum(1).equal(chosen.sum(1).minimum(limit))


def test_a_stretch_of_the_partner_lies_between_the_cuts() -> None:
    own = archive(("AAAAAA",))
    first, second = own.add(["AAAAAA", "CCCCCC"], [0, 0], 0)
    parents, partners = own.population([first] * N, 0), own.population([second] * N, 0)
    changeable = torch.ones(N, 6, dtype=torch.bool)
    tokens, cuts = crossed(parents, partners, changeable, noise_for(3, N))
    for row in range(0, N, 97):
        ends = [cut for cut in cuts[row].tolist() if cut > 0]
        changes = (tokens[row].diff() != 0).nonzero().flatten() + 1
        assert changes.tolist() == (ends if len(set(ends)) == len(ends) else [])
    assert 0.3 < float((tokens == 1).double().mean()) < 0.4  # of two uniform cuts: a third


@pytest.mark.parametrize("joint", [1, 2])
def test_a_letter_more_or_less(joint: int) -> None:
    sequence = "ABCDEFGH"
    lengths = torch.tensor([8, 5]).repeat(N // 2)
    places = torch.arange(8).expand(N, -1)
    tokens = places.where(places < lengths[:, None], -1)
    chosen = torch.zeros_like(tokens, dtype=torch.bool)
    chosen[:, 1] = True
    change = torch.tensor([1, -1, 0]).repeat(N)[:N]
    found, after, drawn = resized(tokens, lengths, chosen, change, joint, noise_for(4, N))
    assert after.equal(lengths + change)
    seen = set()
    for row in range(0, N):
        length = int(lengths[row])
        letters = [sequence[token] for token in found[row, : after[row]].tolist()]
        marked = drawn[row].nonzero().flatten().tolist()
        assert (found[row, after[row] :] == -1).all()
        assert max(marked, default=0) < int(after[row])
        before = list(sequence[:length])
        if change[row] == 0:
            assert letters == before
            assert marked == [1]
        elif change[row] == 1:
            place = marked[0] if joint == 1 else None
            if joint == 1:
                assert len(marked) == 1
                assert letters[:place] + letters[place + 1 :] == before
                seen.add((length, place))
            assert 1 <= len(marked) <= 2 * joint - 1
        else:
            gone = [letter for letter in before if letter not in letters]
            assert len(gone) == 1
            place = before.index(gone[0])
            beside = [place - 1, place] if joint == 2 else []
            assert marked == [one for one in beside if 0 <= one < length - 1]
    if joint == 1:
        assert {place for length, place in seen if length == 5} == set(range(6))


@pytest.mark.parametrize("joint", [1, 2])
def test_shifted_takes_a_letter_out_and_puts_one_in_elsewhere(joint: int) -> None:
    sequence = "ABCDEF"
    lengths = torch.tensor([1, 2, 6]).repeat(N)
    tokens = torch.arange(6).expand(3 * N, -1).where(torch.arange(6) < lengths[:, None], -1)
    free = torch.ones_like(tokens, dtype=torch.bool) & (tokens >= 0)
    found, drawn, gap = shifted(tokens, lengths, free, joint, noise_for(5, 3 * N))
    assert not (gap & ~drawn).any()
    seen = set()
    for row in range(3 * N):
        length = int(lengths[row])
        assert (found[row, length:] == -1).all()
        marked = drawn[row].nonzero().flatten().tolist()
        assert max(marked) < length
        letters = [sequence[token] for token in found[row, :length].tolist()]
        ways = {}
        for out in range(length):
            rest = [letter for place, letter in enumerate(sequence[:length]) if place != out]
            for into in range(length):
                moved = [*rest[:into], "?", *rest[into:]]
                ends = {
                    place for end in (out, into) for place in range(end - joint + 1, end + joint)
                }
                fits = all(a == b or b == "?" for a, b in zip(letters, moved, strict=True))
                apart = abs(out - into) >= joint
                at_gap = [out] if apart else []
                if fits and set(marked) == ends & set(range(length)):
                    if gap[row].nonzero().flatten().tolist() == at_gap:
                        ways[out, into] = moved
        assert ways
        if length == 6 and joint == 1:
            seen |= set(ways)
    if joint == 1:
        assert {(out, into) for out in range(6) for into in range(6) if out != into} <= seen


def test_shifted_leaves_alone_what_may_not_change() -> None:
    tokens = torch.arange(6).expand(N, -1)
    free = torch.tensor([True, True, False, True, True, False]).expand(N, -1)
    found, drawn, _ = shifted(tokens, torch.full((N,), 6), free, 2, noise_for(6, N))
    assert (found[:, [2, 5]] == torch.tensor([2, 5])).all()
    assert not drawn[:, [2, 5]].any()
    assert (found != tokens).any(0).tolist() == [True, True, False, True, True, False]


def test_letters_stay_as_likely_as_they_are() -> None:
    """Of 4 letters those of probability 0, 1/8, 1/4 and 5/8."""
    probs = torch.tensor([0, 1 / 8, 1 / 4, 5 / 8])
    lengths = torch.tensor([4, 3]).repeat(N)
    tokens = torch.arange(4).expand(2 * N, -1).where(torch.arange(4) < lengths[:, None], -1)
    hidden = torch.tensor([True, True, False, True]) & (tokens >= 0)
    seen = []

    def predict(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(x_t[0].tolist())
        return probs.expand(*x_t.shape, -1)

    stays = well_placed(predict, 4, tokens, lengths, hidden, noise_for(7, 2 * N))
    assert sorted(seen) == [[4, 4, 2], [4, 4, 2, 4]]
    share = stays[lengths == 4].double().mean(0)
    assert share[[0, 2, 3]].tolist() == [0, 1, 1]
    assert abs(share[1] - 0.5) < 4 * (0.25 / N) ** 0.5
    assert not stays[lengths == 3, 3].any()


def test_the_best_go_on_and_the_newest_of_equals() -> None:
    own = archive(("AAAA", "CCCC"))
    first = own.add(["AAAA", "CCCC"], [0, 1], 0).tolist()
    new = own.add(["AAAC", "ACAA", "CCCA", "TCCC", "ACCC"], [0, 0, 1, 1, 1], 1).tolist()
    kept = survivors(own, first, new, 2, 0.0, noise_for(0, 1))
    assert [own.sequence(number) for number in kept] == ["AAAA", "ACAA", "ACCC", "CCCA"]
    everyone = survivors(own, first, new, 9, 0.0, noise_for(0, 1))
    assert own.sequence(everyone[-1]) == "TCCC"


def drafts(lineages: list[int], slots: list[int]) -> Drafts:
    """Drafts of children without parents; what they hold is not looked at."""
    nothing = torch.full((len(slots),), -1)
    tokens = torch.zeros(len(slots), 4, dtype=torch.int64)
    lengths = torch.full((len(slots),), 4)
    return Drafts(
        torch.tensor(slots), torch.tensor(lineages), nothing, nothing, tokens, lengths, tokens > 0
    )


def test_children_are_new_different_and_within_bounds() -> None:
    own = archive(("AAAA", "CCCC"))
    own.add(["AAAA", "CCCC"], [0, 1], 0)
    brief = Brief(holds=lambda lineage, sequence: "T" not in sequence, most_edits=2)
    brood = Brood(own, brief)
    sequences = ["AAAC", "AAAC", "AAAA", "AATA", "AAAC", "CCCC", "AACC", "CCCG", "CGGG"]
    taken = brood.take(drafts([0, 0, 0, 0, 1, 0, 1, 1, 1], list(range(9))), sequences)
    assert taken == [True, False, False, False, False, False, True, True, False]
    later = slot_of(torch.tensor([1, 3]), 2).tolist()
    assert brood.take(drafts([0, 0], later), ["AAAC", "AAGA"]) == [False, True]
    numbers = brood.scored(1, 5)
    assert {own.sequence(number) for number in numbers} == {"AACC", "CCCG", "AAAC", "AAGA"}


def test_what_may_still_be_scored_is_spread_over_lineages() -> None:
    own = Archive(Ledger(ByLength(), DNA, limit=3), DNA, (None, None, None))
    brood = Brood(own, Brief())
    sequences = ["AAAA", "AAAC", "CAAA", "CAAC", "GAAA", "GAAC"]
    brood.take(drafts([0, 0, 1, 1, 2, 2], list(range(6))), sequences)
    assert [own.sequence(number) for number in brood.scored(1, 2)] == ["AAAA", "CAAA", "GAAA"]
    again = Brood(own, Brief())
    again.take(drafts([0, 1], [0, 2]), ["AAAG", "AAAG"])
    with pytest.raises(Spent):
        again.scored(2, 2)


def test_a_warm_selection_is_a_draw_in_proportion() -> None:
    own = archive(("AAAA",))
    numbers = own.add(["AAAA", "AAAC", "AACC"], [0, 0, 0], 0).tolist()
    alpha, counts = 1.5, np.zeros(3)
    for round in range(1, 1001):
        (kept,) = survivors(own, numbers, [], 1, alpha, noise_for(0, 1).in_round(round))
        counts[kept] += 1
    expected = np.exp(np.array([4, 3, 2]) / alpha)
    np.testing.assert_allclose(counts / 1000, expected / expected.sum(), atol=0.05)
    # Very cold: the temperature is a tenth of the spread, and not everything falls on one.
    wide = own.add(["CCCC", "ACCC"], [0, 0], 1).tolist()
    seen = {
        survivors(own, [*numbers, *wide], [], 1, 1e-9, noise_for(1, 1).in_round(r))[0]
        for r in range(1, 50)
    }
    assert seen == {0}
    assert len(survivors(own, numbers, wide, 3, 1e-9, noise_for(1, 1))) == 3
