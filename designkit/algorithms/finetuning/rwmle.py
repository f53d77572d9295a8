"""Reward-weighted maximum likelihood: designs are trained on by weights exp(reward / alpha).

With designs of the pretrained model, weighted by w = exp(r / alpha), the likelihood is largest at
p(x) exp(r(x) / alpha) (Peters and Schaal 2007, doi 10.1145/1273496.1273590; for diffusion models
Lee et al. 2023, arXiv 2302.12192). Where the trained model draws the designs itself the target
would move on: after n rounds it is p(x) exp(n r(x) / alpha). The weights here are therefore also
divided by how much likelier the trained model has made the design's trajectory, which keeps the
target and makes the weights more and more alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from designkit.algorithms.finetuning.base import Calls, Finetuner, Learner

if TYPE_CHECKING:
    from torch import Tensor, nn

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class RWMLE(Finetuner):
    """Settings of reward-weighted maximum likelihood.

    Attributes:
        source: which model draws the designs: the trained one (``policy``) or the ``pretrained``.
        corrected: divide the weights of the trained model's designs by its probability over the
            pretrained one's. Without it the target is p(x) exp(n r(x) / alpha) after n rounds.
        reuse: updates for each collection of new designs.
        replay: collections that are kept and trained on.
        largest_weight: a design counts at most this many times as much as the mean.
    """

    source: Literal["policy", "pretrained"] = "policy"
    corrected: bool = True
    reuse: int = Field(default=4, ge=1)
    replay: int = Field(default=8, ge=1)
    largest_weight: float = Field(default=10.0, gt=1)

    any_noise: ClassVar[bool] = True

    def memory(self, pretrained: DiffusionModel, rows: int, length: int) -> nn.Module:
        """The last collections with the logarithms of their weights."""
        from designkit.algorithms.finetuning._memory import Collections

        return Collections(self.replay, rows, length, columns=("log_weight",))

    def losses(self, learner: Learner, noise: Noise) -> Tensor:
        """See ``Finetuner.losses``."""
        from designkit.algorithms.finetuning._memory import Collections

        memory = learner.memory
        assert isinstance(memory, Collections)
        collection, number = divmod(learner.update, self.reuse)
        newest = collection % self.replay
        if number == 0:
            x_0, log_weight = self._collect(learner, noise)
            memory.write(newest, x_0, log_weight=log_weight)
        filled = min(self.replay, collection + 1)
        slot = newest
        if number:  # the newest collection is seen at least once
            slot = int(noise.uniform("collection")[0] * filled)
        kept = memory.read(slot)
        every = memory.get_buffer("log_weight")[:filled].flatten()
        weight = (kept["log_weight"] - every.logsumexp(0)).exp() * len(every)
        # The loss's times are spread over the rows: not always the same for the same designs.
        order = noise.uniform("order").argsort()
        process, policy = learner.policy.process, learner.policy

        def denoiser(x_t: Tensor, t: Tensor, valid: Tensor | None = None) -> Tensor:
            return policy.logits(x_t, t)

        nelbo = process.loss(denoiser, kept["x_0"][order], noise)
        return weight[order].clamp(max=self.largest_weight).float() * nelbo

    def _collect(self, learner: Learner, noise: Noise) -> tuple[Tensor, Tensor]:
        """New designs (B, L) and the logarithms of their weights (B,)."""
        from designkit.algorithms.finetuning._rollout import rewards_of, roll_out

        own = self.source == "policy"
        assert self.decoding is not None
        drawn = roll_out(
            learner.policy if own else learner.pretrained,
            learner.length,
            self.steps_for(learner.length),
            self.decoding,
            noise,
            learner.pretrained if own and self.corrected else None,
        )
        log_weight = rewards_of(learner.reward, drawn.x_0) / self.alpha
        if own and self.corrected:
            log_weight = log_weight - drawn.log_ratio
        return drawn.x_0, log_weight

    def calls_per_update(self, rows: int, length: int) -> Calls:
        """A row with gradients each, and roll-outs in one of ``reuse`` updates."""
        drawn = rows * self.steps_for(length) / self.reuse
        own = self.source == "policy"
        asked = not own or self.corrected
        return Calls(drawn * own, rows, drawn * asked, rows / self.reuse)
