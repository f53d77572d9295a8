"""What the samplers share whose rows choose among candidates, independently of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from designkit.algorithms.sampling._guided import BestDecoded, GuidedSampler, choose
from designkit.algorithms.sampling.base import Children, Designs, Request

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.values.base import Objective
    from designkit.diffusion.base import X0Function
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class CandidateSampler(GuidedSampler):
    """Settings of these methods, besides those of ``GuidedSampler``.

    Attributes:
        candidates: M, children of each state in each step.
    """

    candidates: int = Field(default=10, ge=1)

    @property
    def children(self) -> int:
        """M."""
        return self.candidates

    @property
    def chooses(self) -> bool:
        """Whether children are valued: among one there is nothing to choose.

        Greedy methods want the values of what is decoded on the way.
        """
        return self.candidates > 1 or self.temperature == 0

    def guesses(self, model: DiffusionModel) -> X0Function | None:
        """What guesses in place of ``predict``; None for that."""
        return None

    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """See ``GuidedSampler.calls_per_design``; no values where nothing is chosen."""
        if self.chooses:
            return super().calls_per_design(length, letters)
        steps = self.steps_for(length)
        return steps * (2 if self.proposal else 1), 0

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``."""
        assert reward is not None
        best = BestDecoded(noise.item, request) if self.alpha == 0 else None
        select = self.select if self.chooses else None
        guesses = self.guesses(model)
        tokens = self.follow(model, reward, request, noise, select, best=best, predict=guesses)
        return Designs(tokens if best is None else best.instead_of(tokens))

    def select(self, children: Children, temperature: float) -> Tensor:
        """The child that each state keeps.

        Args:
            children: of A states.
            temperature: of this step.

        Returns:
            (A,) int64 in 0..A*M-1. Any child where none of a state has a score.
        """
        import torch

        kept = choose(children.values, children.log_ratio, temperature, children.noise)
        first = torch.arange(len(kept), device=kept.device) * children.values.shape[1]
        return first + kept
