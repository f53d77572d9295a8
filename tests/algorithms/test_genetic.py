"""The genetic algorithm: what mutates, how often, and by whom."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from designkit.algorithms.refinement._drafts import Decoder
from designkit.algorithms.refinement._pairs import Pairs
from designkit.algorithms.refinement.base import Brief
from designkit.algorithms.refinement.genetic import Genetic
from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.randomness import noise_for
from tests.algorithms.refining import rounds, run, toy_archive
from tests.tabular import independent_world, make_rewards, make_world, tv_excess

WORLD = make_world(4, 5)
REWARDS = make_rewards(WORLD)
COUNT = 6000


def pairs(crossed: bool = False) -> Pairs:
    """Six thousand children of AAAAA and BBBBB."""
    archive, _ = toy_archive(WORLD, REWARDS)
    numbers = archive.add(["AAAAA", "BBBBB"], [0, 0], 0)
    first, second = (archive.population([number] * COUNT, 0) for number in numbers)
    is_crossed = torch.full((COUNT,), crossed)
    return Pairs(torch.arange(COUNT), first, second, is_crossed, archive.root_tokens(first))


def drafted(method: Genetic, crossed: bool = False, brief: Brief | None = None) -> tuple:
    noise = noise_for(0, COUNT)
    made = method.drafts(WORLD.model(), pairs(crossed), brief or Brief(), noise)
    return made.tokens, made.chosen


def test_uniform_mutations_change_letters_to_any_other() -> None:
    tokens, chosen = drafted(Genetic(mutations=1.5))
    assert not chosen.any()
    number = (tokens != 0).sum(1)
    # Binomial(5, 0.3), and one where it is none.
    share = np.array([0.7**5 * 0 + 0, 5 * 0.3 * 0.7**4 + 0.7**5, 10 * 0.3**2 * 0.7**3])
    found = np.bincount(number, minlength=6) / COUNT
    np.testing.assert_allclose(found[:3], share, atol=0.02)
    letters = tokens[tokens != 0].bincount(minlength=4).double()
    np.testing.assert_allclose(letters[1:] / letters.sum(), [1 / 3] * 3, atol=0.02)
    places = (tokens != 0).double().mean(0)
    assert float(places.max() - places.min()) < 0.03


def test_the_prior_mutates_the_same_positions() -> None:
    uniform, _ = drafted(Genetic())
    kept, chosen = drafted(Genetic(mutation="prior"))
    assert (kept == 0).all()
    assert torch.equal(chosen, uniform != 0)


def test_crossover_takes_one_stretch_of_the_partner() -> None:
    tokens, _ = drafted(Genetic(mutation="prior"), crossed=True)
    assert set(tokens.unique().tolist()) == {0, 1}
    changes = (tokens.diff(dim=1) != 0).sum(1)
    assert int(changes.max()) == 2
    assert (tokens == 1).all(1).any()
    assert (tokens == 0).all(1).any()


def test_kept_positions_do_not_mutate() -> None:
    free = torch.tensor([False, True, True, False, False])
    brief = Brief(changeable=lambda length: free)
    tokens, _ = drafted(Genetic(mutations=3), crossed=True, brief=brief)
    assert (tokens[:, ~free] == 0).all()
    assert (tokens[:, free] != 0).any(0).all()


@pytest.mark.parametrize("mutation", ["uniform", "prior"])
def test_good_sequences_are_found(mutation: str) -> None:
    """Of 1,024 sequences 80 are scored: of random ones the best would be the 13th."""
    world, rewards = independent_world(4, 5)
    ranks = []
    for seed in range(4):
        archive, reward = toy_archive(world, rewards, limit=80)
        for _ in rounds(
            Genetic(population=8, mutation=mutation), world.model(), archive, seed=seed
        ):
            pass
        assert len(reward.asked) == len(set(reward.asked)) == 80
        ranks.append(int((rewards > archive.reward(archive.best(0, 1)[0])).sum()))
    assert sorted(ranks)[-2] <= 1


def test_mutation_by_the_prior_follows_its_conditionals() -> None:
    """One position of AAAAA, drawn given the others: the law of that letter."""
    made = Genetic(mutation="prior", mutations=1e-9).drafts(
        WORLD.model(), pairs(), Brief(), noise_for(0, COUNT)
    )
    archive, _ = toy_archive(WORLD, REWARDS)
    decoder = Decoder(WORLD.model(), Ancestral(), archive.ledger, Brief())
    sequences = decoder.written(made, noise_for(0, COUNT))
    tokens = torch.from_numpy(WORLD.model().alphabet.encode(sequences))
    for place in range(5):
        same = [n for n in range(5) if n != place]
        law = np.where((WORLD.clean[:, same] == 0).all(1), WORLD.law, 0)
        mine = tokens[made.chosen[:, place]]
        assert len(mine) > 1000
        assert tv_excess(mine, law / law.sum()) < 0.03


def test_without_a_prior_the_denoiser_is_never_asked() -> None:
    archive, _ = toy_archive(WORLD, REWARDS, ["AAAAA"])
    model = WORLD.model()
    run(Genetic(population=5), model, archive, 10)
    assert model.counter.rows == 0
    assert len(archive) > 30
