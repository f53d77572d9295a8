"""Posterior mean: the reward of the model's best guess of the clean sequence.

SVDD-PM of Li et al. 2024, "Derivative-free guidance in continuous and discrete diffusion models
with soft value-based decoding", arXiv 2408.08252, sec. 4.2: v(x_s) is approximated by r(x_0) at the
most probable letter of every masked position. One reward row a state; neither a sample nor a mean,
hence biased, most of all while much is masked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from designkit.algorithms.values.base import Objective, States, ValueEstimator, Values

if TYPE_CHECKING:
    from designkit.diffusion.base import DiffusionProcess


class PosteriorMean(ValueEstimator):
    """Reward of the most probable completion.

    Attributes:
        guess: whose guess completes a child: its ``own``, or that of its ``parent``, which takes no
            denoiser row for a child that is not kept. By default the parent's where the best of
            several children is kept and noise is a mask, its own otherwise.
    """

    guess: Literal["own", "parent"] | None = None

    @property
    def needs_guess(self) -> bool:
        """But for the parent's."""
        return self.guess != "parent"

    def suited(self, process: DiffusionProcess, *, greedy: bool) -> PosteriorMean:
        """The settings with ``guess`` written out."""
        if self.guess is not None:
            return self
        guess = "parent" if process.reveals and greedy else "own"
        return self.model_copy(update={"guess": guess})

    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        """See ``ValueEstimator.values``; the temperature does not matter."""
        decoded = states.x_0_probs.argmax(-1)
        rewards = reward.values(decoded)
        return Values(rewards, decoded, rewards)
