"""Rehearsals: the law of the tries, what they keep to, and what goes on from a round."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from designkit.algorithms.refinement._drafts import Decoder
from designkit.algorithms.refinement._rehearsal import Rehearsal, independent_draws
from designkit.algorithms.refinement.base import Archive, Brief, Ledger, Population
from designkit.algorithms.refinement.rehearse import Rehearse
from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.alphabet import RNA
from designkit.dot_bracket import partners as partners_of
from designkit.models.base import DiffusionModel
from designkit.randomness import noise_for
from designkit.registry.build import load_diffusion_model
from designkit.registry.rules import find_prior
from designkit.rewards import RewardEngine, WeightedReward, load_reward
from tests.algorithms.refining import TableReward, run
from tests.tabular import Law, make_rewards, make_world, places, tv_excess

WORLD = make_world(3, 4)
REWARDS = make_rewards(WORLD)
ALPHA = 0.7
TARGET = WORLD.tilted(REWARDS, ALPHA)
COUNT = 4000


class Lookup:
    """A stand-in that knows the rewards, and blames one position."""

    def __init__(self, rewards: Law, size: int, blamed: int = 2):
        self.rewards, self.size, self.blamed = rewards, size, blamed
        self.asked = 0

    def judge(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.asked += 1
        found = self.rewards[places(torch.from_numpy(tokens), self.size).numpy()]
        blame = np.zeros(tokens.shape)
        blame[:, self.blamed] = 1
        return found, blame

    def near(self, tokens: np.ndarray, most: int) -> Lookup:
        return self


class Taught(TableReward):
    """Rewards of the toy world with a stand-in."""

    def stand_in(self, scored: Sequence[str]) -> Lookup:
        return Lookup(self.rewards, self.alphabet.size)


def archive_of(
    reward: type[TableReward] = Taught, roots: Sequence[str | None] = (None,)
) -> Archive:
    alphabet = WORLD.model().alphabet
    engine = RewardEngine([WeightedReward(reward(REWARDS, alphabet))], alphabet=alphabet)
    return Archive(Ledger(engine, alphabet), alphabet, roots)


def rehearsed(
    start: torch.Tensor,
    model: DiffusionModel | None = None,
    brief: Brief | None = None,
    roots: Sequence[str | None] = (None,),
    **settings: Any,
) -> torch.Tensor:
    archive = archive_of(roots=roots)
    decoder = Rehearsal(
        model or WORLD.model(),
        Ancestral(),
        archive.ledger,
        brief or Brief(batch_size=COUNT),
        archive=archive,
        **{"tries": 5, "temperature": ALPHA, "cooled": 1.0, "blamed": 0.0, **settings},
    )
    lineages = torch.zeros(len(start), dtype=torch.int64)
    return decoder.children(start, lineages, noise_for(3, len(start)))


def drawn(law: Law) -> torch.Tensor:
    rng = np.random.default_rng(2)
    return WORLD.clean[rng.choice(len(law), size=COUNT, p=law)]


@pytest.mark.parametrize("partners", [None, [3, 1, 2, 0]])
def test_tries_leave_the_law_as_it_is(partners: list[int] | None) -> None:
    model = WORLD.model()
    if partners is not None:
        model.denoiser.partners = torch.tensor(partners)
    assert tv_excess(rehearsed(drawn(TARGET), model), TARGET) < 0.02


def test_tries_come_to_the_law_from_the_prior() -> None:
    assert tv_excess(rehearsed(drawn(WORLD.law), tries=120), TARGET) < 0.02
    assert tv_excess(rehearsed(drawn(TARGET), temperature=ALPHA / 3), TARGET) > 0.05


def test_tries_grow_cold() -> None:
    found = REWARDS[places(rehearsed(drawn(WORLD.law), tries=100, cooled=0.1), 3).numpy()]
    mean = {part: float(WORLD.tilted(REWARDS, ALPHA / part) @ REWARDS) for part in (1, 1.5)}
    assert mean[1] < mean[1.5] < found.mean()


def test_tries_are_where_the_stand_in_blames() -> None:
    start = drawn(TARGET)
    changed = rehearsed(start, tries=1, blamed=1.0) != start
    # The blamed position, a share of its neighbours, and for some one more place near it.
    assert changed[:, 2].double().mean() > 2 * changed[:, [1, 3]].double().mean()
    assert changed[:, 0].double().mean() < changed[:, 1].double().mean()
    assert ((changed.sum(1)) <= 2).all()


def test_tries_keep_to_what_may_change() -> None:
    start = drawn(TARGET)
    free = torch.tensor([True, True, False, False])
    brief = Brief(changeable=lambda length: free, batch_size=COUNT)
    for blamed in (0.0, 1.0):
        found = rehearsed(start, brief=brief, blamed=blamed, tries=10)
        assert torch.equal(found[:, 2:], start[:, 2:])
        assert (found[:, :2] != start[:, :2]).any()


def test_tries_stay_near_the_root() -> None:
    root = WORLD.model().alphabet.decode(WORLD.clean[:1])[0]
    start = WORLD.clean[:1].repeat(500, 1)
    brief = Brief(most_edits=2, batch_size=COUNT)
    found = rehearsed(start, brief=brief, roots=(root,), tries=20, temperature=5.0)
    assert ((found != start).sum(1)).max() == 2
    assert ((rehearsed(start, tries=20, temperature=5.0) != start).sum(1)).max() > 2


class Even:
    """A stand-in that likes all sequences alike."""

    def judge(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(tokens)), np.full(tokens.shape, 1 / tokens.shape[1])

    def near(self, tokens: np.ndarray, most: int) -> Even:
        return self


def test_letters_come_from_draws_of_a_prior_whose_places_are_independent() -> None:
    model = load_diffusion_model(find_prior(f"base_pairs?structure={STRUCTURE}"))
    archive = folding_archive()
    archive.ledger.stand_in = Even
    plain = Decoder(model, Ancestral(), archive.ledger, Brief())
    draws = independent_draws(plain, noise_for(1, 3))
    assert draws is not None
    assert torch.equal(draws, independent_draws(plain, noise_for(1, 9)))
    assert not torch.equal(draws, independent_draws(plain, noise_for(2, 3)))
    fields = {"archive": archive, "tries": 60, "temperature": 1.0, "cooled": 1.0, "blamed": 0.5}
    decoder = Rehearsal(model, Ancestral(), archive.ledger, Brief(), **fields, draws=draws)
    rows = model.counter.rows
    start = draws[:1].repeat(600, 1)
    found = decoder.children(start, torch.zeros(600, dtype=torch.int64), noise_for(3, 600))
    assert model.counter.rows == rows
    # Nothing is remembered after so many tries: letters are as often as in the draws, and pairs
    # are pairs.
    for i, j in enumerate(partners_of(STRUCTURE)):
        for tokens in (found, draws):
            pairs = {(int(a), int(b)) for a, b in tokens[:, [i, j]]}
            assert i == j or pairs <= {(0, 3), (3, 0), (1, 2), (2, 1), (2, 3), (3, 2)}
        share = [tokens[:, i].bincount(minlength=4) / len(tokens) for tokens in (found, draws)]
        assert (share[0] - share[1]).abs().max() < 0.12


def test_where_letters_are_kept_the_prior_is_asked() -> None:
    model = load_diffusion_model(find_prior(f"base_pairs?structure={STRUCTURE}"))
    ledger, free = folding_archive().ledger, torch.ones(len(STRUCTURE), dtype=torch.bool)
    brief = Brief(changeable=lambda length: free)
    assert independent_draws(Decoder(model, Ancestral(), ledger, brief), noise_for(1, 3)) is None
    assert (
        independent_draws(Decoder(WORLD.model(), Ancestral(), ledger, Brief()), noise_for(1, 3))
        is None
    )


def test_a_child_does_not_depend_on_those_beside_it() -> None:
    start = drawn(TARGET)[:20]
    together = rehearsed(start)
    archive = archive_of()
    decoder = Rehearsal(
        WORLD.model(), Ancestral(), archive.ledger, Brief(), archive=archive,
        tries=5, temperature=ALPHA, cooled=1.0, blamed=0.0,
    )  # fmt: skip
    alone = decoder.children(
        start[7:8], torch.zeros(1, dtype=torch.int64), noise_for(3, 1, start=7)
    )
    assert torch.equal(alone, together[7:8])


def test_members_go_on_from_their_children_whatever_their_rewards() -> None:
    archive = archive_of()
    populations = run(Rehearse(population=8, tries=3, replaced=0), WORLD.model(), archive, 4)
    worse = 0
    for before, after in pairwise(populations):
        worse += int((after.rewards < before.rewards).sum())
    assert worse > 0


def test_without_a_stand_in_members_go_on_where_they_are_not_worse() -> None:
    archive = archive_of(TableReward)
    populations = run(Rehearse(population=8, replaced=0), WORLD.model(), archive, 12)
    for before, after in pairwise(populations):
        assert (after.rewards >= before.rewards).all()
        changed = (after.tokens != before.tokens).sum(1)
        assert changed.max() <= 1
    assert populations[-1].rewards.mean() > populations[0].rewards.mean()


def test_the_worst_go_on_from_the_best() -> None:
    method = Rehearse(population=4, replaced=0.5)
    rewards = torch.tensor([1.0, 4.0, -np.inf, 3.0, 9.0, 9.0, 8.0, 7.0], dtype=torch.float64)
    order = method.renewed(rewards, noise_for(0, 8))
    assert order.tolist() == [1, 1, 3, 3, 4, 5, 4, 5]
    kept = method.model_copy(update={"replaced": 0.2}).renewed(rewards, noise_for(0, 8))
    assert kept.tolist() == list(range(8))


STRUCTURE = "((((...))..((...)).))"


def folding_archive() -> Archive:
    reward = load_reward(f"inverse_folding?structure={STRUCTURE}")
    engine = RewardEngine([WeightedReward(reward)], alphabet=RNA)
    return Archive(Ledger(engine, RNA), RNA, (None,))


def folded(archive: Archive, rounds: int, start: Population | None = None) -> Population:
    model = load_diffusion_model(find_prior(f"base_pairs?structure={STRUCTURE}"))
    return run(Rehearse(population=6, tries=6), model, archive, rounds, start=start)[-1]


def test_a_run_that_goes_on_has_the_same_stand_in() -> None:
    whole, before, after = folding_archive(), folding_archive(), folding_archive()
    last, there = folded(whole, 5), folded(before, 2)
    after.ledger.restore(before.ledger.rows(0))
    after.restore(before.rows(0))
    start = after.population(there.numbers.tolist(), there.round, there.memory)
    assert torch.equal(folded(after, 3, start).tokens, last.tokens)
    sequences = whole.ledger.sequences
    assert after.ledger.sequences == sequences
    assert len(sequences) == len(set(sequences)) > 12
