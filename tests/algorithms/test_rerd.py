"""RERD: with an exact kernel and no selection the law stays; with selection it finds the best."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from designkit.algorithms.refinement._pairs import drawn_pairs
from designkit.algorithms.refinement.base import Archive, Brief
from designkit.algorithms.refinement.rerd import RERD
from designkit.algorithms.sampling.base import Sampler
from designkit.alphabet import DNA
from designkit.randomness import noise_for
from tests.algorithms import test_refiner_contract as contract
from tests.algorithms.refining import drawn_from, rounds, run, tokens_of, toy_archive
from tests.tabular import exact_svdd, independent_world, make_rewards, make_world, tv_excess

WORLD = make_world(3, 4)
REWARDS = make_rewards(WORLD)
ALPHA = 0.7
TARGET = WORLD.tilted(REWARDS, ALPHA)


class ExactRERD(RERD):
    """RERD whose sampler knows the exact soft value at its temperature."""

    alpha: float = ALPHA

    def inner(self) -> Sampler:
        return exact_svdd(WORLD, REWARDS, self.alpha, 60)


@pytest.mark.parametrize("span", [0.0, 1.0])
def test_an_exact_kernel_without_selection_leaves_the_law(span: float) -> None:
    count = 4000
    method = ExactRERD(population=count, selection="none", fraction=0.5, span=span, shifts=0.5)
    archive, _ = toy_archive(WORLD, REWARDS)
    first = drawn_from(archive, WORLD, TARGET, count, seed=1)
    last = run(method, WORLD.model(), archive, 2, start=first)[-1]
    assert tv_excess(tokens_of(last), TARGET) < 0.02
    assert (last.numbers != first.numbers).double().mean() > 0.2


def test_a_kernel_of_another_temperature_changes_it() -> None:
    method = ExactRERD(population=4000, selection="none", fraction=0.5, span=0.0, alpha=0.3)
    archive, _ = toy_archive(WORLD, REWARDS)
    first = drawn_from(archive, WORLD, TARGET, 4000, seed=1)
    last = run(method, WORLD.model(), archive, 2, start=first)[-1]
    assert tv_excess(tokens_of(last), TARGET) > 0.04


def test_selection_is_greedier_than_the_law() -> None:
    archive, _ = toy_archive(WORLD, REWARDS)
    first = drawn_from(archive, WORLD, TARGET, 4000, seed=1)
    selected = run(RERD(population=10), WORLD.model(), archive, 3, start=first)[-1]
    assert selected.rewards.min() >= np.sort(REWARDS)[-11]


def test_good_sequences_are_found_and_nothing_scored_twice() -> None:
    """Of 1,024 sequences 120 are scored: of random ones the best would be the 9th."""
    world, rewards = independent_world(4, 5)
    ranks = []
    for seed in range(4):
        archive, reward = toy_archive(world, rewards, limit=120)
        for last in rounds(RERD(population=8), world.model(), archive, seed=seed):
            assert last.rewards.equal(last.rewards.sort(descending=True).values)
            assert len(set(last.numbers.tolist())) == len(last)
        assert len(reward.asked) == len(set(reward.asked)) == len(archive.ledger) == 120
        ranks.append(int((rewards > archive.reward(archive.best(0, 1)[0])).sum()))
    assert np.mean(ranks) <= 3, ranks


def test_a_lineage_that_is_stuck_starts_anew_and_keeps_its_archive() -> None:
    archive, _ = toy_archive(WORLD, REWARDS)
    method = RERD(population=4, patience=0.5)
    peaks, bests, waited = [], [], []
    for population in run(method, WORLD.model(), archive, 25):
        peaks.append(float(population.rewards.max()) if len(population) else -np.inf)
        bests.append(archive.reward(archive.best(0, 1)[0]))
        waited.append(int(population.memory.get("waited", torch.zeros(1))))
    # Whatever is better than before, since the last start, is worth waiting for.
    for before, after, since in zip(peaks, peaks[1:], waited[1:], strict=False):
        assert since == 0 or after <= before
    assert any(after < before for before, after in pairwise(peaks))
    assert bests == sorted(bests)
    # Without patience the best stay for good.
    archive, _ = toy_archive(WORLD, REWARDS)
    steady = run(RERD(population=4, patience=None), WORLD.model(), archive, 25)
    peaks = [float(population.rewards.max()) for population in steady]
    assert peaks == sorted(peaks)


def test_a_rooted_lineage_starts_anew_from_its_root_and_archive() -> None:
    root = WORLD.model().alphabet.decode(WORLD.clean[:1])[0]
    archive, _ = toy_archive(WORLD, REWARDS, [root])
    populations = run(RERD(population=3, patience=0.4), WORLD.model(), archive, 30)
    assert all(design.parent >= 0 for design in archive.designs[1:])
    assert min(population.rewards.max() for population in populations[10:]) < REWARDS.max()


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.5}, {"schedule": "decay"}, {"schedule": "adaptive"}]
)
def test_parents_went_on_and_children_are_near(settings: dict[str, object]) -> None:
    world = make_world(4, 5)
    archive, _ = toy_archive(world, make_rewards(world))
    method = RERD(population=6, offspring=9, crossover=0, fraction=0.4, **settings)
    populations = run(method, world.model(), archive, 8)
    went_on: dict[int, set[int]] = {p.round: set(p.numbers.tolist()) for p in populations}
    for design in archive.designs:
        if design.parent >= 0:
            assert design.parent in went_on[design.round - 1]
            pair = archive.sequence(design.parent), archive.ledger.sequences[design.place]
            assert 1 <= sum(a != b for a, b in zip(*pair, strict=True)) <= 2


def test_crossed_children_come_from_both() -> None:
    world = make_world(4, 5)
    archive, _ = toy_archive(world, make_rewards(world))
    run(RERD(population=8, crossover=1.0), world.model(), archive, 10)
    crossed = [design for design in archive.designs if design.partner >= 0]
    assert len(crossed) > 10
    for design in crossed:
        assert design.partner != design.parent


@pytest.mark.parametrize(("fraction", "most"), [(0.1, 1), (0.3, 3), (1.0, 4)])
def test_joints_are_no_more_than_other_positions_drawn_anew(fraction: float, most: int) -> None:
    """Two cuts have four positions beside them: nearly all of a short sequence."""
    world = make_world(3, 4) if most < 3 else make_world(2, 10)
    archive, _ = toy_archive(world, make_rewards(world))
    members = drawn_from(archive, world, world.law, 200, seed=0)
    noise = noise_for(0, 400)
    lineages = torch.zeros(400, dtype=torch.int64)
    pairs = drawn_pairs(archive, members, lineages, 1.0, Brief(), noise)
    drafts = RERD(fraction=fraction).drafts(world.model(), pairs, Brief(), noise)
    count = drafts.chosen[pairs.crossed].sum(1)
    assert len(count) > 100
    assert int(count.max()) == most


def test_few_letters_are_drawn_anew_where_few_may_differ() -> None:
    world = make_world(2, 10)
    archive, _ = toy_archive(world, make_rewards(world), ["A" * 10])
    members = drawn_from(archive, world, world.law, 200, seed=0)
    noise, lineages = noise_for(0, 400), torch.zeros(400, dtype=torch.int64)
    pairs = drawn_pairs(archive, members, lineages, 0.0, Brief(), noise)
    for most_edits, most in ((None, 5), (10, 5), (4, 2), (1, 1)):
        brief = Brief(most_edits=most_edits)
        drafts = RERD(fraction=0.5).drafts(world.model(), pairs, brief, noise)
        assert int(drafts.chosen.sum(1).max()) == most


def test_few_parents_have_several_children_each() -> None:
    assert (RERD().population, RERD().children) == (4, 16)
    assert RERD(offspring=40).population == 4
    assert RERD(population=10, offspring=5).children == 5
    for selection in ("pareto", "none"):
        wide = RERD(selection=selection)
        assert (wide.population, wide.children) == (16, 16)


def test_selection_above_zero_is_a_draw() -> None:
    archive, _ = toy_archive(WORLD, REWARDS)
    greedy = run(RERD(population=5), WORLD.model(), archive, 1)[-1].rewards
    means = []
    for alpha in (0.3, 30.0):
        archive, _ = toy_archive(WORLD, REWARDS)
        last = run(RERD(population=5, offspring=20, temperature=alpha), WORLD.model(), archive, 4)
        means.append(float(last[-1].rewards.mean()))
    assert float(greedy.mean()) >= means[1]
    assert means[0] > means[1]


def test_positions_that_the_prior_finds_unlikely_are_preferred() -> None:
    """Of all pairs, the one that breaks the law of the sum is drawn anew more often."""
    from designkit.algorithms.refinement._variation import least_likely

    archive, _ = toy_archive(WORLD, REWARDS)
    count = 3000
    place = int(np.argmin(WORLD.law))
    sequence = WORLD.model().alphabet.decode(WORLD.clean[place : place + 1])
    numbers = archive.add(sequence * count, [0] * count, 0)
    members = archive.population(numbers, 0)
    among = torch.tensor([True, True, True, False]).expand(count, -1)
    one = torch.ones(count, dtype=torch.int64)
    chosen = least_likely(WORLD.model(), members, among, one, noise_for(0, count))
    x_t = WORLD.clean[place].clone()
    x_t[:3] = WORLD.size
    probs = WORLD.model().predict_x_0(x_t[None], torch.ones(1))[0].detach()
    doubt = 1 - probs.gather(1, WORLD.clean[place][:, None])[:3, 0].double()
    share = chosen.double().mean(0)
    assert share[3] == 0
    np.testing.assert_allclose(share[:3], doubt / doubt.sum(), atol=0.03)


def test_edits_are_limited_whatever_is_drawn() -> None:
    world = make_world(4, 5)
    root = world.model().alphabet.decode(world.clean[100:101])[0]
    archive, _ = toy_archive(world, make_rewards(world), [root])
    brief = Brief(most_edits=2)
    run(RERD(population=10, fraction=1.0), world.model(), archive, 20, brief=brief)
    edits = [design.edits for design in archive.designs]
    assert set(edits) == {0, 1, 2}
    for number, count in enumerate(edits):
        assert count == sum(a != b for a, b in zip(archive.sequence(number), root, strict=True))
    near = [s for s in world.model().alphabet.decode(world.clean) if differ(s, root) <= 2]
    rewards = make_rewards(world)
    best = max(
        rewards[i] for i, s in enumerate(world.model().alphabet.decode(world.clean)) if s in near
    )
    assert archive.reward(archive.best(0, 1)[0]) == best


def test_letters_come_and_go_within_lengths_and_edits() -> None:
    from designkit.sequence_stats import edit_distances

    model = contract.model()  # of 8 to 12 letters
    roots = ("ACGTACGTAC", "GGGGCCCC")
    for most in (None, 3):
        archive = contract.archive_of(roots)
        archive = Archive(archive.ledger, DNA, roots, aligned=False)
        brief = Brief(shortest=8, longest=11, most_edits=most)
        method = RERD(population=6, indels=0.5, fraction=0.5)
        populations = run(method, model, archive, 12, brief=brief)
        lengths = {len(archive.sequence(number)) for number in range(len(archive))}
        assert lengths == {8, 9, 10, 11}
        for number, design in enumerate(archive.designs):
            pair = DNA.encode([archive.sequence(number)]), DNA.encode([roots[design.lineage]])
            assert design.edits == edit_distances(*pair)[0] <= (most or 12)
        assert populations[-1].edits.equal(
            torch.tensor([archive.designs[n].edits for n in populations[-1].numbers.tolist()])
        )


def test_stretches_move_within_what_may_change_and_edits() -> None:
    model = contract.model()
    root = "ACGTACGTAC"
    free = torch.arange(10) > 2
    for most in (None, 4):
        archive = contract.archive_of((root,))
        brief = Brief(most_edits=most, changeable=lambda length: free)
        run(RERD(population=8, shifts=1, crossover=0), model, archive, 8, brief=brief)
        designs = [archive.sequence(number) for number in range(len(archive))]
        assert len(designs) > 40
        assert {design[:3] for design in designs} == {root[:3]}
        edits = [differ(design, root) for design in designs]
        assert max(edits) <= (most or 7)
        if most is None:
            parents = [archive.designs[number].parent for number in range(1, len(archive))]
            far = [
                differ(designs[number + 1], designs[parent])
                for number, parent in enumerate(parents)
            ]
            assert max(far) > 4  # of a shift; 3 of 10 positions are drawn at most otherwise


def differ(first: str, second: str) -> int:
    return sum(a != b for a, b in zip(first, second, strict=True))
