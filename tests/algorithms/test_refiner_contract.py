"""What every refiner promises, whatever its method."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from designkit import plugins
from designkit.algorithms.refinement.base import Archive, Brief, Ledger, Population, Refiner, Spent
from designkit.alphabet import DNA
from designkit.constraints import ConstraintSettings
from designkit.diffusion.masked import Masked
from designkit.diffusion.uniform import Uniform
from designkit.errors import Interrupted, UsageError
from designkit.models.base import DiffusionModel, LengthLaw
from designkit.models.cnn import CNNDenoiser
from designkit.randomness import noise_for
from designkit.recipes._constraints import RunConstraints
from designkit.recipes.training import build_seeded
from designkit.rewards import Reward, RewardEngine, RewardInfo, Scores, WeightedReward
from tests.algorithms.refining import run

pytestmark = pytest.mark.parametrize("name", plugins.names("designkit.refiners"))
LENGTHS = LengthLaw({8: 1, 12: 3})
ROOTS = ("ACGTACGTACGT", "GGGGCCCC", "TTTTAAAATTTT")


def model(law: LengthLaw = LENGTHS) -> DiffusionModel:
    """Random weights; logits scaled up so that letters depend on each other."""
    settings = CNNDenoiser(channels=16, kernel=5, dilations=(1, 4), repeats=1)
    net = build_seeded(lambda: settings.build(DNA.size + 1, DNA.size), 0).eval()
    with torch.no_grad():
        net.head.weight.mul_(6)
    return DiffusionModel(net, Masked(size=DNA.size), DNA, law)


class GMinusA(Reward):
    """Remembers what it was asked; has derivatives, for the methods that take them."""

    def __init__(self) -> None:
        self.info = RewardInfo("g_minus_a", differentiable=True)
        self.asked: list[str] = []

    def value(self, sequence: str) -> float:
        return sequence.count("G") - sequence.count("A") + 0.1 * sequence.count("GC")

    def score(self, sequences: list[str]) -> Scores:
        self.asked += sequences
        found = np.array([[self.value(s)] for s in sequences], dtype=float)
        return Scores(found, ["none" if np.isnan(row[0]) else None for row in found])

    def score_relaxed(self, probs: torch.Tensor, valid: Any = None) -> torch.Tensor:
        return (probs[..., 2] - probs[..., 0]).sum(1)


class SometimesNothing(GMinusA):
    """No score for an odd number of C."""

    def value(self, sequence: str) -> float:
        return np.nan if sequence.count("C") % 2 else super().value(sequence)


def archive_of(
    roots: tuple[str | None, ...] = ROOTS, reward: Reward | None = None, limit: int | None = None
) -> Archive:
    engine = RewardEngine([WeightedReward(reward or GMinusA())], alphabet=DNA)
    return Archive(Ledger(engine, DNA, limit), DNA, roots)


def refiner(name: str, **settings: Any) -> Refiner:
    plugin = plugins.find("designkit.refiners", name)
    temperature = plugin.model_fields.get("temperature")
    if temperature is not None and temperature.default is None:  # measured before a run
        settings = {"temperature": 0.5} | settings
    found: Refiner = plugin(**{"population": 4} | settings)
    return found


def content(population: Population) -> list[Any]:
    memory = {key: tensor.tolist() for key, tensor in population.memory.items()}
    return [population.round, population.numbers.tolist(), population.rewards.tolist(), memory]


def described(archive: Archive) -> list[Any]:
    return [archive.designs, archive.ledger.sequences, archive.ledger.rewards]


@pytest.mark.parametrize("roots", [ROOTS, (None,), (ROOTS[0],)], ids=["several", "none", "one"])
def test_rounds_leave_whole_populations_and_keep_their_books(name: str, roots: Any) -> None:
    method, reward = refiner(name), GMinusA()
    archive = archive_of(roots, reward)
    populations = run(method, model(), archive, 6)
    assert [population.round for population in populations] == list(range(7))
    for population in populations:
        assert population.lineages.equal(population.lineages.sort().values)
        for row, number in enumerate(population.numbers.tolist()):
            length = int(population.lengths[row])
            assert DNA.decode(population.tokens[row : row + 1, :length])[0] == (
                archive.sequence(number)
            )
            assert (population.tokens[row, length:] == -1).all()
            assert population.rewards[row] == archive.reward(number)
            assert population.lineages[row] == archive.designs[number].lineage
            assert archive.designs[number].round <= population.round
    for number, design in enumerate(archive.designs):
        assert archive.reward(number) == reward.value(archive.sequence(number))
        assert -1 <= design.parent < number
        if design.parent >= 0:
            assert archive.designs[design.parent].lineage == design.lineage
            assert archive.designs[design.parent].round < design.round
        root = roots[design.lineage]
        if root is not None:
            sequence = archive.sequence(number)
            assert len(sequence) == len(root)
            assert design.edits == sum(a != b for a, b in zip(sequence, root, strict=True))
    for lineage in range(len(roots)):
        own = [archive.sequence(number) for number in archive.best(lineage)]
        assert len(set(own)) == len(own)
        assert archive.leader(lineage) == archive.best(lineage, 1)[0]


def test_the_reward_rises_and_nothing_is_scored_twice(name: str) -> None:
    reward = GMinusA()
    archive = archive_of((ROOTS[0],), reward)
    run(refiner(name, population=8), model(), archive, 25)
    assert archive.reward(archive.best(0, 1)[0]) >= reward.value(ROOTS[0]) + 4
    assert len(reward.asked) == len(set(reward.asked)) == len(archive.ledger)


def test_a_run_that_goes_on_is_the_run_that_was_not_stopped(name: str) -> None:
    for roots in (ROOTS, (None,)):
        whole = archive_of(roots)
        populations = run(refiner(name), model(), whole, 7)
        for stop in (0, 3, 6):
            again, before = archive_of(roots), archive_of(roots)
            first = run(refiner(name), model(), before, stop)[-1]
            # What a journal keeps of it.
            again.ledger.restore(before.ledger.rows(0))
            again.restore(before.rows(0))
            memory = {
                key: torch.tensor(t.tolist(), dtype=t.dtype) for key, t in first.memory.items()
            }
            start = again.population(first.numbers.tolist(), first.round, memory)
            later = run(refiner(name), model(), again, 7 - stop, start=start)
            assert [content(p) for p in later] == [content(p) for p in populations[stop:]]
            assert described(again) == described(whole)


def test_batches_do_not_change_a_run_and_seeds_do(name: str) -> None:
    found = []
    for size, seed in ((1, 0), (3, 0), (256, 0), (256, 1)):
        archive = archive_of()
        run(refiner(name), model(), archive, 3, brief=Brief(batch_size=size), seed=seed)
        found.append(described(archive))
    assert found[0] == found[1] == found[2] != found[3]


def test_lineages_do_not_know_each_other(name: str) -> None:
    """What becomes of an input is the same whatever inputs come after it."""

    def family(roots: tuple[str, ...]) -> list[str]:
        archive = archive_of(roots)
        run(refiner(name), model(), archive, 4)
        return sorted(archive.sequence(number) for number in archive.best(0))

    assert family(ROOTS[:1]) == family(ROOTS)


def test_global_generators_are_left_alone(name: str) -> None:
    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

    before = states()
    run(refiner(name), model(), archive_of(), 2)
    assert states() == before


def test_one_member_and_one_letter(name: str) -> None:
    prior = model(LengthLaw({1: 1}))
    for roots in ((None,), ("A",)):
        archive = archive_of(roots)
        run(refiner(name, population=1), prior, archive, 6)
        assert {archive.sequence(number) for number in archive.best(0)} <= set("ACGT")
        assert len(archive) <= 4


def test_sequences_without_a_score_rank_last(name: str) -> None:
    archive = archive_of((None,), SometimesNothing())
    last = run(refiner(name, population=6), model(), archive, 15)[-1]
    assert archive.ledger.unscored > 0
    assert not last.rewards.isneginf().any()
    rewards = [archive.reward(number) for number in archive.best(0)]
    assert rewards == sorted(rewards, reverse=True)
    assert rewards[-1] == -float("inf")


CONSTRAINTS: dict[str, dict[str, Any]] = {
    "fixed": {"fix": "1-3,7"},
    "region": {"design": "3-5", "forbid_letters": "C"},
    "words": {"forbid": ("GC", "AAA:forward"), "max_homopolymer": 3},
    "shares": {"gc": ("0.3-0.7",), "template": "NNGNNNNN"},
}


@pytest.mark.parametrize("case", CONSTRAINTS)
def test_constraints_hold_for_everything_that_is_scored(name: str, case: str) -> None:
    roots = ("ACGTTACA", "TTGAACCG")
    own = RunConstraints(ConstraintSettings(**CONSTRAINTS[case]), DNA)
    assert not any(own.violations(root, root) for root in roots)
    brief = Brief(
        changeable=lambda length: own.changeable(length, roots[0]),
        guard=lambda length: own.guard(length, torch.device("cpu"), roots[0]),
        holds=lambda lineage, sequence: not own.violations(sequence, roots[lineage]),
        most_edits=5,
    )
    reward = GMinusA()
    archive = archive_of(roots, reward)
    run(refiner(name, population=6), model(), archive, 8, brief=brief)
    assert len(archive) > 8
    for number, design in enumerate(archive.designs):
        assert not own.violations(archive.sequence(number), roots[design.lineage])
        assert design.edits <= 5
    if refiner(name).inner().needs_reward is False:
        assert len(reward.asked) <= len(archive)


def test_calls_stay_within_what_is_announced(name: str) -> None:
    for roots in ((ROOTS[0],), (None,)):
        method, prior = refiner(name), model(LengthLaw({12: 1}))
        archive = archive_of(roots)
        populations = run(method, prior, archive, 0)
        before, scored = prior.counter.rows, archive.ledger.asked
        denoiser, rewards = method.calls_per_round(12, 4)
        rounds = method.rounds(prior, archive, populations[0], Brief(), noise_for(0, 1))
        for _ in islice(rounds, 12):
            assert prior.counter.rows - before <= denoiser
            assert archive.ledger.asked - scored <= rewards
            before, scored = prior.counter.rows, archive.ledger.asked


def test_a_limit_of_rewards_is_kept_exactly(name: str) -> None:
    archive = archive_of(limit=23)
    with pytest.raises(Spent):
        run(refiner(name), model(), archive, 1000)
    assert len(archive.ledger) == 23
    # The last children are spread over the lineages.
    counts = [len(archive.best(lineage)) for lineage in range(3)]
    assert max(counts) - min(counts) <= 6


def test_a_round_can_be_given_up(name: str) -> None:
    method = refiner(name, **({"mutation": "prior"} if name == "genetic" else {}))
    archive = archive_of()
    first = run(method, model(), archive, 0)[0]
    brief = Brief(should_stop=lambda: True)
    with pytest.raises(Interrupted):
        next(method.rounds(model(), archive, first, brief, noise_for(0, 1)))
    assert len(archive) == 3


def test_uniform_noise_is_refused(name: str) -> None:
    refiner(name).check(Masked(size=4))
    with pytest.raises(UsageError, match=r"with uniform noise .* masked noise"):
        refiner(name).check(Uniform(size=4))


def test_inner_samplers_are_independent(name: str) -> None:
    with pytest.raises(ValueError, match="depend on each other"):
        refiner(name, sampler="smc")
    with pytest.raises(ValueError, match="unknown sampler 'ancestrl'; did you mean 'ancestral'"):
        refiner(name, sampler="ancestrl")
