"""What the decode loop may be told: letters that are given, orders, temperature and top-p."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling._guided import BestDecoded
from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Request, Sampler
from designkit.algorithms.sampling.best_of_n import BestOfN
from designkit.algorithms.sampling.classifier import Classifier
from designkit.algorithms.sampling.smc import SMC
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.values.base import States, Values
from designkit.algorithms.values.posterior_mean import PosteriorMean
from designkit.diffusion.base import Transition
from designkit.diffusion.masked import Masked
from designkit.diffusion.uniform import Uniform
from designkit.errors import UsageError
from designkit.models.base import DiffusionModel
from designkit.randomness import noise_for
from tests.tabular import Law, make_rewards, make_world, places, tv_excess

WORLD = make_world()
REWARDS = make_rewards(WORLD)
WRONG = WORLD.wrong_conditionals()
K, L = WORLD.size, WORLD.length


def draw(model: DiffusionModel, count: int = 20_000, **settings: object) -> Tensor:
    noise = noise_for(0, count)
    return Ancestral(**settings).sample(model, None, Request(L), noise).tokens


def confidence_law(conditionals: Law, by: str) -> Law:
    """The law of revealing the surest position first, by following every state."""
    noisy = WORLD.noisy.numpy()
    radix = (K + 1) ** np.arange(L - 1, -1, -1)
    mass = np.zeros(len(noisy))
    mass[-1] = 1.0
    ranked = np.sort(conditionals, axis=2)
    sure = ranked[..., -1] - (ranked[..., -2] if by == "margin" else 0)
    for hidden in range(L, 0, -1):
        for place in np.flatnonzero((noisy == K).sum(1) == hidden):
            position = np.where(noisy[place] == K, sure[place], -np.inf).argmax()
            children = place + radix[position] * (np.arange(K) - K)
            mass[children] += mass[place] * conditionals[place, position]
    return np.asarray(mass[(WORLD.clean.numpy() * radix).sum(1)])


@pytest.mark.parametrize("order", ["confidence", "margin"])
def test_the_surest_position_is_revealed_first(order: str) -> None:
    tokens = draw(WORLD.model(WRONG), order=order)
    assert abs(tv_excess(tokens, confidence_law(WRONG, order))) < 0.01
    other = "margin" if order == "confidence" else "confidence"
    assert tv_excess(tokens, confidence_law(WRONG, other)) > 0.02
    assert tv_excess(tokens, WORLD.law) > 0.05
    # Conditionals of one law give that law in any order.
    assert abs(tv_excess(draw(WORLD.model(), order=order), WORLD.law)) < 0.01


@pytest.mark.parametrize(("steps", "decoding"), [(2, "blocks"), (3, "blocks"), (6, "grid")])
def test_orders_keep_the_number_of_positions_of_each_step(steps: int, decoding: str) -> None:
    process, noise = Masked(size=K), noise_for(1, 200)
    plan = process.plan(9, steps, decoding, noise)
    priority = noise.uniform("test", 9)
    ranks = []
    changed = plan
    for step in range(steps):
        changed = changed.reordered(step, priority)
        ranks.append((changed.step_of == step).sum(1))
        mine = priority.where(changed.step_of == step, 2.0).amin(1)
        later = priority.where(changed.step_of > step, -1.0).amax(1)
        assert (mine > later).all()
    counts = torch.stack([(plan.step_of == step).sum(1) for step in range(steps)])
    assert torch.equal(torch.stack(ranks), counts)


def test_temperature_and_top_p_change_the_conditionals_and_nothing_else() -> None:
    sharp = WRONG ** (1 / 0.6)
    sharp /= sharp.sum(-1, keepdims=True)
    assert torch.equal(
        draw(WORLD.model(WRONG), 500, denoiser_temperature=0.6), draw(WORLD.model(sharp), 500)
    )
    order = np.argsort(-WRONG, axis=-1, kind="stable")
    ranked = np.take_along_axis(WRONG, order, -1)
    kept = ranked * (np.cumsum(ranked, -1) - ranked < 0.7)
    nucleus = np.zeros_like(WRONG)
    np.put_along_axis(nucleus, order, kept / kept.sum(-1, keepdims=True), -1)
    assert (nucleus == 0).any()
    assert torch.equal(draw(WORLD.model(WRONG), 500, top_p=0.7), draw(WORLD.model(nucleus), 500))
    assert not torch.equal(draw(WORLD.model(WRONG), 500, top_p=0.7), draw(WORLD.model(WRONG), 500))


@pytest.mark.parametrize(
    "settings",
    [{"top_p": 0.7}, {"denoiser_temperature": 0.6}, {"top_p": 0.5, "denoiser_temperature": 2.0}],
)
def test_shaped_guesses_are_laws(settings: dict[str, float]) -> None:
    """Draws do not tell whether they sum to 1; weights of steps do."""
    times = torch.ones(len(WORLD.noisy))
    with torch.no_grad():
        guess = Ancestral(**settings).predict(WORLD.model(WRONG), WORLD.noisy, times)
    torch.testing.assert_close(guess.sum(-1), torch.ones(guess.shape[:2]))


GIVEN = torch.tensor([-1, 2, -1, 0])


def given_law(law: Law) -> Law:
    clean = WORLD.clean
    fits = ((clean == GIVEN) | (GIVEN < 0)).all(1).numpy()
    return np.asarray(np.where(fits, law, 0) / law[fits].sum())


@pytest.mark.parametrize("decoding", ["blocks", "grid"])
def test_letters_that_are_given_leave_the_conditional_law(decoding: str) -> None:
    method = Ancestral(decoding=decoding, steps=2 if decoding == "blocks" else 200)
    model = WORLD.model()
    tokens = method.sample(model, None, Request(L, given=GIVEN), noise_for(0, 8000)).tokens
    assert (tokens[:, GIVEN >= 0] == GIVEN[GIVEN >= 0]).all()
    assert tv_excess(tokens, given_law(WORLD.law)) < 0.01
    if decoding == "blocks":
        assert model.counter.calls == 2
    with pytest.raises(UsageError, match="steps 3 is more than the 2 letters to be found"):
        Ancestral(steps=3).sample(model, None, Request(L, given=GIVEN), noise_for(0, 2))


@pytest.mark.parametrize(
    "method", [Ancestral(), SVDD(candidates=3, temperature=1e9), BestOfN(candidates=2)]
)
def test_every_design_may_have_letters_of_its_own(method: Sampler) -> None:
    """Each row leaves the law given its own letters, whatever is decoded beside it."""
    if isinstance(method, BestOfN):
        method = method.model_copy(update={"temperature": 1e9})
    given = torch.tensor([[-1, 2, -1, 0], [1, -1, -1, -1], [-1, -1, -1, -1], [3, 1, 2, 0]])
    rows = 4000
    objective = WORLD.objective(REWARDS)
    request = Request(L, given=given.repeat_interleave(rows, 0))
    noise = noise_for(0, 4 * rows)
    tokens = method.sample(WORLD.model(), objective, request, noise).tokens
    for row, own in enumerate(given):
        mine = tokens[row * rows : (row + 1) * rows]
        fits = ((WORLD.clean == own) | (own < 0)).all(1).numpy()
        law = np.where(fits, WORLD.law, 0) / WORLD.law[fits].sum()
        assert tv_excess(mine, law) < 0.02
    # A part of the rows, told how many steps the others take, comes out as before.
    index = torch.arange(rows // 2, rows + 10)
    part = Request(L, given=request.given[index], most_free=request.free)
    again = method.sample(WORLD.model(), objective, part, noise.rows(index)).tokens
    assert torch.equal(again, tokens[index])


def test_guided_methods_keep_letters_that_are_given() -> None:
    target = given_law(WORLD.tilted(REWARDS, 1.0))
    noise = noise_for(0, 8000)
    request, objective = Request(L, given=GIVEN), WORLD.objective(REWARDS)
    tokens = SMC(particles=2000, temperature=1.0).sample(WORLD.model(), objective, request, noise)
    assert tv_excess(tokens.tokens, target) < 0.02
    every = Request(L, given=WORLD.clean[17])
    assert (
        SVDD().sample(WORLD.model(), objective, every, noise_for(0, 3)).tokens == every.given
    ).all()


def test_the_guess_of_the_parent_spares_the_denoiser() -> None:
    """Half-decoded children are completed by what was known before they were drawn."""
    parent = {"name": "posterior_mean", "guess": "parent"}
    method = SVDD(candidates=6, value=parent)
    model, objective = WORLD.model(), WORLD.objective(REWARDS)
    noise = noise_for(2, 40)
    tokens = method.sample(model, objective, Request(L), noise).tokens
    assert model.counter.rows <= 40 * method.calls_per_design(L)[0] == 40 * L
    plan = model.process.plan(L, L, "blocks", noise)
    x_t, best = plan.start, torch.full((40,), -torch.inf, dtype=torch.float64)
    found = torch.zeros_like(tokens)
    for step in range(L):
        guess = WORLD.model().predict_x_0(x_t, torch.ones(40)).detach()
        law = model.process.transition(x_t, guess, plan, step)
        children = law.write(x_t, law.draw(noise.at(step), 6))
        completed = torch.where(children == K, guess.argmax(-1)[:, None], children)
        values = torch.from_numpy(REWARDS)[places(completed.flatten(0, 1), K)].view(40, 6)
        top, kept = values.max(1)
        rows = torch.arange(40)
        found = torch.where((top > best)[:, None], completed[rows, kept], found)
        best = best.maximum(top)
        x_t = children[rows, kept]
    assert torch.equal(tokens, found)


def test_the_best_decoded_sequence_is_remembered() -> None:
    best = BestDecoded(torch.arange(3), Request(2))
    finished = torch.tensor([[9, 9], [8, 8], [7, 7]])
    assert torch.equal(best.instead_of(finished), finished)
    nan, low = float("nan"), -float("inf")
    rows = torch.tensor([0, 0, 0, 2, 2])
    tokens = torch.arange(10).view(5, 2)
    best.add(rows, tokens, torch.tensor([nan, 1.0, 1.0, low, nan], dtype=torch.float64))
    assert best.instead_of(finished).tolist() == [[2, 3], [8, 8], [7, 7]]
    best.add(rows, tokens + 20, torch.tensor([1.0, 0.0, nan, -5.0, -4.0], dtype=torch.float64))
    assert best.instead_of(finished).tolist() == [[2, 3], [8, 8], [28, 29]]


def test_greedy_designs_are_as_good_as_anything_that_was_scored() -> None:
    for settings in ({}, {"value": "monte_carlo"}, {"decoding": "grid", "steps": 9}):
        objective = WORLD.objective(REWARDS)
        method = SVDD(candidates=3, **settings)
        tokens = method.sample(WORLD.model(), objective, Request(L), noise_for(3, 1)).tokens
        assert float(objective.values(tokens)) == max(REWARDS[list(objective.seen)])


def test_a_tilted_law_is_normalised_and_its_letters_are_weighed() -> None:
    probs = torch.softmax(torch.arange(24.0).view(2, 3, 4).sin(), -1)
    law = Transition(
        torch.tensor([[0, 2, 3], [1, 0, 0]]),
        probs,
        torch.tensor([[True] * 3, [True, False, False]]),
    )
    factors = torch.arange(24.0).view(2, 3, 4).cos().double() * 900
    tilted = law.tilted(factors)
    expected = (probs.double().log() + factors).softmax(-1)
    torch.testing.assert_close(tilted.probs, expected)
    letters = torch.tensor([[[0, 1, 2], [3, 3, 3]], [[2, 0, 1], [2, 3, 3]]])
    logs = law.log_prob(letters)
    first = probs[0].double().log()
    assert logs[0, 0] == pytest.approx(float(first[0, 0] + first[1, 1] + first[2, 2]))
    assert logs[1, 0] == logs[1, 1] == probs[1, 0, 2].double().log()
    impossible = torch.full((2, 3, 4), -torch.inf, dtype=torch.float64)
    impossible[..., 0] = 0
    only = Transition(
        law.positions, probs.where(probs < 2, 0) * torch.tensor([0.0, 1, 1, 1]), law.open
    )
    assert not only.tilted(impossible).probs.isnan().any()


@pytest.mark.parametrize(
    ("method", "process", "guess"),
    [
        (SVDD(candidates=6), Masked(size=K), "parent"),
        (SVDD(candidates=6), Uniform(size=K), "own"),
        (SVDD(candidates=1), Masked(size=K), "own"),
        (SVDD(candidates=6, temperature=0.3), Masked(size=K), "own"),
        (SVDD(candidates=6, value={"guess": "own"}), Masked(size=K), "own"),
        (SMC(), Masked(size=K), "own"),
    ],
)
def test_whose_guess_completes_children(method: Any, process: Any, guess: str) -> None:
    """The parent's where it saves rows and the best child is wanted, not a draw."""
    suited = method.suited(process)
    assert suited.value == {"name": "posterior_mean", "guess": guess}
    assert suited.suited(process) == suited


def test_values_of_the_default_take_a_row_a_step() -> None:
    model, method = WORLD.model(), SVDD(candidates=6)
    method.sample(model, WORLD.objective(REWARDS), Request(L), noise_for(0, 40))
    assert model.counter.rows <= 40 * L
    suited = method.suited(model.process)
    assert suited.calls_per_design(L, K) == (L, min(6, K) * L)


@pytest.mark.parametrize(
    "method", [SVDD(candidates=5, temperature=0.5), Classifier(), SMC(particles=2, temperature=1.0)]
)
def test_every_state_that_is_valued_has_noise_of_its_own(
    method: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children, letters that are only tried, in this step or another: none shares completions."""
    seen: list[Tensor] = []
    values = PosteriorMean.values

    def watched(self: PosteriorMean, reward: Any, states: States, temperature: float) -> Values:
        seen.append(states.noise.uniform("completion"))
        return values(self, reward, states, temperature)

    monkeypatch.setattr(PosteriorMean, "values", watched)
    method.sample(WORLD.model(), WORLD.objective(REWARDS), Request(L), noise_for(0, 8))
    numbers = torch.cat(seen)
    assert len(numbers) >= 8 * L
    assert len(numbers.unique()) == len(numbers)
