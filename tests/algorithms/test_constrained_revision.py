"""Constraints under uniform noise, where every letter may change until the last step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling._constrained_draw import Guard
from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.nested_is import NestedIS
from designkit.algorithms.sampling.smc import SMC
from designkit.algorithms.values.base import States
from designkit.alphabet import Alphabet
from designkit.constraints import Constraints, ConstraintSettings, Share
from designkit.diffusion.uniform import Uniform
from designkit.randomness import noise_for
from tests.tabular import Law, make_rewards, make_world, places, tv, tv_excess
from tests.tabular_uniform import UniformWorld

WORLD = make_world(3, 4)
UNIFORM = UniformWorld(WORLD, Uniform(size=WORLD.size))
REWARDS = make_rewards(WORLD)
ALPHABET = Alphabet("toy", tuple("ABC"))
STEPS = 16
PRETRAINED = UNIFORM.chain_law(UNIFORM.model(), STEPS)
EDGES = Share(frozenset({0}), 0.25, 0.5)
CASES: dict[str, dict[str, Any]] = {
    "letters": {"template": "?B??", "forbid_letters": "C"},
    "words": {"forbid": ("AB", "CA"), "max_homopolymer": 2},
    "both": {"template": "?B??", "forbid": ("AC", "CB"), "max_homopolymer": 2},
}


def compiled(case: str) -> Constraints:
    found = ConstraintSettings(**CASES[case]).compile(ALPHABET, WORLD.length)
    assert found is not None
    return found


def satisfying(constraints: Constraints) -> np.ndarray:
    """(K^L,) which clean sequences the check by search lets through."""
    return np.array([not constraints.violations(s) for s in ALPHABET.decode(WORLD.clean)])


def states_at(step: int, guard: Guard) -> States:
    """All noisy sequences that hold the letters that are given, before a step."""
    model, tokens = UNIFORM.model(), WORLD.clean
    if guard.given is not None:
        tokens = tokens[((tokens == guard.given) | (guard.given < 0)).all(1)]
    noise = noise_for(0, len(tokens))
    known = None if guard.given is None else guard.given.expand(len(tokens), -1)
    plan = model.process.plan(WORLD.length, STEPS, "grid", noise, known)
    time = plan.times[step].float().expand(len(tokens))
    with torch.no_grad():
        guess = model.predict_x_0(tokens, time)
    zeros = torch.zeros(len(tokens), dtype=torch.float64)
    return States(tokens, guess, noise.item, step, plan, noise, model.predict_x_0, zeros)


def law_of_clean(states: States, guard: Guard, good: np.ndarray) -> tuple[Law, Law]:
    """(S, L, K) each letter's law and (S,) chance of C, for letters drawn from the guess."""
    guess = states.x_0_probs.double().numpy().copy()
    if guard.given is not None:
        for place in (guard.given >= 0).nonzero()[:, 0].tolist():
            guess[:, place] = np.eye(WORLD.size)[int(guard.given[place])]
    clean = WORLD.clean.numpy()
    weights = guess[:, np.arange(WORLD.length), clean].prod(2) * good
    one_hot = np.eye(WORLD.size)[clean]
    chance = weights.sum(1)
    return np.einsum("ns,slk->nlk", weights, one_hot) / chance[:, None, None], chance


def moves(states: States, probs: Tensor) -> Tensor:
    """(S, S) probability of each state after a step of independent letters."""
    each = [probs[:, place][:, states.tokens[:, place]] for place in range(WORLD.length)]
    return torch.stack(each).prod(0)


@pytest.mark.parametrize("case", CASES)
def test_steps_follow_from_the_law_of_each_clean_letter(case: str) -> None:
    constraints = compiled(case)
    guard, good = Guard(constraints), satisfying(constraints)
    for step in (0, 7, STEPS - 2):
        states = states_at(step, guard)
        process = UNIFORM.process
        law = process.transition(states.tokens, states.x_0_probs, states.plan, step)
        clean, chance = law_of_clean(states, guard, good)
        free = states.plan.free[0]
        t, s = (states.plan.times[k].expand(len(chance)) for k in (step, step + 1))
        expected = process.posterior(states.tokens, torch.from_numpy(clean), s, t)
        found = guard.transition(states, law).probs
        np.testing.assert_allclose(found[:, free], expected[:, free], atol=1e-12)
        judged = guard.judge(states)
        np.testing.assert_allclose(judged.log_chance.exp(), chance, rtol=1e-6)
        # A tilt of the step's own letters stays.
        factors = torch.randn(law.probs.shape, dtype=torch.float64)
        tilted = guard.transition(states, law.tilted(factors)).probs
        again = expected * factors.exp()
        again = again / again.sum(-1, keepdim=True)
        np.testing.assert_allclose(tilted[:, free], again[:, free], atol=1e-12)


def chain(guard: Guard, *, first: int = 0) -> Law:
    """(K^L,) the law of unguided designs, by products of transition matrices.

    Args:
        guard: the constraints.
        first: step from which on they are kept to.
    """
    states = states_at(0, guard)
    law = torch.full((len(states.tokens),), 1 / len(states.tokens), dtype=torch.float64)
    for step in range(STEPS):
        states = states_at(step, guard)
        own = UNIFORM.process.transition(states.tokens, states.x_0_probs, states.plan, step)
        kept = guard.transition(states, own) if step >= first else own
        if step == STEPS - 1:
            words = states.tokens.expand(len(law), -1, -1)
            law = law @ kept.log_prob(words).exp()
        else:
            law = law @ moves(states, kept.probs)
    whole = np.zeros(len(WORLD.clean))
    whole[places(states.tokens, WORLD.size).numpy()] = law.numpy()
    return whole


def test_words_in_every_step_come_nearer_to_the_restricted_law_than_in_the_last() -> None:
    constraints = compiled("words")
    guard, good = Guard(constraints), satisfying(constraints)
    restricted = PRETRAINED * good / (PRETRAINED @ good)
    always, last = chain(guard), chain(guard, first=STEPS - 1)
    assert always.sum() == pytest.approx(1)
    assert always[~good].sum() == pytest.approx(0, abs=1e-12)
    assert tv(always, restricted) < 0.6 * tv(last, restricted)
    count = 6000
    request = Request(WORLD.length, guard=guard)
    designs = Ancestral(steps=STEPS).sample(UNIFORM.model(), None, request, noise_for(1, count))
    assert abs(tv_excess(designs.tokens, always)) < 0.015


@pytest.mark.parametrize("case", ["words", "shares"])
@pytest.mark.parametrize("kind", [SMC, NestedIS])
def test_populations_are_exact_under_constraints(case: str, kind: Any) -> None:
    constraints = compiled("words")
    if case == "shares":
        constraints = replace(constraints, shares=(EDGES,))
    guard, good = Guard(constraints), satisfying(constraints)
    exact = PRETRAINED * good * np.exp(REWARDS / 0.7)
    particles, populations = 128, 40
    settings: dict[str, Any] = {"value": {"name": "monte_carlo", "completions": 8}}
    settings |= {"candidates": 3} if kind is NestedIS else {}
    method = kind(particles=particles, temperature=0.7, steps=STEPS, **settings)
    noise = noise_for(0, particles * populations)
    request = Request(WORLD.length, guard=guard)
    drawn = method.sample(UNIFORM.model(), WORLD.objective(REWARDS), request, noise)
    each = drawn.columns["log_normalizer"][::particles].exp().numpy()
    error = each.std() / populations**0.5
    assert each.mean() == pytest.approx(exact.sum(), abs=3.5 * error)
    assert error < 0.05 * exact.sum()
    assert guard.holds(drawn.tokens).all()
    law = exact / exact.sum()
    assert tv_excess(drawn.tokens, law) < 0.05
    assert tv(law, PRETRAINED * np.exp(REWARDS / 0.7) / (PRETRAINED @ np.exp(REWARDS / 0.7))) > 0.2


def test_guesses_that_complete_states_hold_allowed_letters_alone() -> None:
    guard = Guard(compiled("letters"))
    judged = guard.judge(states_at(3, guard))
    allowed = torch.tensor([[True, True, False], [False, True, False]] + [[True, True, False]] * 2)
    assert (judged.x_0_probs[:, ~allowed] == 0).all()
    guess = judged.predict(judged.tokens, judged.time.float().expand(len(judged.tokens)))
    assert torch.allclose(guess, judged.x_0_probs)
