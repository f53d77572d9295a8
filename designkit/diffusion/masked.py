"""Masked (absorbing-state) diffusion: MDLM, Sahoo et al. 2024, arXiv 2406.07524.

Every position is replaced by the mask independently with probability 1 - alpha(t), and a reverse
step reveals masked positions by drawing from the denoiser. The rate of revealing does not depend on
the denoiser, so the step at which each position is revealed is drawn before decoding starts:

* ``blocks`` reveals a random order of positions in ``steps`` blocks of (nearly) equal size. One
  position a step draws exactly from the denoiser's own conditionals.
* ``grid`` is the published sampler: on the grid t_i = 1 - i / steps a masked position is revealed
  with probability (m_t - m_s) / m_t, where m_t = 1 - alpha(t).

Positions revealed in one step are drawn independently of each other: few steps bias the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from designkit.diffusion.base import (
    Decoding,
    DiffusionProcess,
    LogitsFunction,
    Plan,
    Transition,
    X0Function,
    softmax,
)
from designkit.randomness import Noise, noise_for

if TYPE_CHECKING:
    from torch import Tensor

EARLIEST_TRAINING_TIME = 1e-3
"""Times nearer to 0 are not drawn in training, where the weight 1 / t of the loss is unbounded."""

_LIKELIHOOD_SEED = 0
"""The mask sets of likelihood estimates are the same for every sequence and every model."""


class Masked(DiffusionProcess):
    """Masked diffusion over K letters; token K is the mask.

    Attributes:
        schedule: noise schedule; matters for the time grid only, the NELBO does not depend on it.
    """

    schedule: Literal["linear", "cosine"] = "linear"

    decodings: ClassVar[tuple[Decoding, ...]] = ("blocks", "grid")
    needs_time: ClassVar[bool] = False
    reveals: ClassVar[bool] = True

    @property
    def states(self) -> int:
        """K letters and the mask."""
        return self.size + 1

    @property
    def mask(self) -> int:
        """Token of the mask."""
        return self.size

    def corrupt(self, x_0: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """Replace each token by the mask with probability 1 - alpha(t)."""
        keep = noise.uniform("corrupt", x_0.shape[1]) < self.alpha(t.double())[:, None]
        return x_0.where(keep, self.mask)

    def x_0_probs(self, logits: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Softmax over letters; one-hot at unmasked positions (SUBS, Sahoo et al. sec. 3.2.3).

        Of a relaxed x_t what is unmasked is carried over in its share.
        """
        probs = softmax(logits)
        if x_t.ndim == 3:
            return x_t[..., : self.size] + x_t[..., self.size :] * probs
        return probs.where((x_t == self.mask)[..., None], self._one_hot(x_t).to(probs.dtype))

    def posterior(self, x_t: Tensor, x_0_probs: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Law of x_s: a masked position is revealed with probability (m_t - m_s) / m_t."""
        import torch
        import torch.nn.functional as functional

        stay = ((1 - self.alpha(s)) / (1 - self.alpha(t)))[:, None, None]
        reverse = torch.cat([(1 - stay) * x_0_probs, stay.expand(*x_t.shape, 1)], dim=-1)
        certain = functional.one_hot(x_t, self.states).to(reverse.dtype)
        return reverse.where((x_t == self.mask)[..., None], certain)

    def loss(
        self, denoiser: LogitsFunction, x_0: Tensor, noise: Noise, valid: Tensor | None = None
    ) -> Tensor:
        """Continuous-time NELBO (Sahoo et al. eq. 10) at low-discrepancy times, (B,) nats.

        Times are spread over the batch: t_i = (u_i + i) / B, so the mean over the batch has far
        less variance than with independent times.
        """
        import torch
        import torch.nn.functional as functional

        batch = x_0.shape[0]
        place = torch.arange(batch, device=x_0.device)
        t = (noise.uniform("time") + place) / batch
        t = EARLIEST_TRAINING_TIME + (1 - EARLIEST_TRAINING_TIME) * t
        x_t = self.corrupt(x_0, t, noise)
        noisy = functional.one_hot(x_t, self.states).float()
        logits = denoiser(noisy, t.float(), valid=valid).float()
        surprise = functional.cross_entropy(logits.transpose(1, 2), x_0, reduction="none")
        hidden = x_t == self.mask if valid is None else (x_t == self.mask) & valid
        return (surprise * hidden).sum(1) * self._schedule.nelbo_weight(t).float()

    def log_likelihood(
        self, predict_x_0: X0Function, x_0: Tensor, draws: int
    ) -> tuple[Tensor, Tensor]:
        """Lower bound of log p(x_0 | length) over random orders, and its standard error.

        Estimates sum_k (1/k) E_{|M|=k} sum_{l in M} log p(x_0^l | x_0 outside M), which is the
        log-likelihood itself when the denoiser's conditionals are consistent. ``draws`` mask sets
        M have sizes k stratified over 1..L and are the same for all sequences of a length.

        Args:
            predict_x_0: noisy tokens and times to probabilities.
            x_0: (B, L) clean tokens.
            draws: number of mask sets, at least 2.

        Returns:
            Mean and standard error in nats, both (B,) float64.
        """
        import torch

        batch, length = x_0.shape
        noise = noise_for(_LIKELIHOOD_SEED, draws, device=x_0.device)
        place = torch.arange(draws, device=x_0.device)
        sizes = ((noise.uniform("likelihood-size") + place) / draws * length).long() + 1
        rank = noise.uniform("likelihood-mask", length).argsort(1).argsort(1)
        masked = rank < sizes[:, None]  # (draws, L)
        x_t = x_0[:, None].where(~masked, self.mask).flatten(0, 1)
        times = self._schedule.time_of(1 - sizes.double() / length).repeat(batch)
        probs = predict_x_0(x_t, times.float()).unflatten(0, (batch, draws))
        target = x_0[:, None, :, None].expand(batch, draws, length, 1)
        log_probs = probs.gather(-1, target).squeeze(-1).double().log()
        terms = (log_probs * masked).sum(-1) * length / sizes  # (B, draws)
        # Neighbouring strata have nearly the same size; their differences are sampling error, while
        # the spread over all strata is mostly the dependence on size, which stratifying removes.
        variance = terms.diff(dim=1).square().mean(1) / 2
        return terms.mean(1), (variance / draws).sqrt()

    def known(self, x_0_probs: Tensor, positions: Tensor, letters: Tensor) -> Tensor:
        """The guess, one-hot where letters were written: they stay."""
        index = positions[..., None].expand(-1, -1, self.size)
        written = self._one_hot(letters).to(x_0_probs.dtype)
        written = written.where(letters[..., None] >= 0, x_0_probs.gather(1, index))
        return x_0_probs.scatter(1, index, written)

    def _one_hot(self, letters: Tensor) -> Tensor:
        """(N, P, K) bool; none of a row for what is no letter."""
        import torch

        return letters[..., None] == torch.arange(self.size, device=letters.device)

    def plan(
        self,
        length: int,
        steps: int,
        decoding: Decoding,
        noise: Noise,
        given: Tensor | None = None,
    ) -> Plan:
        """Draw the step at which each position is revealed.

        Args:
            length: L.
            steps: number of steps.
            decoding: ``blocks`` or ``grid``. Rows with fewer free positions than blocks reveal one
                a step, and begin late: all rows end together.
            noise: of B rows.
            given: (B, L) int64 letters that are there from the start, -1 at free positions.
        """
        import torch

        uniform = noise.uniform("reveal", length)
        free = torch.ones_like(uniform, dtype=torch.bool) if given is None else given < 0
        start = torch.full_like(uniform, self.mask, dtype=torch.int64)
        if given is not None:
            start = start.where(free, given)
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64, device=uniform.device)
        if decoding == "grid":
            # Position l is revealed at time u: masked at t with probability m_t = 1 - alpha(t).
            revealed_at = self._schedule.time_of(1 - uniform)
            step_of = torch.searchsorted(-times, -revealed_at, right=True) - 1
            step_of = step_of.clamp(0, steps - 1)
        else:
            count = free.sum(1, keepdim=True)
            rank = uniform.where(free, 2.0).argsort(1).argsort(1)
            step_of = (rank * steps // count.clamp(min=1)).where(
                count >= steps, rank + steps - count
            )
            # Before step i a share i / steps is known: the time at which that is so.
            times = self._schedule.time_of(1 - times)
        step_of = step_of.where(free, -1)
        most, always = _extent(step_of, steps)
        return Plan(start, step_of, times, free, most, always)

    def transition(self, x_t: Tensor, x_0_probs: Tensor, plan: Plan, step: int) -> Transition:
        """Reveal this step's positions."""
        assert plan.step_of is not None
        revealed = plan.step_of == step  # (A, L)
        positions = (~revealed).long().argsort(dim=1, stable=True)[:, : plan.most[step]]  # (A, P)
        probs = x_0_probs.gather(1, positions[..., None].expand(-1, -1, self.size))
        return Transition(positions, probs, revealed.gather(1, positions))


def _extent(step_of: Tensor, steps: int) -> tuple[tuple[int, ...], bool]:
    """The most positions of any row in each step, and whether all rows have some in all steps."""
    counts = step_of.new_zeros(len(step_of), steps + 1)
    place = step_of.where(step_of >= 0, steps)
    counts = counts.scatter_add(1, place, step_of.new_ones(()).expand_as(place))[:, :steps]
    return tuple(counts.amax(0).tolist()), bool((counts > 0).all())
