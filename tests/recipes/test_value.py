"""Value networks against the enumerated values of a small world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from designkit.models._value import layout
from designkit.models.conv_gru import ConvGRUPredictor
from designkit.randomness import noise_for
from designkit.recipes._rollouts import Rollouts
from designkit.recipes._value import NOISE_LEVELS, ValueTask, value_metrics
from designkit.recipes._value_loss import LaggedNetwork, linex, one_step_children
from designkit.recipes.optimizer import OptimizerSettings
from designkit.recipes.training import train
from designkit.recipes.value_settings import ValueSettings
from tests.tabular import Law, World, make_rewards, make_world, places

SIZE, LENGTH = 3, 3
# A law in 400ths, so that 400 roll-outs can have it exactly.
COUNTS = np.random.default_rng(0).multinomial(400 - 27, make_world(SIZE, LENGTH).law) + 1
WORLD = World(COUNTS / 400, SIZE, LENGTH)
REWARDS = make_rewards(WORLD)
MASK = SIZE
TEMPERATURE = 0.7


class Table(nn.Module):
    """A value for each noisy sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros((SIZE + 1) ** LENGTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.table[places(x.argmax(-1), SIZE + 1)]


def rollouts(rewards: Law = REWARDS) -> Rollouts:
    """500, of which the 400 for training have the world's law."""
    train_rows = np.repeat(np.arange(len(COUNTS)), COUNTS)
    chosen = np.concatenate([train_rows, train_rows[::4]])
    return Rollouts(
        WORLD.clean[torch.from_numpy(chosen)],
        torch.full((500,), LENGTH),
        torch.from_numpy(rewards[chosen]),
        unscored=0,
        infeasible=0,
        sha256="",
    )


def settings(objective: str, **more: Any) -> ValueSettings:
    return ValueSettings(prior="toy", rewards=[{"ref": "gc"}], objective=objective, **more)


def task(objective: str, rewards: Law = REWARDS, **more: Any) -> ValueTask:
    return ValueTask(
        rollouts(rewards), WORLD.model(), settings(objective, **more), TEMPERATURE, False
    )


def mean_values(rewards: Law) -> Law:
    mass = WORLD.completes * WORLD.law
    return np.asarray(mass @ rewards / mass.sum(1))


def truth(objective: str) -> Law:
    return mean_values(REWARDS) if objective == "mse" else WORLD.soft_values(REWARDS, TEMPERATURE)


@pytest.mark.parametrize("objective", ["linex", "mse", "soft_q"])
def test_a_table_learns_what_is_enumerated(objective: str, tmp_path: Path) -> None:
    learnt = task(objective, **({"lag": 25} if objective == "soft_q" else {}))
    module: nn.Module = Table()
    network = LaggedNetwork(module) if objective == "soft_q" else module
    optimizer = OptimizerSettings(
        updates=250, batch_size=300, learning_rate=0.1, warmup=0, evaluate_every=250, ema_decay=0.95
    )
    result = train(
        network,
        learnt,
        optimizer,
        run_dir=tmp_path,
        seed=0,
        accelerator=Accelerator(cpu=True),
    )
    table = next(v for k, v in result.weights.items() if k.removeprefix("network.") == "table")
    found = table.squeeze(1).double().numpy() * learnt.scale + learnt.mean
    error = np.abs(found - truth(objective))
    assert error.max() < 0.15
    assert error.mean() < 0.03
    other = truth("linex" if objective == "mse" else "mse")
    assert np.abs(found - other).mean() > 0.09


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_linex_is_smallest_at_the_soft_value(temperature: float) -> None:
    """Its derivative under the law of r is 0 there, for every noisy sequence of the world."""
    soft = torch.from_numpy(WORLD.soft_values(REWARDS, temperature)).requires_grad_()
    mass = torch.from_numpy(WORLD.completes * WORLD.law)
    law = mass / mass.sum(1, keepdim=True)
    losses = linex(torch.from_numpy(REWARDS).expand_as(law), soft[:, None], temperature, 20.0)
    (slope,) = torch.autograd.grad((losses * law).sum(), soft)
    np.testing.assert_allclose(slope, 0, atol=1e-9)
    for shift in (-0.1, 0.1):
        moved = linex(
            torch.from_numpy(REWARDS).expand_as(law), soft[:, None] + shift, temperature, 20.0
        )
        assert ((moved - losses) * law).sum(1).min() > 0


def test_linex_is_half_the_square_nearby_and_straight_far_off() -> None:
    small = torch.tensor([-1e-3, 1e-3], dtype=torch.float64)
    torch.testing.assert_close(
        linex(small, torch.zeros(2), 1.0, 5.0), small**2 / 2, rtol=1e-3, atol=0
    )
    far = torch.tensor([6.0, 60.0, 600.0], dtype=torch.float64, requires_grad=True)
    losses = linex(far, torch.zeros(3), 1.0, 5.0)
    (slope,) = torch.autograd.grad(losses.sum(), far)
    torch.testing.assert_close(slope, torch.full((3,), np.exp(5.0) - 1, dtype=torch.float64))
    assert linex(torch.tensor([4.0]), torch.zeros(1), 1.0, 5.0) == pytest.approx(np.exp(4) - 5)


def test_where_capped_linex_is_smallest() -> None:
    """Where the mean of min(exp(u), exp(exponent)) is 1."""
    draws = torch.from_numpy(np.random.default_rng(0).normal(size=4000))
    value = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found = torch.optim.LBFGS([value], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        found.zero_grad()
        loss = linex(draws, value, 0.2, 2.0).mean()
        loss.backward()
        return loss

    found.step(closure)
    weights = ((draws - value.detach()) / 0.2).clamp(max=2.0).exp()
    assert float(weights.mean()) == pytest.approx(1, abs=1e-3)
    assert float(value.detach()) < 0.2 * float((draws / 0.2).logsumexp(0) - np.log(4000)) - 0.1


@pytest.mark.parametrize("children", [2, 10])
def test_values_of_children_obey_the_soft_bellman_equation(children: int) -> None:
    """Exactly where every letter is a child, on the scale of weights where they are drawn."""
    masked = (WORLD.noisy == MASK).any(1).nonzero().squeeze(1)
    copies = 1 if children == 10 else 800
    x_t = WORLD.noisy[masked].repeat_interleave(copies, 0)
    t = torch.full((len(x_t),), 0.5)
    valid = torch.ones_like(x_t, dtype=torch.bool)
    tokens, weights = one_step_children(
        WORLD.model(), x_t, t, valid, noise_for(0, len(x_t)), children
    )
    assert tokens.shape[1] == min(children, SIZE)
    changed = tokens != x_t[:, None]
    assert (changed.sum(2) == 1).all()  # one position is revealed, the same in all children
    assert (changed == changed[:, :1]).all()
    soft = WORLD.soft_values(REWARDS, TEMPERATURE)
    of_children = torch.from_numpy(soft)[places(tokens.flatten(0, 1), SIZE + 1)]
    of_children = of_children.view(tokens.shape[:2]) / TEMPERATURE
    found = (of_children + weights).logsumexp(1).exp().view(-1, copies)
    exact = np.exp(soft[masked.numpy()] / TEMPERATURE)
    if children == 10:
        np.testing.assert_allclose(found[:, 0], exact, rtol=1e-5)
        return
    error = found.std(1).numpy() / np.sqrt(copies)
    assert (np.abs(found.mean(1).numpy() - exact) < 4.5 * error + 1e-6).all()


def test_revealed_positions_are_any_masked_one_and_never_padding() -> None:
    x_t = torch.tensor([[MASK, 0, MASK, 1]]).repeat(3000, 1)
    x_t[:, 3] = MASK
    valid = torch.tensor([True, True, True, False]).expand(3000, -1)
    world = make_world(SIZE, 4)
    tokens, _ = one_step_children(
        world.model(), x_t, torch.full((3000,), 0.5), valid, noise_for(1, 3000), 10
    )
    share = (tokens[:, 0] != x_t).double().mean(0)
    assert share[1] == share[3] == 0
    assert abs(float(share[0]) - 0.5) < 0.05


def test_the_copy_that_values_children_is_renewed_and_kept() -> None:
    learnt = task("soft_q", lag=4)
    module = LaggedNetwork(Table())
    rows = torch.arange(40)
    for step in range(9):
        with torch.no_grad():
            module.network.table += 1  # type: ignore[operator]
        learnt.loss(module, rows, noise_for(0, 40).at(step))
        assert float(module.lagged.table[0]) == 4 * (step // 4) + 1  # type: ignore[index]
    assert not any(p.requires_grad for p in module.lagged.parameters())
    assert set(module.state_dict()) == {"network.table", "lagged.table"}


def test_states_are_those_of_the_process() -> None:
    """A uniform number of masked positions, finished ones among them for soft_q."""
    seen: list[Tensor] = []

    class Spy(Table):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.argmax(-1))
            return super().forward(x)

    def masked_counts(objective: str) -> np.ndarray:
        seen.clear()
        learnt = task(objective)
        module = LaggedNetwork(Spy()) if objective == "soft_q" else Spy()
        for step in range(30):
            learnt.loss(module, torch.arange(400), noise_for(0, 400).at(step))
        states = torch.cat([x for x in seen if len(x) == 400])
        return np.bincount((states == MASK).sum(1), minlength=4) / len(states)

    np.testing.assert_allclose(masked_counts("linex"), 0.25, atol=0.02)
    np.testing.assert_allclose(masked_counts("soft_q"), [0.4, 0.2, 0.2, 0.2], atol=0.02)


def test_the_layout_tells_masks_padding_and_time() -> None:
    process = WORLD.model().process
    x_t = torch.tensor([[0, MASK, 2], [1, 1, 0]])
    valid = torch.tensor([[True, True, True], [True, True, False]])
    t = torch.tensor([0.25, 0.75])
    plain = layout(x_t, t, process, 5, time_conditioned=False, valid=valid)
    assert plain.shape == (2, 5, 4)
    assert plain[0, 1].tolist() == [0, 0, 0, 1]
    assert (plain[:, 3:] == 0.25).all()
    assert (plain[1, 2] == 0.25).all()
    assert (plain[1, 1] == torch.tensor([0, 1.0, 0, 0])).all()
    timed = layout(x_t, t, process, 3, time_conditioned=True)
    torch.testing.assert_close(timed[..., 4], torch.tensor([[0.75] * 3, [0.25] * 3]))


def test_figures_of_exact_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact soft value has exponential moment 1 at every noise level, the mean has no bias."""
    monkeypatch.setattr(Rollouts, "rows", lambda self, part: torch.arange(400).repeat(8))
    for objective in ("linex", "mse"):
        learnt = task(objective)
        module = Table()
        with torch.no_grad():
            values = torch.from_numpy((truth(objective) - learnt.mean) / learnt.scale)
            module.table.copy_(values[:, None])
        figures = value_metrics(learnt, module)
        assert figures["rollouts"] == 3200
        assert list(figures["by_share_gone"]) == [f"{level:g}" for level in NOISE_LEVELS]
        finished = figures["by_share_gone"]["0"]
        assert finished["spearman"] == pytest.approx(1)
        assert finished["r_squared"] == pytest.approx(1)
        for level in figures["by_share_gone"].values():
            if objective == "linex":
                error = level["exponential_moment_se"]
                assert abs(level["exponential_moment"] - 1) < 4 * error + 1e-6
            else:
                assert abs(level["bias"]) < 0.06
        half = figures["by_share_gone"]["0.9"]
        assert half["spearman"] < 0.7
        assert (half["bias"] < -0.1) == (objective == "linex")


def test_a_real_network_reads_what_a_task_lays_out() -> None:
    for objective in ("linex", "soft_q"):
        learnt = task(objective)
        network = ConvGRUPredictor(channels=8, dilations=(1,), hidden=4, head=8).build(4, 1, LENGTH)
        module = LaggedNetwork(network) if objective == "soft_q" else network
        loss = learnt.loss(module, torch.arange(16), noise_for(0, 16))
        assert loss.shape == (16,)
        loss.mean().backward()
        assert all(p.grad is not None for p in network.parameters())
        module.eval()
        with torch.inference_mode():
            assert set(learnt.evaluate(module)) == {"loss", "spearman"}
