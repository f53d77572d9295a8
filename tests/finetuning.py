"""A trainable toy: a table for every half-masked sequence, tuned in a plain loop, its law computed.

With one position a step the law of a tuned table follows by enumeration of all orders, so that
what an objective converges to is compared with what it should be, not with samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from benchmarks.exact_law import ExactLaw, denoiser_logits
from designkit.algorithms.finetuning.base import Finetuner, Learner
from designkit.algorithms.values.base import Objective
from designkit.models.base import DiffusionModel, one_hot
from designkit.randomness import Noise, noise_for
from designkit.recipes._finetuning_task import FinetuningTask, TrainedParts
from designkit.recipes.finetune_settings import TuningOptimizerSettings
from tests.tabular import Law, World, make_rewards, make_world, places

WORLD = make_world(size=3, length=3)
REWARDS = make_rewards(WORLD)
ALPHA = 0.7
TARGET = WORLD.tilted(REWARDS, ALPHA)


@dataclass
class ToyModel(DiffusionModel):
    """A model whose rows go through the table all at once, which is quicker here."""

    def logits(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        self.counter.add(len(x_t))
        return self.denoiser(one_hot(x_t, self.process.states), t)


class RelaxedTable(nn.Module):
    """A table of logits whose inputs may be relaxed: the mean over independent positions.

    Args:
        table: (V^L, L, K), the first position most significant.
        words: (V^L, L) all noisy sequences.
    """

    def __init__(self, table: Tensor, words: Tensor):
        super().__init__()
        self.table = nn.Parameter(table)
        self.words = words

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        if not x_t.requires_grad:
            return self.table[places(x_t.argmax(-1), x_t.shape[-1])]
        place = torch.arange(x_t.shape[1])[:, None]
        weight = x_t[:, place, self.words.T].prod(1)  # (N, V^L)
        return torch.einsum("nw,wlk->nlk", weight, self.table)


def trainable(world: World = WORLD, conditionals: Law | None = None) -> DiffusionModel:
    """The model with the exact conditionals, or others, that can be trained and relaxed."""
    model = world.model(conditionals)
    network = RelaxedTable(model.denoiser.table.detach().clone(), world.noisy)
    return ToyModel(network, model.process, model.alphabet, model.length_law)


def law_of(model: DiffusionModel, length: int = 3) -> Law:
    """The exact law of designs, one position a step."""
    return ExactLaw(denoiser_logits(model, length).double().softmax(-1).numpy()).prior


@dataclass
class Tuning:
    """A run of an objective on the toy.

    Args:
        finetuner: the objective.
        reward: what to raise; the toy's own without one.
        rows: designs of an update.
        world: the toy.
    """

    finetuner: Finetuner
    reward: Objective | None = None
    rows: int = 64
    world: World = WORLD
    pretrained: DiffusionModel | None = None
    updates: int = 0

    @cached_property
    def task(self) -> FinetuningTask:
        optimizer = TuningOptimizerSettings(batch_size=self.rows)
        reward = self.reward or self.world.objective(REWARDS)
        pretrained = self.pretrained or trainable(self.world)
        return FinetuningTask(self.finetuner, pretrained, reward, optimizer)

    @cached_property
    def parts(self) -> TrainedParts:
        return self.task.module()

    @property
    def policy(self) -> DiffusionModel:
        return self.task.policy(self.parts)

    @property
    def law(self) -> Law:
        return law_of(self.policy, self.world.length)

    def learner(self, update: int = 0) -> Learner:
        return Learner(
            self.policy,
            self.task.pretrained,
            self.task.reward,
            self.parts.memory,
            update,
            self.world.length,
        )

    def noise(self, update: int = 0, seed: int = 0) -> Noise:
        return noise_for(seed, self.rows, start=update * self.rows)

    def losses(self, update: int = 0, seed: int = 0) -> Tensor:
        rows = self.noise(update, seed).item
        return self.task.loss(self.parts, rows, Noise(seed, rows, update))

    def put(self, conditionals: Law) -> None:
        """Give the trained model these conditionals."""
        table = torch.from_numpy(self.world.logits(conditionals)).float()
        with torch.no_grad():
            self.parts.denoiser.table.copy_(table)

    def run(self, updates: int, rate: float = 0.1) -> Law:
        """Train with a falling learning rate; the law of the averaged weights of the last third."""
        optimizer = torch.optim.Adam(self.parts.parameters(), lr=rate, betas=(0.9, 0.99))
        table = self.parts.denoiser.table
        mean, counted = torch.zeros_like(table), 0
        for update in range(updates):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, 2 * (1 - update / updates))
            loss = self.losses(self.updates).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.updates += 1
            if update >= 2 * updates // 3:
                mean, counted = mean + table.detach(), counted + 1
        with torch.no_grad():
            table.copy_(mean / counted)
        return self.law


def conditionals_of(law: Law, world: World = WORLD) -> Law:
    """The conditionals of another law over the sequences of a world."""
    return World(law, world.size, world.length).conditionals
