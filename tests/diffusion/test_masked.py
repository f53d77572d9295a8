"""Masked diffusion against enumerated truths: unmasking law, NELBO, step KL, corruption, loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.diffusion.base import categorical, predict_distinct
from designkit.diffusion.masked import Masked
from designkit.randomness import noise_for
from tests.tabular import World, make_world, places, propose

WORLD = make_world()
K, L = WORLD.size, WORLD.length
SCHEDULES = ["linear", "cosine"]

# Probability of being masked at time t, as published; the code has its complement.
MASKED_AT: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda t: t,
    "cosine": lambda t: (math.pi / 2 * (1 - t)).cos(),
}


def chi_square(counts: Tensor, expected: Tensor) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_alpha_is_the_share_of_signal_left(schedule: str) -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    alpha = Masked(size=K, schedule=schedule).alpha(t)
    torch.testing.assert_close(alpha, 1 - MASKED_AT[schedule](t))
    assert alpha[0] == pytest.approx(1)
    assert alpha[-1] == pytest.approx(0)
    assert (alpha.diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_number_unmasked_in_a_grid_step_is_binomial(schedule: str) -> None:
    rows, length, steps = 20_000, 6, 5
    plan = Masked(size=K, schedule=schedule).plan(length, steps, "grid", noise_for(0, rows))
    t = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    masked_at = MASKED_AT[schedule](t)
    for step in range(steps):
        still = (plan.step_of >= step).sum(1)
        now = (plan.step_of == step).sum(1)
        rate = float((masked_at[step] - masked_at[step + 1]) / masked_at[step])
        for masked in range(1, length + 1):
            counts = torch.bincount(now[still == masked], minlength=masked + 1).double()
            if counts.sum() < 500:
                continue
            law = torch.tensor(
                [
                    math.comb(masked, n) * rate**n * (1 - rate) ** (masked - n)
                    for n in range(masked + 1)
                ]
            )
            expected = counts.sum() * law.double()
            kept = expected > 5
            assert chi_square(counts[kept], expected[kept]) < masked + 5 * (2 * masked) ** 0.5
    # All masked at the start, all decided at the end.
    assert plan.step_of.min() == 0
    assert plan.step_of.max() == steps - 1


@pytest.mark.parametrize("decoding", ["grid", "blocks"])
def test_what_is_unmasked_does_not_depend_on_the_denoiser(decoding: str) -> None:
    process = WORLD.model().process
    noise = noise_for(1, 200)
    histories = []
    for model in (WORLD.model(), WORLD.model(WORLD.wrong_conditionals(3.0))):
        plan = process.plan(L, 3, decoding, noise)
        x_t, history = plan.start, []
        for step in range(3):
            probs = model.predict_x_0(x_t, torch.ones(200))
            x_t = propose(process, x_t, probs, plan, step, noise)[:, 0]
            history.append(x_t == K)
        assert not history[-1].any()
        histories.append(torch.stack(history))
    assert torch.equal(*histories)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("decoding", ["grid", "blocks"])
def test_the_denoiser_is_told_a_time_that_fits_what_is_masked(schedule: str, decoding: str) -> None:
    process = Masked(size=K, schedule=schedule)
    plan = process.plan(40, 8, decoding, noise_for(14, 2000))
    assert (plan.times.diff() < 0).all()
    assert plan.times[0] == pytest.approx(1)
    assert plan.times[-1] == pytest.approx(0)
    for step in range(8):
        masked = float((plan.step_of >= step).double().mean())
        assert float(MASKED_AT[schedule](plan.times[step])) == pytest.approx(masked, abs=0.01)


@pytest.mark.parametrize(("length", "steps"), [(4, 4), (7, 3), (8, 4), (5, 1)])
def test_blocks_are_nearly_equal_and_their_order_is_random(length: int, steps: int) -> None:
    rows = 6000
    plan = Masked(size=K).plan(length, steps, "blocks", noise_for(2, rows))
    sizes = torch.stack([(plan.step_of == step).sum(1) for step in range(steps)], 1)
    assert (sizes.sum(1) == length).all()
    assert sizes.max() - sizes.min() <= 1
    first = (plan.step_of == 0).double()
    share = float(first.mean())
    expected = torch.full((length,), share * rows)
    assert ((first.sum(0) - expected).abs() < 4.5 * (rows * share) ** 0.5).all()
    if steps == length == 4:
        orders = places(plan.step_of, 4)
        assert len(orders.unique()) == math.factorial(4)
        counts = orders.bincount()[orders.unique()].double()
        assert chi_square(counts, torch.full_like(counts, rows / 24)) < 23 + 5 * 46**0.5


def test_candidates_of_a_row_unmask_the_same_positions_with_tokens_of_their_own() -> None:
    process = Masked(size=K)
    noise = noise_for(3, 50)
    plan = process.plan(9, 3, "blocks", noise)
    probs = torch.full((50, 9, K), 1 / K)
    children = propose(process, plan.start, probs, plan, 0, noise, 20)
    revealed = plan.step_of == 0
    assert torch.equal(children != K, revealed[:, None].expand(-1, 20, -1))
    tokens = children.transpose(1, 2)[revealed].flatten()
    counts = tokens.bincount(minlength=K).double()
    assert chi_square(counts, torch.full_like(counts, len(tokens) / K)) < 25
    assert len(children[0].unique(dim=0)) > 10


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_corrupt_masks_each_position_by_itself(schedule: str) -> None:
    rows, length = 20_000, 5
    x_0 = torch.arange(length).expand(rows, -1) % K
    times = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    for number, time in enumerate(times):
        noise = noise_for(4, rows).at(number)
        x_t = Masked(size=K, schedule=schedule).corrupt(x_0, time.expand(rows), noise)
        hidden = x_t == K
        assert torch.equal(x_t[~hidden], x_0[~hidden])
        rate = float(MASKED_AT[schedule](time))
        error = (rate * (1 - rate) / rows) ** 0.5
        assert (hidden.double().mean(0) - rate).abs().max() < 4.5 * error
        pairs = torch.corrcoef(hidden.double().T).fill_diagonal_(0)
        assert pairs.abs().max() < 4.5 / rows**0.5
    clean = Masked(size=K, schedule=schedule).corrupt(x_0[:50], torch.zeros(50), noise_for(5, 50))
    noise_only = Masked(size=K, schedule=schedule).corrupt(
        x_0[:50], torch.ones(50), noise_for(5, 50)
    )
    assert torch.equal(clean, x_0[:50])
    assert (noise_only == K).all()


def test_guess_keeps_what_is_unmasked_and_sums_to_one() -> None:
    probs = (
        WORLD.model(WORLD.wrong_conditionals()).predict_x_0(WORLD.noisy, torch.ones(625)).detach()
    )
    torch.testing.assert_close(probs.sum(-1), torch.ones(625, L))
    known = WORLD.noisy != K
    one_hot = torch.nn.functional.one_hot(WORLD.noisy.clamp(max=K - 1), K).float()
    assert torch.equal(probs[known], one_hot[known])
    hidden = WORLD.wrong_conditionals()[~known.numpy()]
    np.testing.assert_allclose(probs[~known].numpy(), hidden, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_posterior_is_the_law_of_one_grid_step(schedule: str) -> None:
    process = Masked(size=K, schedule=schedule)
    guess = torch.from_numpy(WORLD.conditionals)
    count = len(WORLD.noisy)
    s, t = (torch.full((count,), time, dtype=torch.float64) for time in (0.3, 0.8))
    posterior = process.posterior(WORLD.noisy, guess, s, t)
    torch.testing.assert_close(posterior.sum(-1), torch.ones(count, L, dtype=torch.float64))
    known = WORLD.noisy != K
    one_hot = torch.nn.functional.one_hot(WORLD.noisy, K + 1).double()
    assert torch.equal(posterior[known], one_hot[known])
    stay = float(MASKED_AT[schedule](s[0]) / MASKED_AT[schedule](t[0]))
    np.testing.assert_allclose(posterior[~known][:, K].numpy(), stay, rtol=1e-12)
    torch.testing.assert_close(posterior[~known][:, :K], guess[~known] * (1 - stay))
    # Limits: nothing happens in no time; at s = 0 nothing stays masked.
    still = process.posterior(WORLD.noisy, guess, t, t)
    torch.testing.assert_close(still, one_hot)
    final = process.posterior(WORLD.noisy, guess, torch.zeros_like(t), t)
    assert final[..., K].abs().max() < 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_step_kl_is_the_mean_path_ratio(schedule: str) -> None:
    """KL of paths by formula, and by Monte Carlo over newly unmasked tokens of the same paths."""
    rows, steps = 10_000, 4
    process = Masked(size=K, schedule=schedule)
    policy, pretrained = WORLD.wrong_conditionals(0.7), WORLD.conditionals
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    masked_at = MASKED_AT[schedule](times)
    noise = noise_for(6, rows)
    plan = process.plan(L, steps, "grid", noise)
    x_t = plan.start
    formula, from_posteriors, ratio = (torch.zeros(rows, dtype=torch.float64) for _ in range(3))
    for step in range(steps):
        at = places(x_t, K + 1).numpy()
        pi, pi_0 = torch.from_numpy(policy[at]), torch.from_numpy(pretrained[at])
        hidden = x_t == K
        per_position = (pi * (pi / pi_0).log()).sum(-1).where(hidden, 0)
        rate = (masked_at[step] - masked_at[step + 1]) / masked_at[step]
        formula += rate * per_position.sum(1)
        s, t = times[step + 1].expand(rows), times[step].expand(rows)
        q, q_0 = process.posterior(x_t, pi, s, t), process.posterior(x_t, pi_0, s, t)
        from_posteriors += torch.where(q > 0, q * (q / q_0.clamp(min=1e-300)).log(), 0).sum((1, 2))
        x_s = propose(process, x_t, pi, plan, step, noise)[:, 0]
        new = hidden & (x_s != K)
        token = x_s.clamp(max=K - 1)[..., None]
        logs = (pi.gather(2, token) / pi_0.gather(2, token)).log().squeeze(2)
        ratio += logs.where(new, 0).sum(1)
        x_t = x_s
    torch.testing.assert_close(formula, from_posteriors)
    difference = ratio - formula
    error = float(difference.std()) / rows**0.5
    assert abs(float(difference.mean())) < 4 * error
    # The test has power: a rate off by a fifth would be seen.
    assert 0.2 * float(formula.mean()) > 10 * error


def test_nelbo_of_the_exact_denoiser_is_the_log_law() -> None:
    probs = WORLD.model().predict_x_0(WORLD.noisy, torch.ones(625)).detach().double().numpy()
    np.testing.assert_allclose(WORLD.nelbo(probs), -np.log(WORLD.law), rtol=1e-5)
    assert (WORLD.nelbo(WORLD.wrong_conditionals()) @ WORLD.law) > -(
        np.log(WORLD.law) @ WORLD.law
    ) + 0.1


def test_log_likelihood_converges_to_the_log_law() -> None:
    some = torch.tensor([0, 17, 101, 255])
    mean, error = WORLD.model().log_likelihood(WORLD.clean[some], draws=4000)
    exact = torch.from_numpy(np.log(WORLD.law))[some]
    assert ((mean - exact).abs() < 4 * error).all()
    assert (error < 0.1).all()
    # For a denoiser that is not consistent it is the NELBO.
    wrong = WORLD.wrong_conditionals()
    mean, error = WORLD.model(wrong).log_likelihood(WORLD.clean[some], draws=4000)
    assert ((mean + torch.from_numpy(WORLD.nelbo(wrong))[some]).abs() < 4 * error).all()


@pytest.mark.parametrize("draws", [16, 32])
def test_standard_error_of_the_log_likelihood_is_honest(
    monkeypatch: pytest.MonkeyPatch, draws: int
) -> None:
    """Over repetitions with other mask sets the error has the size that is claimed."""
    world = make_world(3, 5)
    some = torch.arange(0, len(world.clean), 5)
    exact = torch.from_numpy(np.log(world.law))[some]
    model, deviations, errors = world.model(), [], []
    for seed in range(40):
        monkeypatch.setattr("designkit.diffusion.masked._LIKELIHOOD_SEED", seed)
        mean, error = model.log_likelihood(world.clean[some], draws=draws)
        deviations.append(mean - exact)
        errors.append(error)
    actual = float((torch.stack(deviations) ** 2).mean() ** 0.5)
    claimed = float((torch.stack(errors) ** 2).mean() ** 0.5)
    # Sizes are stratified: one draw a stratum cannot tell the strata's own differences from error.
    assert 0.9 * actual < claimed < 3 * actual


def test_log_likelihood_of_an_impossible_sequence_is_minus_infinity() -> None:
    law = np.where(np.arange(27) == 13, 0, 1 / 26)
    world = World(law, 3, 3)
    mean, _ = world.model().log_likelihood(world.clean[12:14], draws=64)
    assert mean[1] == -torch.inf
    assert mean[0] == pytest.approx(-math.log(26), abs=0.15)


def test_one_position() -> None:
    world = World(np.array([0.2, 0.5, 0.3]), 3, 1)
    mean, error = world.model().log_likelihood(world.clean, draws=2)
    np.testing.assert_allclose(mean.exp().numpy(), world.law, rtol=1e-6)
    assert (error < 1e-6).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_loss_is_an_unbiased_nelbo(schedule: str) -> None:
    wrong = WORLD.wrong_conditionals()
    model = WORLD.model(wrong, schedule)
    exact = WORLD.nelbo(wrong)
    for place in (3, 200):
        x_0 = WORLD.clean[place].expand(512, -1)
        with torch.no_grad():
            means = torch.stack(
                [
                    model.process.loss(model.denoiser, x_0, noise_for(8, 512).at(step)).mean()
                    for step in range(120)
                ]
            )
        error = float(means.std()) / len(means) ** 0.5
        # Times below 1e-3 are left out: less than 2e-3 of the whole.
        assert abs(float(means.mean()) - exact[place]) < 4 * error + 2e-3 * exact[place]
        assert error < 0.02 * exact[place]


def test_times_of_a_batch_are_spread() -> None:
    """Low-discrepancy times: the mean loss of a batch varies less than that of single rows."""
    model = WORLD.model()
    x_0 = WORLD.clean[7].expand(64, -1)
    with torch.no_grad():
        losses = torch.stack(
            [
                model.process.loss(model.denoiser, x_0, noise_for(9, 64).at(step))
                for step in range(100)
            ]
        )
    seen: list[Tensor] = []

    def record(x_t: Tensor, t: Tensor, valid: Tensor | None = None) -> Tensor:
        seen.append(t)
        return torch.zeros(*x_t.shape[:2], K)

    model.process.loss(record, x_0, noise_for(9, 64))
    assert ((seen[0] * 64).long().sort().values - torch.arange(64)).abs().max() <= 1
    assert losses.mean(1).std() < losses.flatten().std() / 8


def test_loss_ignores_padding() -> None:
    from designkit.models.cnn import CNNDenoiser
    from designkit.models.transformer import TransformerDenoiser

    process = Masked(size=K)
    x_0 = torch.randint(K, (8, 6), generator=torch.Generator().manual_seed(0))
    padded = torch.cat([x_0, torch.full((8, 5), 2)], dim=1)
    valid = (torch.arange(11) < 6).expand(8, -1)
    for settings in (
        CNNDenoiser(channels=16, dilations=(1, 4), repeats=1, composition=True, positions=11),
        TransformerDenoiser(channels=16, layers=2, heads=2),
    ):
        net = settings.build(K + 1, K).eval()
        with torch.no_grad():
            alone = process.loss(net, x_0, noise_for(10, 8))
            together = process.loss(net, padded, noise_for(10, 8), valid)
            unmasked = process.loss(net, padded, noise_for(10, 8))
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
        assert (unmasked - alone).abs().max() > 0.1


def test_loss_is_differentiable() -> None:
    model = WORLD.model()
    model.process.loss(model.denoiser, WORLD.clean[:64], noise_for(11, 64)).mean().backward()
    gradient = next(model.denoiser.parameters()).grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_categorical_has_the_exact_law() -> None:
    """On a grid of uniform numbers the frequencies are the probabilities, to the grid's width."""
    weights = torch.tensor([0.1, 0.0, 2.0, 0.4, 0.0])
    grid = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    drawn = categorical(weights.expand(100_000, -1), grid)
    shares = drawn.bincount(minlength=5).double() / 100_000
    torch.testing.assert_close(shares, (weights / 2.5).double(), atol=2e-5, rtol=0)


def test_tokens_of_probability_zero_are_never_drawn() -> None:
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.dirichlet(np.full(20, 0.3), size=20_000)).float()
    weights = weights * torch.from_numpy(rng.random((20_000, 20)) < 0.5)
    weights[weights.sum(1) == 0, 3] = 1e-30
    smallest, largest = 2.0**-53, 1 - 2.0**-53
    for uniform in (smallest, 0.5, largest):
        drawn = categorical(weights, torch.full((20_000,), uniform, dtype=torch.float64))
        assert drawn.max() < 20
        assert (weights.gather(1, drawn[:, None]) > 0).all()
    # Thresholds that round to 0 must not fall on a leading token of probability 0.
    tiny = torch.tensor([[0.0, 5e-324, 0.0]], dtype=torch.float64)
    assert categorical(tiny, torch.tensor([smallest], dtype=torch.float64)).item() == 1
    law = np.where(np.arange(27) % 2 == 0, 1 / 14, 0)
    world = World(law, 3, 3)
    process, noise = world.model().process, noise_for(12, 2000)
    plan = process.plan(3, 3, "blocks", noise)
    x_t = plan.start
    for step in range(3):
        probs = world.model().predict_x_0(x_t, torch.ones(2000))
        x_t = propose(process, x_t, probs, plan, step, noise)[:, 0]
    assert (law[places(x_t, 3).numpy()] > 0).all()


def entropy_of(tokens: Tensor) -> float:
    shares = tokens.bincount().double() / len(tokens)
    return float(-(shares * shares.clamp(min=1e-300).log()).sum())


def test_probabilities_of_either_precision_give_tokens_of_one_entropy() -> None:
    """Float32 noise with clamps sharpens the law (Gumbel tails); inversion in float64 does not."""
    probs = torch.cat([torch.tensor([0.6, 0.3]), torch.full((200,), 0.1 / 200)])
    uniform = noise_for(13, 400_000).uniform("test")
    double = categorical(probs.double().expand(400_000, -1)[:100_000], uniform[:100_000])
    single = categorical(probs.float().expand(400_000, -1)[:100_000], uniform[:100_000])
    assert abs(entropy_of(double) - entropy_of(single)) < 1e-3
    exact = float(-(probs.double() * probs.double().log()).sum())
    assert abs(entropy_of(double) - exact) < 0.02


def test_equal_states_at_one_time_are_guessed_once() -> None:
    asked: list[Tensor] = []

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(x_t)
        return x_t[..., None] + 10 * t[:, None, None]

    x_t = torch.tensor([[0, 1], [2, 1], [0, 1], [0, 1], [2, 1]])
    each = torch.tensor([1.0, 2, 3, 1, 2], dtype=torch.float64)  # the third is at another time
    found = predict_distinct(predict, x_t, each)[..., 0]
    assert torch.equal(found, x_t + 10 * each[:, None].float())
    assert predict_distinct(predict, x_t, torch.tensor(4.0)).shape == (5, 2, 1)
    assert [len(states) for states in asked] == [3, 2]


def test_rows_with_fewer_positions_than_blocks_begin_late_and_end_with_the_others() -> None:
    given = torch.full((3, 6), -1)
    given[1, :4] = 2
    given[2] = 1
    plan = Masked(size=K).plan(6, 6, "blocks", noise_for(0, 3), given)
    assert plan.step_of is not None
    assert plan.step_of[0].sort().values.tolist() == [0, 1, 2, 3, 4, 5]
    assert plan.step_of[1, :4].tolist() == [-1] * 4
    assert plan.step_of[1, 4:].sort().values.tolist() == [4, 5]
    assert plan.step_of[2].tolist() == [-1] * 6
    assert plan.changing(4).tolist() == [True, True, False]
    # Fewer blocks than positions are of nearly equal size, in every row that has enough.
    plan = Masked(size=K).plan(6, 3, "blocks", noise_for(0, 3), given)
    assert plan.step_of is not None
    assert plan.step_of[0].bincount().tolist() == [2, 2, 2]
    assert plan.step_of[1, 4:].sort().values.tolist() == [1, 2]
