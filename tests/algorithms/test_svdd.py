"""SVDD against enumerated laws: its own for finite M, p(x) exp(r(x) / temperature) for large M."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import factorial, prod
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling._guided import choose
from designkit.algorithms.sampling.base import Children, Request
from designkit.algorithms.sampling.svdd import SVDD
from designkit.alphabet import Alphabet
from designkit.diffusion.base import categorical
from designkit.models.base import DiffusionModel
from designkit.randomness import Noise, noise_for
from designkit.rewards import RewardEngine, WeightedReward, reward
from tests.tabular import (
    CountedTable,
    ExactSVDD,
    Law,
    World,
    exact_svdd,
    make_rewards,
    make_world,
    places,
    tv,
    tv_excess,
)

WORLD = make_world(3, 4)
REWARDS = make_rewards(WORLD)
TEMPERATURE = 0.5
TARGET = WORLD.tilted(REWARDS, TEMPERATURE)
K, L, V = WORLD.size, WORLD.length, WORLD.size + 1


def sample(method: SVDD, draws: int, world: World = WORLD, rewards: Law = REWARDS) -> Tensor:
    noise = noise_for(0, draws)
    return method.sample(
        world.model(), world.objective(rewards), Request(world.length), noise
    ).tokens


def compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in compositions(total - first, parts - 1):
            yield (first, *rest)


def decoding_law(
    world: World, rewards: Law, temperature: float, candidates: int, value_temperature: float
) -> Law:
    """The law of SVDD with M candidates, one position a step, by summing over what can happen.

    In a step the numbers of candidates with each letter are multinomial, and a letter is kept with
    probability number x weight over the sum of these; temperature 0 keeps the best letter present.
    """
    values = world.soft_values(rewards, value_temperature)
    numbers = np.array(list(compositions(candidates, world.size)), dtype=float)  # (C, K)
    ways = np.array(
        [factorial(candidates) / prod(factorial(int(n)) for n in row) for row in numbers]
    )
    noisy = world.noisy.numpy()
    radix = (world.size + 1) ** np.arange(world.length - 1, -1, -1)
    mass = np.zeros(len(noisy))
    mass[-1] = 1.0
    for hidden in range(world.length, 0, -1):
        for place in np.flatnonzero((noisy == world.size).sum(1) == hidden):
            for position in np.flatnonzero(noisy[place] == world.size):
                step = radix[position] * (np.arange(world.size) - world.size)
                children = place + step
                v, pi = values[children], world.conditionals[place, position]
                chance = ways * (pi**numbers).prod(1)
                if temperature:
                    weights = numbers * np.exp((v - v.max()) / temperature)
                else:
                    best = np.where(numbers > 0, v, -np.inf)
                    weights = (best == best.max(1, keepdims=True)).astype(float)
                kept = chance @ (weights / weights.sum(1, keepdims=True))
                mass[children] += mass[place] * kept / hidden
    clean = (world.clean.numpy() * radix).sum(1)
    return np.asarray(mass[clean])


def law_of(candidates: int, temperature: float = TEMPERATURE, value: float = TEMPERATURE) -> Law:
    return decoding_law(WORLD, REWARDS, temperature, candidates, value)


def test_the_enumerated_law_has_its_limits() -> None:
    np.testing.assert_allclose(law_of(1), WORLD.law, atol=1e-12)
    distances = [tv(law_of(n), TARGET) for n in (1, 4, 16, 60)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.3
    assert distances[-1] < 0.02


def test_soft_values_satisfy_the_bellman_equation() -> None:
    values = WORLD.soft_values(REWARDS, TEMPERATURE)
    radix = V ** np.arange(L - 1, -1, -1)
    for place, word in enumerate(WORLD.noisy.numpy()):
        for position in np.flatnonzero(word == K):
            children = place + radix[position] * (np.arange(K) - K)
            expected = WORLD.conditionals[place, position] @ np.exp(values[children] / TEMPERATURE)
            assert values[place] == pytest.approx(TEMPERATURE * np.log(expected), abs=1e-9)


@pytest.mark.parametrize(("candidates", "temperature"), [(2, 0.5), (5, 0.5), (5, 0.1), (5, 0.0)])
def test_designs_have_the_law_of_finitely_many_candidates(
    candidates: int, temperature: float
) -> None:
    tokens = sample(exact_svdd(WORLD, REWARDS, temperature, candidates), 20_000)
    exact = law_of(candidates, temperature, temperature)
    assert abs(tv_excess(tokens, exact)) < 0.01
    for other in (1, 2 * candidates):
        assert tv_excess(tokens, law_of(other, temperature, temperature)) > 0.015


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_many_candidates_and_the_exact_value_draw_the_target(temperature: float) -> None:
    target = WORLD.tilted(REWARDS, temperature)
    excess = []
    for candidates in (10, 50, 200):
        count = 2000 if candidates == 200 else 6000
        drawn = sample(exact_svdd(WORLD, REWARDS, temperature, candidates), count)
        excess.append(tv_excess(drawn, target))
        exact = law_of(candidates, temperature, temperature) if candidates < 200 else target
        assert abs(tv_excess(drawn, exact)) < 0.02
    assert excess[-1] < 0.02
    if temperature < 1:
        assert excess[0] > excess[1] + 0.01 > excess[2] + 0.01


@pytest.mark.parametrize("decoding", ["blocks", "grid"])
def test_a_single_step_tilts_the_law_of_that_step(decoding: str) -> None:
    """All positions at once: p(x) is then the product of the marginals, not the model's law."""
    start = WORLD.conditionals[-1]
    product = np.prod([start[i, WORLD.clean[:, i].numpy()] for i in range(L)], axis=0)
    exact = World(product, K, L).tilted(REWARDS, TEMPERATURE)
    method = exact_svdd(WORLD, REWARDS, TEMPERATURE, 200, steps=1, decoding=decoding)
    tokens = sample(method, 4000)
    assert tv_excess(tokens, exact) < 0.02
    assert tv_excess(tokens, TARGET) > 0.2


class Greedy(ExactSVDD):
    """The published code: argmax, whatever the temperature."""

    def select(self, children: Children, temperature: float) -> Tensor:
        return super().select(children, 0.0)


class Untempered(ExactSVDD):
    """Softmax of the values themselves: the temperature is ignored."""

    def select(self, children: Children, temperature: float) -> Tensor:
        return super().select(children, 1.0)


class Linear(ExactSVDD):
    """Weights that are the values, shifted, instead of their exponentials."""

    def select(self, children: Children, temperature: float) -> Tensor:
        values = children.values
        shifted = values - values.min(1, keepdim=True).values + 1e-9
        return super().select(replace(children, values=shifted.log()), 1.0)


class Unselected(ExactSVDD):
    """The last step is not selected: designs taken before the last selection."""

    def select(self, children: Children, temperature: float) -> Tensor:
        kept = super().select(children, temperature)
        return kept - kept % self.candidates if children.last else kept


@pytest.mark.parametrize("kind", [Greedy, Untempered, Linear, Unselected])
def test_wrong_variants_fail_the_criterion(kind: type[ExactSVDD]) -> None:
    tokens = sample(exact_svdd(WORLD, REWARDS, TEMPERATURE, 60, kind=kind), 4000)
    assert tv_excess(tokens, TARGET) > 0.04


@pytest.mark.parametrize("value_temperature", [0.1, 5.0])
def test_a_value_of_another_temperature_fails_the_criterion(value_temperature: float) -> None:
    """The mean of the reward (large temperature) or its maximum (small) are not the soft value."""
    method = exact_svdd(WORLD, REWARDS, TEMPERATURE, 60, value_temperature=value_temperature)
    table = list(method.table)
    # Clean sequences keep their rewards, the value of every estimator there.
    clean = places(WORLD.clean, V).tolist()
    for place, value in zip(clean, REWARDS.tolist(), strict=True):
        assert table[place] == pytest.approx(value)
    assert tv_excess(sample(method, 4000), TARGET) > 0.025


def chosen(values: Tensor, temperature: float, log_ratio: Tensor | None = None) -> Tensor:
    ratio = torch.zeros_like(values) if log_ratio is None else log_ratio
    return choose(values, ratio, temperature, noise_for(0, len(values)))


def test_one_step_selects_by_the_softmax() -> None:
    """Shares of the children that are kept, against softmax(v / temperature)."""
    values = torch.tensor([[0.3, -1.0, 2.0, -torch.inf, torch.nan, 1.9]], dtype=torch.float64)
    count = 200_000
    shares = chosen(values.expand(count, -1), 0.7).bincount(minlength=6)
    scored = values[0].nan_to_num(nan=-torch.inf, neginf=-torch.inf) / 0.7
    expected = scored.softmax(0) * count
    error = expected.sqrt().clamp(min=1e-9)
    assert ((shares - expected).abs() / error < 4.5).all()
    assert shares[3] == shares[4] == 0


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_children_without_a_score_rank_last(temperature: float) -> None:
    values = torch.full((100, 4), -torch.inf, dtype=torch.float64)
    values[:, 0] = torch.nan
    values[:, 2] = -1e300
    assert (chosen(values, temperature) == 2).all()
    unscored = torch.full((100, 4), torch.nan, dtype=torch.float64)
    kept = chosen(unscored, temperature)
    assert ((kept >= 0) & (kept < 4)).all()


def test_huge_and_tiny_scales_of_values_do_not_overflow() -> None:
    values = torch.tensor([[1e6, 1e6 + 1, -1e6]], dtype=torch.float64).expand(2000, -1)
    shares = chosen(values, 1.0).bincount(minlength=3)
    assert shares[2] == 0
    assert shares[1] / 2000 == pytest.approx(np.e / (1 + np.e), abs=0.05)
    assert (chosen(values, 1e-6) == 1).all()


def test_temperature_zero_keeps_the_best_child_and_the_first_of_equals() -> None:
    values = torch.tensor([[1.0, 3.0, 3.0], [5.0, 3.0, 5.0]], dtype=torch.float64)
    assert chosen(values, 0.0).tolist() == [1, 0]


def naive(
    model: DiffusionModel,
    table: Law,
    length: int,
    method: SVDD,
    noise: Noise,
    decoding: str,
    *,
    own_guess: bool,
) -> Tensor:
    """SVDD row by row and child by child, without any sharing; the same noise, the same designs."""
    designs = []
    values = torch.from_numpy(table)
    size = model.alphabet.size
    for row in range(len(noise.item)):
        own = noise.rows(torch.tensor([row]))
        plan = model.process.plan(length, method.steps_for(length), decoding, own)
        x_t, best = plan.start, None
        for step in range(plan.steps):
            time = plan.times[step].float()[None]
            guess = model.predict_x_0(x_t, time)
            scores, children = [], []
            for candidate in range(method.candidates):
                uniform = Noise(own.seed, own.item, step, candidate).uniform("token", length)
                drawn = categorical(guess, uniform)
                child = torch.where(plan.step_of == step, drawn, x_t)
                completed = guess
                if own_guess:
                    completed = model.predict_x_0(child, plan.times[step + 1].float()[None])
                children.append(child)
                decoded = child.where(child < size, completed.argmax(-1))
                scores.append(values[places(decoded, size)])
                if (plan.step_of == step).any() and (best is None or scores[-1] > best[0]):
                    best = scores[-1], decoded
            stacked = torch.stack(scores, 1)
            kept = choose(stacked, torch.zeros_like(stacked), method.temperature, own.at(step))
            x_t = children[int(kept)]
        designs.append(best[1] if method.temperature == 0 else x_t)
    return torch.cat(designs)


@pytest.mark.parametrize(
    ("decoding", "steps"), [("blocks", None), ("blocks", 2), ("grid", 3), ("grid", 9)]
)
@pytest.mark.parametrize("temperature", [0.0, 0.3])
@pytest.mark.parametrize("guess", ["own", "parent"])
def test_sharing_calls_does_not_change_the_designs(
    decoding: str, steps: int | None, temperature: float, guess: str
) -> None:
    common: dict[str, Any] = {"decoding": decoding, "steps": steps, "value": {"guess": guess}}
    method = SVDD(candidates=6, temperature=temperature, **common)
    noise = noise_for(4, 25)
    with torch.no_grad():
        own_guess = guess == "own"
        slow = naive(WORLD.model(), REWARDS, L, method, noise, decoding, own_guess=own_guess)
    model = WORLD.model()
    fast = method.sample(model, WORLD.objective(REWARDS), Request(L), noise).tokens
    assert torch.equal(fast, slow)
    assert model.counter.rows < 25 * method.calls_per_design(L)[0]


def test_calls_are_those_announced() -> None:
    model, objective = WORLD.model(), CountedTable(REWARDS, K)
    method = SVDD(candidates=7, temperature=0.3)
    method.sample(model, objective, Request(L), noise_for(5, 40))
    rows, rewards = method.calls_per_design(L)
    assert (rows, rewards) == (1 + 7 * (L - 1), 7 * L)
    # The pass that valued a child is its next proposal pass: one call a step, not two.
    assert model.counter.calls == L
    assert model.counter.rows <= 40 * rows
    # Of the seven letters drawn for a position three can differ.
    most = method.suited(model.process).calls_per_design(L, K)[1]
    assert 40 * 2 * L < objective.rows <= 40 * most == 40 * K * L


def test_states_are_sent_to_the_denoiser_once_a_step() -> None:
    model = WORLD.model()
    exact_svdd(WORLD, REWARDS, TEMPERATURE, 50).sample(
        model, WORLD.objective(REWARDS), Request(L), noise_for(6, 200)
    )
    # The empty start is one state; one of 4 positions known, 12; two, 54; three, 108.
    assert model.counter.rows <= 1 + 12 + 54 + 108


def test_the_engine_scores_each_sequence_once() -> None:
    scored: list[str] = []

    @reward
    def counted(sequences: list[str]) -> list[float]:
        scored.extend(sequences)
        codes = [places(torch.tensor([["ABC".index(x) for x in s]]), K) for s in sequences]
        return [float(REWARDS[int(code)]) for code in codes]

    alphabet = Alphabet("toy", tuple("ABC"))
    engine = RewardEngine([WeightedReward(counted())], alphabet=alphabet)
    method = SVDD(candidates=8, temperature=0.3)
    through_engine = method.sample(WORLD.model(), engine, Request(L), noise_for(7, 30)).tokens
    direct = method.sample(
        WORLD.model(), WORLD.objective(REWARDS), Request(L), noise_for(7, 30)
    ).tokens
    assert torch.equal(through_engine, direct)
    assert len(scored) == len(set(scored)) == engine.rows_scored
    assert engine.rows_requested <= 30 * K * L
    assert engine.rows_scored <= len(WORLD.law)
