"""Value-based beam search: of all children of K states, the K most valuable go on.

Every beam draws M children from the model; equal ones count once, no parent keeps more than its
quota while others have children to offer, and the K with the highest values are the next beams. The
value is that of the child itself, or with ``lookahead`` that of its best descendant some steps on
(Li et al. 2025, arXiv 2501.09685, sec. 5, "search"); never a sum along the path. A temperature adds
Gumbel noise, which draws K children without putting back in proportion to exp(v / temperature)
(Kool et al. 2019, arXiv 1903.06059). An optimiser: its designs do not follow
p(x) exp(r(x) / temperature). At temperature 0 they are the K best distinct sequences that were
scored on the way, best first.

``search`` leaves out steps: in these each beam goes on by one child of the model's, which is not
valued. Early values say little, so schedules search ever more often and always in the last step
(Li et al. 2025, sec. 5; i is the step from 0, T their number): ``linear`` in a share
(i + 10) / T of the steps around i, ``exponential`` in 1 - exp(-4 i / T).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from designkit.algorithms.sampling._archive import Archive, ranked, repeated
from designkit.algorithms.sampling._guided import GuidedSampler, Temperature
from designkit.algorithms.sampling.base import Children, Designs, Request, Value, without_nan
from designkit.algorithms.values._completions import descend

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.algorithms.values.base import Objective, States
    from designkit.diffusion.base import DiffusionProcess
    from designkit.models.base import DiffusionModel
    from designkit.randomness import Noise


class Beam(GuidedSampler):
    """Settings of beam search, besides those of ``GuidedSampler``.

    Attributes:
        beams: K, states that are kept; designs of a population.
        candidates: M, children of each state in each step.
        quota: most beams that may have one parent, as a share of K; at least one may.
        likelihood_weight: what a nat of a beam's log-probability under the model is worth, in units
            of the reward.
        lookahead: steps after which a child is valued, its own counted; 1 values the child itself.
        width: children of each state that is looked ahead from.
        search: the steps in which children are compared: ``all``, or ever more of them, ``linear``
            or ``exponential``.
        temperature: of the Gumbel noise, in units of the reward; 0 for none, ``auto`` measures one.
    """

    beams: int = Field(default=8, ge=1)
    candidates: int = Field(default=10, ge=1)
    quota: float = Field(default=0.5, gt=0, le=1)
    likelihood_weight: float = Field(default=0.0, ge=0)
    lookahead: int = Field(default=1, ge=1)
    width: int = Field(default=2, ge=1)
    search: Literal["all", "linear", "exponential"] = "all"
    temperature: Temperature = 0.0

    @property
    def children(self) -> int:
        """M."""
        return self.candidates

    @property
    def population(self) -> int:
        """K."""
        return self.beams

    def calls_per_design(self, length: int, letters: int = 4) -> tuple[int, int]:
        """Those of M children a step; with ``lookahead`` the leaves' values, not the children's."""
        steps, value = self.steps_for(length), self.estimator()
        needs_guess = value.needs_guess or self.lookahead > 1
        denoiser, reward = 1 + (steps if self.proposal else 0), 0
        for left, is_searched in enumerate(reversed(self.searched(steps))):
            if left:
                denoiser += self.children if needs_guess and is_searched else 1
            if not is_searched:
                continue
            ahead = min(self.lookahead - 1, left)
            leaves = self.children * self.width**ahead
            tried = range(1, ahead + 1)
            denoiser += self.children * sum(self.width**d for d in tried if d < left)
            denoiser += leaves * value.denoiser_rows(left - ahead)
            reward += leaves * (value.reward_rows if left > ahead else value.final_reward_rows)
        return denoiser, reward

    def searched(self, steps: int) -> list[bool]:
        """Whether each of the steps compares children; the last one does."""
        shares = {
            "all": [1.0] * steps,
            "linear": [min(1.0, (step + 10) / steps) for step in range(steps)],
            "exponential": [-math.expm1(-4 * step / steps) for step in range(steps)],
        }
        found, total = [], 0.0
        for share in shares[self.search]:
            found.append(math.floor(total + share + 1e-9) > math.floor(total + 1e-9))
            total += share
        return [*found[:-1], True]

    def sample(
        self, model: DiffusionModel, reward: Objective | None, request: Request, noise: Noise
    ) -> Designs:
        """See ``Sampler.sample``; the rows are whole populations."""
        import torch

        assert reward is not None
        steps = self.steps_for(request.free)
        archive = Archive(noise.item, self.beams, request) if self.alpha == 0 else None
        value = self.valuer(model, reward, request, archive)
        paths = torch.zeros_like(noise.item, dtype=torch.float64)

        def select(children: Children) -> Tensor:
            nonlocal paths
            paths_ahead = (paths[:, None] + children.log_prob).flatten()
            bonus = self.likelihood_weight * paths_ahead.view_as(children.values)
            kept = self.select(children, bonus, self.temperature_at(children.step, steps))
            paths = paths_ahead[kept]
            return kept

        searched = self.searched(steps)
        best = self.look_ahead(model.process, value)

        def valued(states: States) -> Tensor:
            if searched[states.step - 1]:
                return best(states)
            return torch.zeros(len(states.tokens), dtype=torch.float64).to(states.log_chance)

        tokens = self.decode(
            model,
            request,
            noise,
            candidates=[self.candidates if one else 1 for one in searched],
            value=valued,
            needs_guess=value.needs_guess or self.lookahead > 1,
            select=select,
            tilt=self.tilt(model, request, value),
            coupled=True,
        )
        return Designs(tokens if archive is None else archive.instead_of(tokens))

    def look_ahead(self, process: DiffusionProcess, value: Value) -> Value:
        """The value of the best descendant ``lookahead`` - 1 steps on.

        Args:
            process: of the states.
            value: of leaves.
        """
        import torch

        def ahead(states: States) -> Tensor:
            leaves = states
            for _ in range(self.lookahead - 1):
                if not leaves.finished:
                    leaves = descend(process, leaves, self.width, "look-ahead")
            values = without_nan(value(leaves)).view(len(states.tokens), -1)
            return torch.amax(values, dim=1)

        return ahead

    def select(self, children: Children, bonus: Tensor, temperature: float) -> Tensor:
        """The K children of each population that go on, best first.

        First come distinct children within their parent's quota, then those beyond it, then
        repeated ones; those without a score come last.

        Args:
            children: of A states, whole populations.
            bonus: (A, M) float64, what is added to the values.
            temperature: of the Gumbel noise; 0 for none.

        Returns:
            (A,) int64 in 0..A*M-1.
        """
        import torch

        count, candidates = children.values.shape
        populations = count // self.beams
        keys = without_nan(children.values) + bonus
        if temperature:
            uniform = children.noise.uniform("beam", candidates=candidates)
            keys = keys - temperature * uniform.log().neg().log()
        again = repeated(children.tokens.view(populations, -1, children.tokens.shape[2]))
        among = ranked(keys.masked_fill(again.view_as(keys), -torch.inf)).argsort(1)
        beyond = (among >= max(1, int(self.quota * self.beams))).view_as(again)
        keys = keys.view_as(again)
        tier = (2 * again.long() + beyond).masked_fill(keys.isneginf(), 4)
        order = ranked(keys)
        order = order.gather(1, ranked(-tier.gather(1, order)))[:, : self.beams]
        first = torch.arange(populations, device=order.device)[:, None]
        return (first * self.beams * candidates + order).flatten()
