"""Fine-tuning as a task of the optimizer loop: the module that is trained, and its loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import torch
from torch import nn

from designkit.algorithms.finetuning.base import Learner
from designkit.errors import RewardError
from designkit.models.base import DiffusionModel
from designkit.randomness import Noise, noise_for

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.finetuning.base import Finetuner
    from designkit.algorithms.values.base import Objective
    from designkit.recipes._finetuning_judge import Judge
    from designkit.recipes.optimizer import OptimizerSettings
    from designkit.rewards import RewardEngine

LARGEST_NAN_SHARE = 0.2
FEWEST_ROWS = 50
"""Designs before which the share of those without a score says nothing."""


class TrainedParts(nn.Module):
    """What is trained: the denoiser, and what an objective remembers.

    Calling it runs a function of itself, so that wrappers which gather gradients see the whole
    update. Nothing is ever dropped out: probabilities of a design are then the same numbers when it
    is drawn and when it is trained on.

    Args:
        denoiser: a copy of the pretrained one.
        memory: see ``Finetuner.memory``.
    """

    def __init__(self, denoiser: nn.Module, memory: nn.Module):
        super().__init__()
        self.denoiser = denoiser
        self.memory = memory

    def train(self, mode: bool = True) -> Self:
        """Nothing to switch on."""
        return super().train(False)

    def forward(self, losses: Callable[[TrainedParts], Tensor]) -> Tensor:
        """The losses of an update."""
        return losses(self)


class TrainingReward:
    """The reward engine as objectives see it: bounds that are broken are no score.

    Args:
        engine: scores and counts.
        strict: stop where more than a fifth of the designs have no score.

    Attributes:
        rows: designs scored.
        unscored: those without a score.
    """

    def __init__(self, engine: RewardEngine, strict: bool):
        self.engine = engine
        self.strict = strict
        self.rows = 0
        self.unscored = 0

    def values(self, tokens: Tensor) -> Tensor:
        """Rewards (N,) float64 of clean tokens (N, L); -inf for no score.

        Raises:
            RewardError: more than a fifth have none, where that is not allowed.
        """
        scored = self.engine.score(
            self.engine.alphabet.decode(tokens.cpu().numpy()), monitors=False
        )
        reward = torch.from_numpy(scored.reward)
        self.rows += len(reward)
        self.unscored += int(reward.isnan().sum())
        if (
            self.strict
            and self.rows >= FEWEST_ROWS
            and self.unscored > LARGEST_NAN_SHARE * self.rows
        ):
            told = next(filter(None, scored.reasons), "no reason given")
            raise RewardError(f"{self.unscored} of {self.rows} designs have no score ({told})")
        return reward.where(torch.from_numpy(scored.feasible), -math.inf).to(tokens.device)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Rewards (N,) of letter probabilities (N, L, K)."""
        self.rows += len(probs)
        return self.engine.score_relaxed(probs, valid)


class FinetuningTask:
    """The losses of an objective, and figures of the tuned model.

    Args:
        finetuner: the objective, its temperature known.
        pretrained: the model that is tuned; stays as it is.
        reward: what to raise.
        optimizer: says how many designs there are.
        length: of the designs; None draws one for each update.
        judge: of the tuned model; None where nobody asks.
    """

    def __init__(
        self,
        finetuner: Finetuner,
        pretrained: DiffusionModel,
        reward: Objective,
        optimizer: OptimizerSettings,
        length: int | None = None,
        judge: Judge | None = None,
    ):
        self.finetuner = finetuner.suited(pretrained.process)
        self.pretrained = pretrained
        self.reward = reward
        self.length = length
        self.judge = judge
        self.rows = optimizer.batch_size
        # Every design of every update is an example of its own, shown once.
        self.examples = optimizer.updates * optimizer.batch_size
        self._models: dict[int, DiffusionModel] = {}
        pretrained.denoiser.requires_grad_(False)

    def module(self) -> TrainedParts:
        """What is to be trained, at its start."""
        longest = self.length or self.pretrained.length_law.maximum
        denoiser = copy.deepcopy(self.pretrained.denoiser).requires_grad_(True)
        memory = self.finetuner.memory(self.pretrained, self.rows, longest)
        return TrainedParts(denoiser, memory).to(self.pretrained.device).eval()

    def policy(self, parts: TrainedParts) -> DiffusionModel:
        """The model of a denoiser; always the same one of the same denoiser."""
        known = self._models.get(id(parts.denoiser))
        if known is None or known.denoiser is not parts.denoiser:
            known = replace(self.pretrained, denoiser=parts.denoiser, sha256="")
            known.counter = type(known.counter)()
            self._models[id(parts.denoiser)] = known
        return known

    def loss(self, module: nn.Module, rows: Tensor, noise: Noise) -> Tensor:
        """Loss of the designs ``rows`` (B,)."""
        update = noise.step
        assert isinstance(update, int)
        designs = replace(noise, step=0)

        def losses(parts: TrainedParts) -> Tensor:
            learner = Learner(
                policy=self.policy(parts),
                pretrained=self.pretrained,
                reward=self.reward,
                memory=parts.memory,
                update=update,
                length=self._length(noise.seed, update),
            )
            return self.finetuner.losses(learner, designs)

        found: Tensor = module(losses)
        return found

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Figures of the tuned model; ``loss`` is minus the median of the held-out reward."""
        assert isinstance(module, TrainedParts)
        assert self.judge is not None
        return self.judge.evaluate(self.policy(module))

    def _length(self, seed: int, update: int) -> int:
        if self.length is not None:
            return self.length
        return self.pretrained.length_law.sample(noise_for(seed, 1, start=update))[0]
