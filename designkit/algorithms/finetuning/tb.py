"""Trajectory balance in its log-variance form: every trajectory's residual is made the same.

With l the log-ratio of the trained to the pretrained model over a trajectory (see
``_trajectories``), the target p(x) exp(r(x) / alpha) is reached where r / alpha - l is the same for
all trajectories, namely log Z. The loss is the variance of that residual over the designs of an
update (Malkin et al. 2022, arXiv 2201.13259, eq. 14, trajectory balance; Richter et al. 2020,
arXiv 2010.10436, eq. 12, log-variance; Zhang et al. 2023, arXiv 2302.05446, sec. 3, VarGrad in the
place of a learned log Z). It is 0 at the target, with no noise of sampling left, whatever law the
designs come from.

The gradient of a trajectory's log-probability is a sum over its steps, of which a few at random
give an unbiased estimate: only these pass the network with gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.finetuning.base import Calls, Finetuner, Learner

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.randomness import Noise


class TB(Finetuner):
    """Settings of trajectory balance.

    Attributes:
        pretrained_share: of the designs of an update that the pretrained model draws; the others
            are the trained model's own.
        train_steps: steps of each trajectory that pass the network with gradients.
        huber: residual, in nats from the mean, beyond which the loss goes on in a straight line.
    """

    pretrained_share: float = Field(default=0.0, ge=0, le=1)
    train_steps: int = Field(default=8, ge=1)
    huber: float = Field(default=10.0, gt=0)

    def losses(self, learner: Learner, noise: Noise) -> Tensor:
        """See ``Finetuner.losses``."""
        from designkit.algorithms.finetuning._rollout import rewards_of
        from designkit.algorithms.finetuning._surrogate import log_prob_moves

        drawn = self.draw(learner, noise, self.pretrained_share)
        assert drawn.trajectories is not None
        residual = rewards_of(learner.reward, drawn.x_0) / self.alpha - drawn.log_ratio
        excess = residual - residual.mean()
        moves = log_prob_moves(learner.policy, drawn.trajectories, self.train_steps, noise)
        return _huber(excess, self.huber) - _slope(excess, self.huber) * moves

    def calls_per_update(self, rows: int, length: int) -> Calls:
        """Roll-outs of which both models see each state, and a few steps with gradients."""
        steps = self.steps_for(length)
        return Calls(rows * steps, rows * min(steps, self.train_steps), rows * steps, rows)


def _huber(error: Tensor, limit: float) -> Tensor:
    """error^2, a straight line of the same slope beyond the limit."""
    inside = error.clamp(-limit, limit)
    return inside * (2 * error - inside)


def _slope(error: Tensor, limit: float) -> Tensor:
    """Derivative of ``_huber``."""
    return 2 * error.clamp(-limit, limit)
