"""SVDD: soft value-based decoding (Li et al. 2024, arXiv 2408.08252, algorithm 1).

In every step each state draws M children from the model and keeps one of them with probability
proportional to exp(v / temperature), v being the estimated soft value of the child. For M to
infinity and the exact value this is the soft-optimal policy, whose designs follow
p(x) exp(r(x) / temperature). Temperature 0 keeps the best child. Rows are independent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling.base import Designs, Request, Sampler, without_nan
from designkit.algorithms.values.base import Objective, ValueEstimator, ValueName, estimator

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class SVDD(Sampler):
    """Settings of SVDD.

    Attributes:
        candidates: M, children of each state in each step.
        temperature: alpha of the target p(x) exp(r(x) / alpha), in units of the reward; 0 is
            greedy.
        value: name of the value estimator, or its ``name`` and settings.
    """

    candidates: int = Field(default=10, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    value: ValueName = "posterior_mean"

    def estimator(self) -> ValueEstimator:
        """The value estimator that ``value`` names."""
        return estimator(self.value)

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``."""
        assert reward is not None
        objective, valued = reward, self.estimator()

        def value(x_s: Tensor, x_0_probs: Tensor, rows: Noise) -> Tensor:
            return valued.values(objective, x_s, x_0_probs, self.temperature, rows)

        def select(values: Tensor, step: int, active: Tensor) -> Tensor:
            return self.select(values, noise.rows(active).at(step))

        tokens = self.decode(
            model, request, noise, candidates=self.candidates, value=value, select=select
        )
        return Designs(tokens)

    def select(self, values: Tensor, noise: Noise) -> Tensor:
        """The child that each row keeps.

        Args:
            values: (B, M) float64; -inf or NaN for children without a score.
            noise: of the B rows at this step.

        Returns:
            (B,) int64. Any child where none of the row has a score.
        """
        from designkit.diffusion.base import categorical

        values = without_nan(values)
        best = values.argmax(1)
        if self.temperature == 0:
            return best
        scaled = (values - values.gather(1, best[:, None])) / self.temperature
        # -inf minus -inf: no child of the row has a score, all are as good.
        return categorical(scaled.exp().nan_to_num(1.0), noise.uniform("select"))

    def calls_per_design(self, length: int) -> tuple[int, int]:
        """One denoiser row at the start, then M a step but the last; M values a step."""
        steps = self.steps_for(length)
        valued = self.candidates * steps * self.estimator().reward_rows
        return 1 + self.candidates * (steps - 1), valued
