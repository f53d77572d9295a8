"""Training and judging a value network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from designkit.metrics.regression import r_squared, spearman
from designkit.models._value import channels, layout
from designkit.randomness import noise_for
from designkit.recipes._value_loss import LaggedNetwork, linex, one_step_children
from designkit.recipes.training import as_stored, build_seeded, with_stored_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise
    from designkit.recipes._rollouts import Rollouts
    from designkit.recipes._training_run import TrainingRun
    from designkit.recipes.value_settings import ValueSettings

VALIDATION_DRAWS = 8
NOISE_LEVELS = (0.0, 0.1, 0.5, 0.9)
"""Shares of the signal that is gone, at which a network is judged."""
ROWS_AT_ONCE = 256


class ValueTask:
    """Values of noisy states of the roll-outs, made anew for every update.

    States are q(x_t | x_0) of roll-outs x_0, t being uniform: for masked diffusion a uniform number
    of random positions is masked. With the prior's roll-outs that is the law of the states that the
    sampler passes, jointly with where they end, if the denoiser's conditionals are those of one
    law and one position is revealed a step.

    Args:
        rollouts: with their rewards.
        prior: that drew them.
        settings: of the run.
        temperature: alpha, in units of the reward.
        time_conditioned: whether the network sees the time.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        prior: DiffusionModel,
        settings: ValueSettings,
        temperature: float,
        time_conditioned: bool,
    ):
        self.rollouts = rollouts
        self.prior = prior
        self.settings = settings
        self.time_conditioned = time_conditioned
        train = rollouts.rewards[rollouts.rows("train")]
        self.mean, self.scale = float(train.mean()), float(train.std().clamp(min=1e-9))
        self.temperature = temperature / self.scale
        self.targets = ((rollouts.rewards - self.mean) / self.scale).float()
        self.examples = len(train)
        self.canvas = prior.length_law.maximum

    def loss(self, module: nn.Module, rows: Tensor, noise: Noise) -> Tensor:
        """Loss of the objective (B,), in squared standard deviations of the reward."""
        # Training rows are the first.
        x_0, valid = self._clean(rows)
        target = self.targets[rows.cpu()].to(rows.device)
        count = len(rows)
        t = (noise.uniform("time") + torch.arange(count, device=rows.device)) / count
        if self.settings.objective == "soft_q":
            t = t.where(noise.uniform("finished") >= self.settings.finished, 0.0)
        x_t = self.prior.process.corrupt(x_0, t, noise)
        if self.settings.objective == "soft_q":
            target = self._bootstrapped(module, x_t, t, valid, target, noise)
        value = module(self._layout(x_t, t, valid)).squeeze(1).float()
        return self._error(target, value)

    def _error(self, target: Tensor, value: Tensor) -> Tensor:
        if self.settings.objective == "mse":
            return (target - value) ** 2
        return linex(target, value, self.temperature, self.settings.exponent)

    def _bootstrapped(
        self, module: nn.Module, x_t: Tensor, t: Tensor, valid: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        """Soft means of the children's values; rewards where nothing is masked."""
        # Where processes work together the module is wrapped.
        network = cast(LaggedNetwork, getattr(module, "module", module))
        if network.training and isinstance(noise.step, int) and not noise.step % self.settings.lag:
            network.renew()
        open_ = ((x_t >= self.prior.process.size) & valid).any(1)
        children, log_weights = one_step_children(
            self.prior, x_t, t, valid, noise, self.settings.children
        )
        number = children.shape[1]
        read = self._layout(
            children.flatten(0, 1),
            t.repeat_interleave(number),
            valid.repeat_interleave(number, dim=0),
        )
        values = network.before(read).view(-1, number)
        soft = (values / self.temperature + log_weights).logsumexp(1) * self.temperature
        merged: Tensor = soft.where(open_, target)
        return merged

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Held-out loss against the rewards of roll-outs, and Spearman correlation with them."""
        rows = self.rollouts.rows("valid")
        found, truth = [], self.targets[rows].double()
        for draw in range(VALIDATION_DRAWS):
            t = torch.full((len(rows),), (draw + 0.5) / VALIDATION_DRAWS)
            found.append(torch.from_numpy(self.predict(module, rows, t, draw)))
        values = torch.stack(found)
        loss = self._error(truth.expand_as(values), values)
        return {
            "loss": float(loss.mean()),
            "spearman": float(spearman(truth.expand_as(values).numpy(), values.numpy()).mean()),
        }

    def predict(self, module: nn.Module, rows: Tensor, t: Tensor, draw: int) -> NDArray[np.float64]:
        """Standardised values (N,) of some roll-outs, with noise of times (N,)."""
        device = self.prior.device
        noise = noise_for(0, len(rows), device=device).at(draw)
        parts = []
        for place in torch.arange(len(rows)).split(ROWS_AT_ONCE):
            x_0, valid = self._clean(rows[place].to(device))
            times = t[place].to(device)
            x_t = self.prior.process.corrupt(x_0, times, noise.rows(place.to(device)))
            with torch.inference_mode():
                parts.append(module(self._layout(x_t, times, valid)).squeeze(1).float().cpu())
        values: NDArray[np.float64] = torch.cat(parts).double().numpy()
        return values

    def _clean(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, L) of roll-outs and where they are not padding, on the device of ``rows``."""
        chosen = rows.cpu()
        lengths = self.rollouts.lengths[chosen]
        longest = int(lengths.max())
        valid = torch.arange(longest) < lengths[:, None]
        return self.rollouts.tokens[chosen, :longest].to(rows.device), valid.to(rows.device)

    def _layout(self, x_t: Tensor, t: Tensor, valid: Tensor) -> Tensor:
        return layout(
            x_t,
            t,
            self.prior.process,
            self.canvas,
            time_conditioned=self.time_conditioned,
            valid=valid,
        )


def value_metrics(task: ValueTask, module: nn.Module) -> dict[str, Any]:
    """How well values tell the rewards of held-out roll-outs, by share of the signal that is gone.

    Returns:
        For each level Spearman correlation and R2, which for soft values is lower by what they are
        above the mean; ``bias``, the mean of r - f in standard deviations of the reward, 0 for the
        mean; and ``exponential_moment``, the mean of exp((r - f) / alpha) with its standard error,
        1 for the soft value.
    """
    rows = task.rollouts.rows("test")
    truth = task.targets[rows].double().numpy()
    grid = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    gone = 1 - task.prior.process.alpha(grid)
    levels = {}
    for number, level in enumerate(NOISE_LEVELS):
        t = grid[(gone - level).abs().argmin()]
        values = task.predict(module, rows, t.expand(len(rows)), number)
        weights = np.exp((truth - values) / task.temperature)
        levels[f"{level:g}"] = {
            "spearman": _known(float(spearman(truth, values))),
            "r_squared": _known(float(r_squared(truth, values))),
            "bias": float((truth - values).mean()),
            "exponential_moment": float(weights.mean()),
            "exponential_moment_se": float(weights.std(ddof=1) / np.sqrt(len(rows))),
        }
    return {"rollouts": len(rows), "by_share_gone": levels}


def _known(value: float) -> float | None:
    """A figure for a card; correlations with a constant have none."""
    return None if np.isnan(value) else value


def train_value(
    run: TrainingRun,
    settings: ValueSettings,
    architecture: Any,
    prior: DiffusionModel,
    rollouts: Rollouts,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train a value network.

    Args:
        run: its folder and processes.
        settings: of the run.
        architecture: a ``PredictorSettings``.
        prior: whose states are valued.
        rollouts: of the prior.

    Returns:
        Weights as stored, and the fields of the card that only a value network has.
    """
    train = rollouts.rewards[rollouts.rows("train")]
    temperature = settings.temperature or float(f"{float(train.std()) / 5:.3g}")
    timed = settings.time_conditioned
    timed = not hasattr(prior.process, "mask") if timed is None else timed
    said = "" if settings.temperature else ", a fifth of the reward's standard deviation"
    run.reporting.say(f"alpha {temperature:g}{said}")
    task = ValueTask(rollouts, prior, settings, temperature, timed)
    network = build_seeded(
        lambda: architecture.build(channels(prior.process, time_conditioned=timed), 1, task.canvas),
        run.seed,
    )
    module = LaggedNetwork(network) if settings.objective == "soft_q" else network
    result = run.fit(run.name, module, task, settings.optimizer, run.folder, run.seed)
    weights = {
        key.removeprefix("network."): value
        for key, value in result.weights.items()
        if not key.startswith("lagged.")
    }
    weights = as_stored(weights, settings.stored_precision)
    network = with_stored_weights(network, weights)
    return weights, {
        "kind": "value",
        "length_law": prior.length_law.to_dict(),
        "temperature": temperature,
        "objective": settings.objective,
        "time_conditioned": timed,
        "statistics": {"mean": task.mean, "scale": task.scale},
        "metrics": {
            "test": value_metrics(task, network),
            "best_update": result.state.best_update,
        },
    }
