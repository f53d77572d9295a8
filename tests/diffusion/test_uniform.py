"""Uniform diffusion against enumerated truths: corruption, Bayes, the reverse law, the NELBO."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.diffusion.uniform import Uniform
from designkit.randomness import noise_for
from tests.tabular import make_world, places, tv
from tests.tabular_uniform import UniformWorld

WORLD = make_world(3, 4)
K, L = WORLD.size, WORLD.length
STATES = len(WORLD.clean)
SCHEDULES = ["quadratic", "linear", "cosine"]


def uniform_world(schedule: str = "quadratic", kind: type[Uniform] = Uniform) -> UniformWorld:
    return UniformWorld(WORLD, kind(size=K, schedule=schedule))


class PluggedIn(Uniform):
    """The published reverse law with the guess p(x_0 | x_t) itself in the place of x_0."""

    def posterior(self, x_t: Tensor, x_0_probs: Tensor, s: Tensor, t: Tensor) -> Tensor:
        alpha_s, within = self.alpha(s)[:, None, None], self.alpha(t) / self.alpha(s)
        weights = (alpha_s * x_0_probs + (1 - alpha_s) / K) * self._law(x_t, within)
        return weights / weights.sum(-1, keepdim=True)


def exact_step(world: UniformWorld, s: float, t: float) -> Tensor:
    """p(x_s^l = j | x_t), (K^L, L, K), by enumeration of all x_0 and x_s."""
    process, states = world.process, WORLD.clean
    at = torch.tensor([s, t], dtype=torch.float64)
    alpha_s, alpha_t = process.alpha(at).tolist()
    law_s = torch.from_numpy(WORLD.law) @ world.given(s)
    within = alpha_t / alpha_s
    same = (states[:, None] == states[None]).double()
    step = (within * same + (1 - within) / K).prod(2)  # p(x_t | x_s), symmetric
    joint = step * law_s
    joint = joint / joint.sum(1, keepdim=True)
    one_hot = torch.nn.functional.one_hot(states, K).double()
    return torch.einsum("zs,slj->zlj", joint, one_hot)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_alpha_falls_from_one_to_zero(schedule: str) -> None:
    process = Uniform(size=K, schedule=schedule)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    alpha = process.alpha(t)
    assert alpha[0] == pytest.approx(1)
    assert alpha[-1] == pytest.approx(0)
    assert (alpha.diff() < 0).all()
    torch.testing.assert_close(process._schedule.time_of(alpha), t)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_corrupt_draws_each_position_anew_by_itself(schedule: str) -> None:
    rows, length = 20_000, 5
    x_0 = torch.arange(length).expand(rows, -1) % K
    process = Uniform(size=K, schedule=schedule)
    for number, time in enumerate((0.2, 0.5, 0.9)):
        t = torch.full((rows,), time, dtype=torch.float64)
        x_t = process.corrupt(x_0, t, noise_for(4, rows).at(number))
        alpha = float(process.alpha(t[:1]))
        for letter in range(K):
            law = alpha * (x_0[0] == letter) + (1 - alpha) / K
            error = (law * (1 - law) / rows).sqrt()
            assert (((x_t == letter).double().mean(0) - law).abs() < 4.5 * error).all()
        pairs = torch.corrcoef((x_t != x_0).double().T).fill_diagonal_(0)
        assert pairs.abs().max() < 4.5 / rows**0.5
    clean = process.corrupt(x_0[:50], torch.zeros(50), noise_for(5, 50))
    assert torch.equal(clean, x_0[:50])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("time", [0.02, 0.4, 1.0])
def test_guess_is_the_posterior_of_the_clean_letter(schedule: str, time: float) -> None:
    """The logits leave a position's own letter out; the process puts it in, as Bayes says."""
    world = uniform_world(schedule)
    with torch.no_grad():
        guess = world.model().predict_x_0(WORLD.clean, torch.full((STATES,), time))
    torch.testing.assert_close(guess.double(), world.posteriors(time), atol=1e-5, rtol=1e-4)


def test_guess_of_relaxed_tokens() -> None:
    """One-hots give what their tokens give, and the guess has derivatives by them."""
    process, t = Uniform(size=K), torch.full((STATES,), 0.6)
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(STATES, L, K, generator=draw, dtype=torch.float64)
    one_hot = torch.nn.functional.one_hot(WORLD.clean, K).double()
    guess = process.x_0_probs(logits, WORLD.clean, t)
    torch.testing.assert_close(process.x_0_probs(logits, one_hot, t), guess)
    relaxed = torch.rand(2, L, K, generator=draw, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: process.x_0_probs(logits[:2], x, t[:2]), relaxed)


def test_a_finished_state_stays_as_it_is() -> None:
    process, now = Uniform(size=K), torch.zeros(STATES, dtype=torch.float64)
    certain = process.certain(WORLD.clean)
    still = process.posterior(WORLD.clean, certain, now, now)
    torch.testing.assert_close(still, certain.double())


def test_clean_letters_are_certain() -> None:
    process = Uniform(size=K)
    logits = torch.randn(STATES, L, K, generator=torch.Generator().manual_seed(0))
    certain = process.certain(WORLD.clean)
    assert torch.equal(process.x_0_probs(logits, WORLD.clean, torch.zeros(STATES)), certain)
    assert torch.equal(certain.argmax(-1), WORLD.clean)
    guess = logits.softmax(-1)
    assert process.known(guess, WORLD.clean, WORLD.clean) is guess


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("s", "t"), [(0.3, 0.8), (0.0, 0.1), (0.9, 1.0), (0.5, 0.500001)])
def test_posterior_is_bayes(schedule: str, s: float, t: float) -> None:
    world = uniform_world(schedule)
    at = [torch.full((STATES,), time, dtype=torch.float64) for time in (s, t)]
    guess = world.posteriors(t)
    reverse = world.process.posterior(WORLD.clean, guess, *at)
    torch.testing.assert_close(reverse, exact_step(world, s, t), atol=1e-9, rtol=1e-7)
    if s == 0:
        torch.testing.assert_close(reverse, guess)
    if t - s < 1e-5:
        still = torch.nn.functional.one_hot(WORLD.clean, K).double()
        torch.testing.assert_close(reverse, still, atol=1e-4, rtol=0)
    wrong = PluggedIn(size=K, schedule=schedule).posterior(WORLD.clean, guess, *at)
    if s > 0 and t < 1:
        assert (wrong - reverse).abs().max() > 1e-7 if t - s < 1e-5 else 0.05


def test_posterior_of_a_known_letter_is_the_published_one() -> None:
    process = Uniform(size=K)
    s, t = (torch.full((STATES,), time, dtype=torch.float64) for time in (0.4, 0.7))
    x_0 = WORLD.clean.flip(0)
    one_hot = torch.nn.functional.one_hot(x_0, K).double()
    shown = torch.nn.functional.one_hot(WORLD.clean, K)
    alpha_s, alpha_t = 1 - 0.4**2, 1 - 0.7**2
    within = alpha_t / alpha_s
    published = (within * shown + (1 - within) / K) * (alpha_s * one_hot + (1 - alpha_s) / K)
    published = published / published.sum(-1, keepdim=True)
    torch.testing.assert_close(process.posterior(WORLD.clean, one_hot, s, t), published)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_many_small_steps_give_the_law(schedule: str) -> None:
    """The whole chain by matrix products; its error falls like 1 / steps."""
    world = uniform_world(schedule)
    distances = [tv(world.chain_law(world.model(), steps), WORLD.law) for steps in (8, 32, 128)]
    assert distances[1] < 0.6 * distances[0]
    assert distances[2] < 0.3 * distances[1]
    assert distances[2] < 0.025
    wrong = uniform_world(schedule, PluggedIn)
    assert tv(wrong.chain_law(wrong.model(), 128), WORLD.law) > 0.3


def test_the_default_schedule_takes_the_fewest_steps() -> None:
    distances = [
        tv(uniform_world(name).chain_law(uniform_world(name).model(), 32), WORLD.law)
        for name in SCHEDULES
    ]
    assert distances[0] < 0.5 * min(distances[1:])


def test_what_the_start_shows_is_forgotten_after_one_step() -> None:
    """So guided methods need not weigh the start."""
    world = uniform_world()
    reverse = exact_step(world, 0.9, 1.0)
    torch.testing.assert_close(reverse, reverse[:1].expand_as(reverse))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_nelbo_of_the_exact_denoiser_is_the_log_law(schedule: str) -> None:
    world = uniform_world(schedule)
    exact = -np.log(WORLD.law)
    np.testing.assert_allclose(world.nelbo(world.model()), exact, atol=2e-5)
    above = world.nelbo(world.model(strength=0.5)) @ WORLD.law - exact @ WORLD.law
    assert above > 0.05


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_loss_is_an_unbiased_nelbo(schedule: str, strength: float) -> None:
    world = uniform_world(schedule)
    model = world.model(strength)
    exact = world.nelbo(model)
    for place in (3, 70):
        x_0 = WORLD.clean[place].expand(1024, -1)
        with torch.no_grad():
            means = torch.stack(
                [
                    model.process.loss(model.denoiser, x_0, noise_for(8, 1024).at(step)).mean()
                    for step in range(16)
                ]
            ).double()
        error = float(means.std()) / len(means) ** 0.5
        assert abs(float(means.mean()) - exact[place]) < 4 * error
        assert error < 0.03 * exact[place]


def test_the_exact_denoiser_has_the_lowest_loss() -> None:
    """The gradient of the mean loss at the leave-one-out logits is 0, and there only."""
    rows = 2048
    law = torch.from_numpy(WORLD.law)
    drawn = torch.searchsorted(law.cumsum(0), noise_for(3, rows).uniform("x_0"))
    x_0 = WORLD.clean[drawn.clamp(max=STATES - 1)]
    slopes = {}
    for strength in (-0.5, 0.0, 0.5):
        model = uniform_world().model(strength)
        parameter = model.denoiser.strength
        steps = []
        for step in range(6):
            loss = model.process.loss(model.denoiser, x_0, noise_for(9, rows).at(step)).mean()
            steps.append(float(torch.autograd.grad(loss, parameter)[0]))
        slopes[strength] = (np.mean(steps), np.std(steps) / len(steps) ** 0.5)
    assert abs(slopes[0.0][0]) < 4 * slopes[0.0][1] + 0.01
    assert slopes[0.5][0] > 0.2
    assert slopes[-0.5][0] < -0.2


def test_gradient_of_the_loss() -> None:
    model = uniform_world().model(0.4)
    x_0 = WORLD.clean[5:69]

    def loss() -> Tensor:
        return model.process.loss(model.denoiser, x_0, noise_for(2, 64)).double().mean()

    slope = float(torch.autograd.grad(loss(), model.denoiser.strength)[0])
    ends = []
    with torch.no_grad():
        for sign in (1, -1):
            model.denoiser.strength += sign * 1e-3
            ends.append(float(loss()))
            model.denoiser.strength -= sign * 1e-3
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-3)


def test_log_likelihood_converges_to_the_log_law() -> None:
    some = torch.tensor([0, 17, 55, 80])
    with torch.no_grad():
        mean, error = uniform_world().model().log_likelihood(WORLD.clean[some], draws=4000)
    exact = torch.from_numpy(np.log(WORLD.law))[some]
    assert ((mean - exact).abs() < 4 * error).all()
    assert (error < 0.15).all()
    with torch.no_grad():
        wrong = uniform_world().model(0.7)
        mean, error = wrong.log_likelihood(WORLD.clean[some], draws=4000)
    bound = torch.from_numpy(uniform_world().nelbo(wrong))[some]
    assert ((mean + bound).abs() < 4 * error).all()


def test_standard_error_of_the_log_likelihood_is_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    model = uniform_world().model()
    exact = torch.from_numpy(np.log(WORLD.law))[::5]
    deviations, errors = [], []
    with torch.no_grad():
        for seed in range(40):
            monkeypatch.setattr("designkit.diffusion.uniform._LIKELIHOOD_SEED", seed)
            mean, error = model.log_likelihood(WORLD.clean[::5], draws=64)
            deviations.append(mean - exact)
            errors.append(error)
    actual = float((torch.stack(deviations) ** 2).mean() ** 0.5)
    claimed = float((torch.stack(errors) ** 2).mean() ** 0.5)
    assert 0.8 * actual < claimed < 2 * actual


def test_times_of_a_batch_are_spread() -> None:
    seen: list[Tensor] = []

    def record(
        x_t: Tensor, t: Tensor, condition: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        seen.append(t)
        return torch.zeros(*x_t.shape[:2], K)

    x_0 = WORLD.clean[7].expand(64, -1)
    loss = Uniform(size=K).loss(record, x_0, noise_for(9, 64))
    assert ((seen[0] * 64).long().sort().values - torch.arange(64)).abs().max() <= 1
    # Letters that are as likely whatever the others say: every draw has the same NELBO.
    torch.testing.assert_close(loss, torch.full((64,), L * math.log(K)), rtol=1e-5, atol=0)


def test_loss_ignores_padding() -> None:
    from designkit.models.cnn import CNNDenoiser
    from designkit.models.transformer import TransformerDenoiser

    process = Uniform(size=K)
    x_0 = torch.randint(K, (8, 6), generator=torch.Generator().manual_seed(0))
    padded = torch.cat([x_0, torch.full((8, 5), 2)], dim=1)
    valid = (torch.arange(11) < 6).expand(8, -1)
    for settings in (
        CNNDenoiser(channels=16, dilations=(1, 4), repeats=1, time_conditioned=True),
        TransformerDenoiser(channels=16, layers=2, heads=2, time_conditioned=True),
    ):
        net = settings.build(K, K).eval()
        with torch.no_grad():
            alone = process.loss(net, x_0, noise_for(10, 8))
            together = process.loss(net, padded, noise_for(10, 8), valid)
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)


def test_plan_opens_every_free_position_in_every_step() -> None:
    process = Uniform(size=K)
    plan = process.plan(6, 4, "grid", noise_for(1, 3000))
    counts = plan.start.flatten().bincount(minlength=K).double()
    assert ((counts - 6000) ** 2 / 6000).sum() < 20
    torch.testing.assert_close(plan.times, torch.linspace(1, 0, 5, dtype=torch.float64))
    assert plan.steps == 4
    given = torch.tensor([[-1, 2, -1, -1, 0, -1]]).expand(3000, -1)
    fixed = process.plan(6, 4, "grid", noise_for(1, 3000), given)
    assert (fixed.start[:, 1] == 2).all()
    assert torch.equal(fixed.start[:, 0], plan.start[:, 0])
    guess = torch.full((3000, 6, K), 1 / K)
    for step in range(4):
        assert fixed.changing(step).all()
        move = process.transition(fixed.start, guess, fixed, step)
        assert torch.equal(move.open, fixed.free)
        torch.testing.assert_close(move.probs.sum(-1), torch.ones(3000, 6, dtype=torch.float64))
    everything = process.plan(1, 4, "grid", noise_for(1, 2), torch.zeros(2, 1, dtype=torch.int64))
    assert not everything.changing(0).any()
    with pytest.raises(ValueError, match="blocks"):
        process.plan(6, 4, "blocks", noise_for(1, 2))


def test_times_at_the_ends_are_finite() -> None:
    process = Uniform(size=K)
    t, weight = process._time(torch.tensor([0.0, 1.0], dtype=torch.float64)), torch.ones(2)
    guess = torch.full((2, L, K), 1 / K, dtype=torch.float64)
    terms = process._terms(WORLD.clean[[1, 2]], WORLD.clean[[2, 2]], guess, t, weight)
    assert terms.isfinite().all()


def test_states_have_no_mask() -> None:
    assert Uniform(size=K).states == K
    assert places(WORLD.clean, K).tolist() == list(range(STATES))


def test_tilts_of_a_step_stay_whatever_the_guess() -> None:
    """One after another: each multiplies the letters of the step, not those of the guess."""
    process, noise = Uniform(size=K), noise_for(0, 5)
    plan = process.plan(L, 4, "grid", noise)
    guess, other, first, second = torch.from_numpy(
        np.random.default_rng(0).normal(size=(4, 5, L, K))
    )
    guess, other = guess.softmax(-1), other.softmax(-1)
    law = process.transition(plan.start, guess, plan, 1)
    found = law.tilted(first).tilted(second).of_guess(other).probs
    t, s = (plan.times[step].expand(5) for step in (1, 2))
    expected = process.posterior(plan.start, other, s, t) * (first + second).exp()
    torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True))
