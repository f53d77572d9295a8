"""Draws under constraints, against enumeration of all sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling._constrained_draw import ConstrainedTransition, Guard
from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Children, Request
from designkit.algorithms.sampling.best_of_n import BestOfN
from designkit.algorithms.sampling.nested_is import NestedIS
from designkit.algorithms.sampling.smc import SMC
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.values.base import States
from designkit.alphabet import Alphabet
from designkit.constraints import Constraints, ConstraintSettings, Share
from designkit.diffusion.base import Transition
from designkit.randomness import noise_for
from tests.tabular import (
    World,
    independent_world,
    make_rewards,
    make_world,
    places,
    tv,
    tv_excess,
)

WORLD = make_world()  # 4 letters, 4 positions
REWARDS = make_rewards(WORLD)
ALPHABET = Alphabet("toy", tuple("ABCD"))
EDGES = Share(frozenset({0, 3}), 0.25, 0.5)

CASES: dict[str, dict[str, Any]] = {
    "letters": {"template": "?B??", "forbid_letters": "C"},
    "words": {"forbid": ("AB", "CD", "A?D"), "max_homopolymer": 2},
    "both": {"template": "??A?", "forbid": ("BA", "AA", "D"), "max_homopolymer": 2},
}


def compiled(case: str) -> Constraints:
    found = ConstraintSettings(**CASES[case]).compile(ALPHABET, WORLD.length)
    assert found is not None
    return found


def satisfying(constraints: Constraints, world: World = WORLD) -> np.ndarray:
    """(K^L,) which clean sequences the check by search lets through."""
    written = ALPHABET.decode(world.clean)
    return np.array([not constraints.violations(sequence) for sequence in written])


def half_known(constraints: Constraints, seed: int, rows: int) -> Tensor:
    """States with some letters of sequences that satisfy the constraints."""
    rng = np.random.default_rng(seed)
    good = WORLD.clean[satisfying(constraints)].numpy()
    tokens = good[rng.integers(len(good), size=rows)]
    hidden = rng.random(tokens.shape) < 0.7
    hidden[:, 3] = True
    return torch.from_numpy(np.where(hidden, WORLD.size, tokens))


def states_and_law(tokens: Tensor, seed: int, width: int = 2) -> tuple[States, Transition]:
    """An arbitrary guess of states, and a step that reveals two positions, or fewer."""
    model = WORLD.model()
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(*tokens.shape, WORLD.size)))
    probs = model.process.x_0_probs(2 * logits, tokens, torch.zeros(len(tokens)))
    masked = tokens == WORLD.size
    positions = (~masked).long().argsort(dim=1, stable=True)[:, :width]
    probs_there = probs.gather(1, positions[..., None].expand(-1, -1, WORLD.size))
    noise = noise_for(seed, len(tokens))
    plan = model.process.plan(WORLD.length, 2, "blocks", noise)
    zeros = torch.zeros(len(tokens), dtype=torch.float64)
    states = States(tokens, probs, noise.item, 1, plan, noise, model.predict_x_0, zeros)
    return states, Transition(positions, probs_there, masked.gather(1, positions))


@pytest.mark.parametrize("case", CASES)
def test_whole_draws_follow_the_restricted_law(case: str) -> None:
    constraints = compiled(case)
    good, draws = satisfying(constraints), 20_000
    guess = torch.from_numpy(np.random.default_rng(2).dirichlet(np.ones(4), size=(1, 4)))
    tokens = WORLD.clean[[int(np.flatnonzero(good)[0])]]
    unknown = torch.tensor([[True, True, False, True]])
    found = Guard(constraints).draw(tokens, guess, unknown, noise_for(0, 1), draws)[0]
    law = guess[0][torch.arange(4), WORLD.clean].where(unknown, 1.0).prod(1).numpy()
    law = law * good * (WORLD.clean[:, 2] == tokens[0, 2]).numpy()
    assert tv_excess(found, law / law.sum()) < 0.01


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("is_tilted", [False, True])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_the_law_of_a_step_is_the_conditional_law(case: str, is_tilted: bool, width: int) -> None:
    constraints = compiled(case)
    guard, good = Guard(constraints), satisfying(constraints)
    tokens = half_known(constraints, 0, 12)
    states, law = states_and_law(tokens, 1, width)
    probs = states.x_0_probs.clone()
    if is_tilted:  # the law of this step's positions differs from the guess
        law = law.tilted(torch.randn(law.probs.shape, dtype=torch.float64))
        for row, place in law.open.nonzero().tolist():
            probs[row, law.positions[row, place]] = law.probs[row, place]
    constrained = guard.transition(states, law)
    assert isinstance(constrained, ConstrainedTransition) == (width > 1 and case != "letters")
    words = torch.cartesian_prod(*[torch.arange(4)] * width).view(-1, width)
    letters = words.expand(len(tokens), -1, -1)
    found = constrained.log_prob(letters).exp()  # (12, 4^width)
    clean = WORLD.clean.numpy()
    for row in range(len(tokens)):
        weight = np.prod(probs[row].numpy()[np.arange(4), clean], axis=1) * good
        for choice in range(len(words)):
            agrees = np.ones(len(clean), dtype=bool)
            for place in range(width):
                if law.open[row, place]:
                    position = int(law.positions[row, place])
                    agrees &= clean[:, position] == int(letters[row, choice, place])
            exact = weight[agrees].sum() / weight.sum()
            assert float(found[row, choice]) == pytest.approx(exact, abs=1e-12)
    chance = guard.judge(states).log_chance.exp()
    own = np.prod(states.x_0_probs.numpy()[:, np.arange(4), clean], axis=2) @ good
    assert chance.numpy() == pytest.approx(own)


@pytest.mark.parametrize("case", CASES)
def test_letters_are_drawn_from_that_law(case: str) -> None:
    constraints = compiled(case)
    guard = Guard(constraints)
    states, law = states_and_law(half_known(constraints, 2, 3), 3)
    constrained = guard.transition(states, law)
    drawn = constrained.draw(states.noise, 6000)  # (3, 6000, 2)
    letters = torch.cartesian_prod(torch.arange(4), torch.arange(4)).expand(3, -1, -1)
    exact = constrained.log_prob(letters).exp()
    for row in range(3):
        shown = drawn[row].where(law.open[row], 0)
        counted = np.bincount(places(shown, 4).numpy(), minlength=16) / 6000
        expected = exact[row].where(((letters[row] == 0) | law.open[row]).all(-1), 0.0)
        assert tv(counted, expected.numpy()) < 0.03
    noise = states.noise.rows(torch.tensor([2, 0]))
    some = guard.transition(
        states.select(torch.tensor([2, 0])),
        Transition(law.positions[[2, 0]], law.probs[[2, 0]], law.open[[2, 0]]),
    )
    assert torch.equal(some.draw(noise, 6000), drawn[[2, 0]])


def test_letters_alone_need_no_automaton_and_give_the_same() -> None:
    constraints = compiled("letters")
    word = ConstraintSettings(forbid="CCCCC").compile(ALPHABET, 4)
    assert word is not None
    same = replace(constraints, automaton=word.automaton, frames=word.frames)
    states, law = states_and_law(half_known(constraints, 4, 9), 5)
    plain, walked = Guard(constraints), Guard(same)
    first, second = plain.transition(states, law), walked.transition(states, law)
    assert not isinstance(first, ConstrainedTransition)
    assert isinstance(second, ConstrainedTransition)
    drawn = first.draw(states.noise, 7)
    assert torch.equal(drawn, second.draw(states.noise, 7))
    assert torch.allclose(first.log_prob(drawn), second.log_prob(drawn))
    assert torch.allclose(plain.judge(states).log_chance, walked.judge(states).log_chance)


def test_a_way_out_is_found_however_improbable() -> None:
    """400 positions: letters that the guess rules out, and sums far below the smallest number."""
    length = 400
    constraints = ConstraintSettings(
        forbid=("AA", "BB", "AC", "BC", "CA", "CC"), template=("A" + "?" * (length - 2) + "D")
    ).compile(ALPHABET, length)
    assert constraints is not None
    guard, model = Guard(constraints), WORLD.model()
    tokens = torch.full((2, length), 4)
    tokens[:, 0], tokens[:, -1] = 0, 3
    probs = torch.zeros(2, length, 4)
    probs[0, :, 0] = 1  # A everywhere, which is forbidden
    probs[1, :, 2] = 1
    probs = model.process.x_0_probs(probs.log(), tokens, torch.zeros(2))
    noise = noise_for(0, 2)
    plan = model.process.plan(length, length, "blocks", noise)
    zeros = torch.zeros(2, dtype=torch.float64)
    states = States(tokens, probs, noise.item, 0, plan, noise, model.predict_x_0, zeros)
    positions = torch.arange(length).expand(2, -1)
    law = guard.transition(states, Transition(positions, probs, tokens == 4))
    designs = law.write(tokens, law.draw(noise, 3)).flatten(0, 1)
    assert guard.holds(designs).all()
    assert not any(constraints.violations(design) for design in ALPHABET.decode(designs))
    assert guard.judge(states).log_chance.isfinite().all()


def test_a_letter_of_a_long_sequence_has_the_law_that_each_choice_leaves() -> None:
    """300 positions, of which a share below 1e-300 holds: sums from both sides against one side."""
    length, rows = 300, 5
    constraints = ConstraintSettings(forbid=("AA", "BB", "AB"), max_homopolymer=3).compile(
        ALPHABET, length
    )
    assert constraints is not None
    guard, model = Guard(constraints), WORLD.model()
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(rows, length, 4)))
    logits[..., :2] += 7  # A and B nearly everywhere, which may not be neighbours
    probs, tokens = logits.softmax(-1), torch.full((rows, length), 4)
    noise = noise_for(0, rows)
    plan = model.process.plan(length, length, "blocks", noise)
    zeros = torch.zeros(rows, dtype=torch.float64)
    states = States(tokens, probs, noise.item, 0, plan, noise, model.predict_x_0, zeros)
    positions = torch.tensor([[0], [7], [150], [298], [299]])
    index = positions[..., None].expand(-1, -1, 4)
    law = Transition(positions, probs.gather(1, index), torch.ones_like(positions).bool())
    found = guard.transition(states, law).probs[:, 0]
    unknown = torch.ones_like(tokens).bool().scatter(1, positions, False)
    total = guard.log_total(tokens, probs, torch.ones_like(unknown))
    assert (total < -690).all()
    for letter in range(4):
        rest = guard.log_total(tokens.scatter(1, positions, letter), probs, unknown)
        expected = probs.gather(1, index)[:, 0, letter] * (rest - total).exp()
        np.testing.assert_allclose(found[:, letter], expected, rtol=1e-9)


def test_holds_agrees_with_the_check_by_search() -> None:
    for case in CASES:
        for constraints in (compiled(case), replace(compiled(case), shares=(EDGES,))):
            assert (
                Guard(constraints).holds(WORLD.clean).tolist() == satisfying(constraints).tolist()
            )


def test_shares_that_can_still_come_true() -> None:
    constraints = replace(compiled("letters"), shares=(EDGES, Share(frozenset({1}), 0, 0.5, 2)))
    good = satisfying(constraints)
    possible = Guard(constraints).may_hold(WORLD.noisy)
    completes = WORLD.completes[:, good].any(1)
    assert possible[completes].all()  # none is given up too early
    assert 0.1 < float(possible.double().mean()) < 0.9
    assert Guard(constraints).holds(WORLD.clean).tolist() == good.tolist()


@pytest.mark.parametrize("case", [*CASES, "shares"])
@pytest.mark.parametrize("kind", [SMC, NestedIS])
def test_populations_are_exact_under_constraints(case: str, kind: Any) -> None:
    """Weights are unbiased for E[1(C) exp(r / alpha)], and designs follow the restricted law."""
    constraints = (
        replace(compiled("words"), shares=(EDGES,)) if case == "shares" else compiled(case)
    )
    restricted = WORLD.law * satisfying(constraints)
    exact = restricted * np.exp(REWARDS / 0.7)
    particles, populations = 128, 120
    settings = {"candidates": 3} if kind is NestedIS else {}
    method = kind(particles=particles, temperature=0.7, **settings)
    # Letters that are fixed are given to the model: all is said of the law with these letters.
    agrees = np.ones(len(exact), dtype=bool)
    for place, token in enumerate(constraints.fixed):
        agrees &= (token is None) | (WORLD.clean[:, place].numpy() == token)
    exact = exact / WORLD.law[agrees].sum()
    model, noise = WORLD.model(), noise_for(0, particles * populations)
    drawn = method.sample(
        model, WORLD.objective(REWARDS), Request(4, guard=Guard(constraints)), noise
    )
    each = drawn.columns["log_normalizer"][::particles].exp().numpy()
    error = each.std() / populations**0.5
    assert each.mean() == pytest.approx(exact.sum(), abs=3.5 * error)
    assert error < 0.05 * exact.sum()
    assert Guard(constraints).holds(drawn.tokens).all()
    law = exact / exact.sum()
    assert tv_excess(drawn.tokens, law) < 0.04
    # The law without the constraints' weights is far from it.
    assert tv(law, WORLD.law * np.exp(REWARDS / 0.7)) > 0.1


@pytest.mark.parametrize("settings", [{"steps": 2}, {"decoding": "grid", "steps": 7}], ids=str)
def test_few_steps_are_exact_for_their_own_law(settings: dict[str, Any]) -> None:
    """The model's law is another then, and the weights know it; on a grid rows rest in steps."""
    constraints = compiled("words")
    model, count = WORLD.model(), 40_000
    plain = Ancestral(**settings).sample(model, None, Request(4), noise_for(1, count)).tokens
    allowed = Guard(constraints).holds(plain)
    rewards = torch.from_numpy(REWARDS)[places(plain, 4)]
    exact = float(((rewards / 0.7).exp() * allowed).mean())
    method = SMC(particles=32, temperature=0.7, **settings)
    noise = noise_for(2, 32 * 250)
    request = Request(4, guard=Guard(constraints))
    drawn = method.sample(model, WORLD.objective(REWARDS), request, noise)
    each = drawn.columns["log_normalizer"][::32].exp().numpy()
    spread = float(((rewards / 0.7).exp() * allowed).std()) / count**0.5
    assert each.mean() == pytest.approx(exact, abs=4 * (each.std() / 250**0.5 + spread))


def test_weights_have_no_variance_where_positions_are_independent() -> None:
    """The guess is then the law: every step weighs the chance before over that after, with it."""
    world, _ = independent_world()
    constraints = compiled("words")
    method = SMC(particles=4, temperature=1.0, threshold=1.0)
    request, flat = Request(4, guard=Guard(constraints)), world.objective(np.zeros(256))
    drawn = method.sample(world.model(), flat, request, noise_for(0, 400))
    chance = float(world.law @ satisfying(constraints))
    np.testing.assert_allclose(drawn.columns["log_normalizer"], np.log(chance), atol=1e-5)


class Watched(SVDD):
    """Checks what children are worth before they are selected."""

    def select(self, children: Children, temperature: float) -> Tensor:
        """None that cannot be completed has a value, whatever its reward; others do."""
        guard = Guard(replace(compiled("words"), shares=(EDGES,)))
        possible = guard.may_hold(children.tokens.flatten(0, 1))
        assert bool(possible.all()) != children.last
        assert torch.equal(children.values.isneginf().flatten(), ~possible)
        return super().select(children, temperature)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_children_that_cannot_be_completed_have_no_value(temperature: float) -> None:
    guard = Guard(replace(compiled("words"), shares=(EDGES,)))
    method = Watched(candidates=8, temperature=temperature, steps=2)
    request, objective = Request(4, guard=guard), WORLD.objective(REWARDS)
    method.sample(WORLD.model(), objective, request, noise_for(6, 60))


def test_ancestral_draws_from_the_proposal() -> None:
    """Near the restricted law, and not it: nothing corrects the factorised guess."""
    constraints = compiled("words")
    request = Request(4, guard=Guard(constraints))
    tokens = Ancestral().sample(WORLD.model(), None, request, noise_for(3, 8000)).tokens
    restricted = WORLD.law * satisfying(constraints)
    restricted = restricted / restricted.sum()
    assert Guard(constraints).holds(tokens).all()
    assert 0.02 < tv_excess(tokens, restricted) < 0.25


def test_greedy_decoding_returns_only_what_satisfies() -> None:
    """Also where the best sequence that was scored on the way is returned."""
    guard = Guard(compiled("words"))
    method = SVDD(candidates=4)
    objective, noise = WORLD.objective(REWARDS), noise_for(4, 200)
    drawn = method.sample(WORLD.model(), objective, Request(4, guard=guard), noise)
    assert guard.holds(drawn.tokens).all()
    # Shares may be out of reach of all candidates; such designs are the exception.
    guard = Guard(replace(compiled("words"), shares=(EDGES,)))
    drawn = method.sample(WORLD.model(), objective, Request(4, guard=guard), noise)
    assert guard.holds(drawn.tokens).double().mean() > 0.8


def test_the_best_of_n_is_one_of_those_that_satisfy() -> None:
    """Shares of letters are not drawn for: of 30 draws some are within them, the best may not."""
    constraints = replace(compiled("words"), shares=(EDGES,))
    guard, method = Guard(constraints), BestOfN(candidates=30)
    rewards = REWARDS - 10 * satisfying(constraints)
    objective, noise = WORLD.objective(rewards), noise_for(5, 100)
    for heat in (0.0, 1.0):
        chosen = method.model_copy(update={"temperature": heat})
        drawn = chosen.sample(WORLD.model(), objective, Request(4, guard=guard), noise)
        assert guard.holds(drawn.tokens).all()


def test_what_a_row_draws_does_not_depend_on_what_others_write() -> None:
    """Rows that write one letter among rows that write two draw as they do alone."""
    constraints = ConstraintSettings(forbid=("AA", "BC", "CB", "DD")).compile(ALPHABET, 4)
    assert constraints is not None
    guard, count = Guard(constraints), 60
    states, law = states_and_law(torch.full((count, 4), WORLD.size), 7)
    rows = torch.arange(count)
    # The second letter, whose draw as part of a sequence depends on the first.
    is_open = law.open & (torch.tensor([False, True]) | (rows % 2 == 1)[:, None])
    drawn = guard.transition(states, replace(law, open=is_open))
    letters = drawn.draw(states.noise, 3)
    chances = drawn.log_prob(letters)
    narrow = Transition(law.positions[:, 1:], law.probs[:, 1:], law.open[:, 1:])
    for each, part in ((narrow, rows[::2]), (law, rows[1::2])):
        own = Transition(each.positions[part], each.probs[part], each.open[part])
        alone = guard.transition(states.select(part), own)
        width = own.positions.shape[1]
        again = alone.draw(states.noise.rows(part), 3)
        assert torch.equal(again, letters[part][..., -width:])
        torch.testing.assert_close(alone.log_prob(again), chances[part])
