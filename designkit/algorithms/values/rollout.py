"""Roll-out: the soft mean of the rewards of completions by the sampler's own further steps.

v(x_s) is approximated by temperature * log of the mean of exp(r(x_0) / temperature) over k
completions x_0, each decoded to the end from x_s (Li et al. 2025, arXiv 2501.09685, sec. 3). Unlike
with letters drawn independently of each other, exp(v / temperature) is unbiased however much is
masked; the price is k denoiser rows for each step that is left. Fewer ``steps`` are cheaper and
draw several letters at once, which is biased again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PrivateAttr

from designkit.algorithms.values._completions import roll_out, soft_mean
from designkit.algorithms.values.base import (
    LoadModel,
    Objective,
    States,
    ValueEstimator,
    Values,
)

if TYPE_CHECKING:
    from designkit.diffusion.base import DiffusionProcess
    from designkit.models.base import DiffusionModel


class Rollout(ValueEstimator):
    """Soft mean over completions that are decoded.

    Attributes:
        completions: k, of each state.
        steps: most denoising steps of a completion; by default all that are left.
    """

    completions: int = Field(default=4, ge=1)
    steps: int | None = Field(default=None, ge=1)
    _process: DiffusionProcess | None = PrivateAttr(default=None)

    @property
    def reward_rows(self) -> int:
        """K."""
        return self.completions

    def denoiser_rows(self, steps: int) -> int:
        """K for each step but the first, which the state's own guess serves."""
        taken = steps if self.steps is None else min(steps, self.steps)
        return self.completions * max(0, taken - 1)

    def prepared(self, model: DiffusionModel, load_model: LoadModel) -> Rollout:
        """The estimator with the noise process of ``model``."""
        made = self.model_copy()
        made._process = model.process
        return made

    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        """See ``ValueEstimator.values``; temperature 0 takes the best completion."""
        if states.finished:
            rewards = reward.values(states.tokens)
            return Values(rewards, states.tokens, rewards)
        assert self._process is not None
        drawn = roll_out(self._process, states, self.completions, self.steps)
        rewards = reward.values(drawn).view(-1, self.completions)
        drawn = drawn.view(-1, self.completions, drawn.shape[1])
        return soft_mean(drawn.transpose(0, 1), rewards.T, temperature)
