"""What has the gradient of a trajectory's log-probability and takes a few of its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from designkit.algorithms.finetuning._trajectories import random_steps

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.finetuning._trajectories import Trajectories
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


def log_prob_moves(
    model: DiffusionModel, trajectories: Trajectories, number: int, noise: Noise
) -> Tensor:
    """Zeros (N,) float64 whose gradient is that of the trajectories' log-probabilities.

    The log-probability of a trajectory is a sum over its steps; a few of them, drawn at random and
    counted steps / number times, have the same gradient on average.

    Args:
        model: is trained.
        trajectories: N.
        number: of steps of each that pass the network; all where there are no more.
        noise: of the N rows.
    """
    number = min(number, trajectories.steps)
    visits = trajectories.visits(random_steps(trajectories.steps, number, noise))
    log_prob = visits.log_prob(visits.log_guess(model)).sum(1) * (trajectories.steps / number)
    return log_prob - log_prob.detach()
