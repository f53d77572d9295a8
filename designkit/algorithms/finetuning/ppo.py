"""Proximal policy optimisation, the KL from the prior being part of the reward.

A design is worth r / alpha - l, l being the log-ratio of the trained to the pretrained model over
its trajectory (see ``_trajectories``): its mean is largest, and the same for all designs, at
p(x) exp(r(x) / alpha). Each collection of designs is trained on for several updates by the clipped
surrogate (Schulman et al. 2017, arXiv 1707.06347, eq. 7), for diffusion models Black et al. 2023,
arXiv 2305.13301 and Fan et al. 2023, arXiv 2305.16381. The ratio of a step is that of all letters
that it reveals, and that of the first update is 1, so that only later updates are ever clipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.finetuning.base import Calls, Finetuner, Learner

if TYPE_CHECKING:
    from torch import Tensor, nn

    from designkit.algorithms.finetuning._memory import Collections
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise

_LARGEST_LOG_RATIO = 20.0


class PPO(Finetuner):
    """Settings of proximal policy optimisation.

    Attributes:
        epochs: updates for each collection of new designs.
        clip: a step's probability is not moved further than by these shares, in one collection.
        train_steps: steps of each trajectory that an update trains on.
    """

    epochs: int = Field(default=4, ge=1)
    clip: float = Field(default=0.2, gt=0, lt=1)
    train_steps: int = Field(default=8, ge=1)

    def memory(self, pretrained: DiffusionModel, rows: int, length: int) -> nn.Module:
        """The last collection, its advantages, and the log-probabilities of its steps."""
        from designkit.algorithms.finetuning._memory import Collections

        steps = self.steps_for(length)
        return Collections(1, rows, length, ("advantage",), ("log_prob",), steps)

    def losses(self, learner: Learner, noise: Noise) -> Tensor:
        """See ``Finetuner.losses``."""
        import torch

        from designkit.algorithms.finetuning._memory import Collections
        from designkit.algorithms.finetuning._trajectories import random_steps

        memory = learner.memory
        assert isinstance(memory, Collections)
        if learner.update % self.epochs == 0:
            self._collect(learner, memory, noise)
        kept, paths = memory.read(0), memory.trajectories(0, learner.policy.process.size)
        steps = random_steps(paths.steps, self.train_steps, noise)
        visits = paths.visits(steps)
        moved = visits.log_prob(visits.log_guess(learner.policy)) - kept["log_prob"].gather(
            1, steps
        )
        ratio = moved.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO).exp()
        advantage = kept["advantage"][:, None]
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        gain = torch.minimum(ratio * advantage, clipped * advantage)
        return -gain.sum(1) * (paths.steps / steps.shape[1])

    def _collect(self, learner: Learner, memory: Collections, noise: Noise) -> None:
        """Draw designs; what they are worth beyond the mean, in nats, or deviations if more."""
        from designkit.algorithms.finetuning._rollout import rewards_of

        drawn = self.draw(learner, noise)
        worth = rewards_of(learner.reward, drawn.x_0) / self.alpha - drawn.log_ratio
        excess = worth - worth.mean()
        # Divided by a deviation below 1, what is noise near the target would be blown up.
        advantage = excess / excess.std(correction=0).clamp(min=1)
        memory.write(0, drawn.x_0, drawn.trajectories, advantage=advantage, log_prob=drawn.log_prob)

    def calls_per_update(self, rows: int, length: int) -> Calls:
        """Roll-outs in one of ``epochs`` updates, seen by both models, and steps with gradients."""
        steps = self.steps_for(length)
        drawn = rows * steps / self.epochs
        return Calls(drawn, rows * min(steps, self.train_steps), drawn, rows / self.epochs)
