"""Uniform-state diffusion: UDLM, Schiff et al. 2024, arXiv 2412.10193.

Every position keeps its letter with probability alpha(t) and is otherwise drawn anew, uniformly
over the K letters: q(x_t | x_0) = alpha_t [x_t = x_0] + (1 - alpha_t) / K. There is no mask: what a
position shows may be wrong, and a reverse step may revise any of them.

With q(z | j) for the noise between s and t, alpha_{t|s} = alpha_t / alpha_s, a reverse step from
x_t = z draws each position from

    p(x_s = j | x_t) = sum_k pi_k q(x_s = j | x_t = z, x_0 = k),    pi_k = p(x_0 = k | x_t),

which is the marginal law of the position, so that many small steps give the model itself. Three
facts follow from Bayes and are what this file rests on:

* pi_k is proportional to rho_k q(x_t = z | x_0 = k), where rho_k = p(x_0 = k | all other positions
  of x_t). The logits of the denoiser are those of rho: how far a position's own letter is to be
  believed depends on the time alone and need not be learned.
* The mixture over k equals the published q(x_s | x_t, x_0) with rho in the place of x_0,
  q(z | j) (alpha_s rho_j + (1 - alpha_s) / K), normalised. With pi in that place it is another,
  wrong law. The loss has its minimum at rho for the same reason.
* At t = 1 a sequence says nothing of x_0, so a start drawn at random needs no weight.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from designkit.diffusion.base import (
    Decoding,
    DiffusionProcess,
    LogitsFunction,
    Plan,
    Revision,
    Transition,
    X0Function,
    softmax,
)
from designkit.randomness import Noise, noise_for

if TYPE_CHECKING:
    from torch import Tensor

_NOISE_SHARES = (1e-9, 1 - 1e-6)
"""Nearer to 0 or 1 shares of noise are not drawn; their part of the NELBO is lost in rounding."""

_LEAST_PROBABILITY = 1e-200
"""Of a letter that x_t does not show, in the place of 0 at t = 0, where the guess is 0 too."""

_LIKELIHOOD_SEED = 0
"""The noise of likelihood estimates is the same for every sequence and every model."""


class Uniform(DiffusionProcess):
    """Uniform noise over K letters.

    Attributes:
        schedule: noise schedule; matters for the steps of decoding, the NELBO does not depend on
            it.
    """

    schedule: Literal["quadratic", "linear", "cosine"] = "quadratic"

    decodings: ClassVar[tuple[Decoding, ...]] = ("grid",)
    needs_time: ClassVar[bool] = True
    reveals: ClassVar[bool] = False

    @property
    def states(self) -> int:
        """K letters."""
        return self.size

    def corrupt(self, x_0: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """Draw each token anew with probability 1 - alpha(t)."""
        keep = noise.uniform("corrupt", x_0.shape[1]) < self.alpha(t.double())[:, None]
        return x_0.where(keep, self._letters(noise, "corrupt-letter", x_0.shape[1]))

    def x_0_probs(self, logits: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """pi: softmax of the logits, times q(x_t | x_0), normalised."""
        shown = self._law(x_t, self.alpha(t.double())).log()
        return softmax(logits + shown.to(logits.dtype))

    def known(self, x_0_probs: Tensor, positions: Tensor, letters: Tensor) -> Tensor:
        """The guess itself: no noisy letter is certain."""
        return x_0_probs

    def posterior(self, x_t: Tensor, x_0_probs: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Law of x_s: the mixture over x_0 of q(x_s | x_t, x_0), see the top of this file."""
        alpha_s, alpha_t = self.alpha(s.double()), self.alpha(t.double())
        within = self._law(x_t, alpha_t / alpha_s)  # q(x_t | x_s) of every x_s
        shown = self._law(x_t, alpha_t).clamp(min=_LEAST_PROBABILITY)
        return within * self._noised(x_0_probs / shown, alpha_s)

    def loss(
        self, denoiser: LogitsFunction, x_0: Tensor, noise: Noise, valid: Tensor | None = None
    ) -> Tensor:
        """Continuous-time NELBO (Schiff et al. eq. 16) at low-discrepancy times, (B,) nats.

        In the published integrand (see ``_rate``) what the denoiser has no part in is replaced by
        its mean, whose integral is L log K: the same NELBO with far less variance. The shares of
        noise are spread over the batch as u_i = ((v_i + i) / B)^2, as the variance of the integrand
        grows like 1 / u. The reconstruction term is 0, as x_0 can be read off x_t for t to 0.
        """
        import torch
        import torch.nn.functional as functional

        batch = x_0.shape[0]
        place = torch.arange(batch, device=x_0.device)
        places = (noise.uniform("time") + place) / batch
        t, weight = self._time(places.square()), 2 * places
        x_t = self.corrupt(x_0, t, noise)
        noisy = functional.one_hot(x_t, self.states).float()
        logits = denoiser(noisy, t, valid=valid)
        terms = self._terms(x_0, x_t, self.x_0_probs(logits.double(), x_t, t), t, weight)
        return (terms if valid is None else terms * valid).sum(1).float()

    def log_likelihood(
        self, predict_x_0: X0Function, x_0: Tensor, draws: int
    ) -> tuple[Tensor, Tensor]:
        """Estimate of minus the NELBO, a lower bound of log p(x_0 | length), with standard error.

        For the exact denoiser it is the log-likelihood itself. ``draws`` noisy versions, whose
        numbers of letters drawn anew are stratified over 0..L, share their noise between all
        sequences of a length. With n of L letters anew, n > 0, the integral over the share of noise
        b of Binomial(n; L, b) g(b) is 1 / n times the mean of b g(b) over b ~ Beta(n, L - n + 1),
        the n-th smallest of L uniform numbers; with none, the mean of g(b) over Beta(1, L + 1),
        divided by L + 1.

        Args:
            predict_x_0: noisy tokens and times to probabilities.
            x_0: (B, L) clean tokens.
            draws: number of noisy versions, at least 2.

        Returns:
            Mean and standard error in nats, both (B,) float64.
        """
        import torch

        batch, length = x_0.shape
        noise = noise_for(_LIKELIHOOD_SEED, draws, device=x_0.device)
        place = torch.arange(draws, device=x_0.device)
        scaled = (noise.uniform("likelihood-number") + place) / draws * (length + 1)
        number = scaled.long()  # of letters drawn anew
        uniform = noise.uniform("likelihood-place", length)
        anew = uniform.argsort(1).argsort(1) < number[:, None]  # (draws, L)
        smallest = uniform.sort(1).values.gather(1, (number - 1).clamp(min=0)[:, None]).squeeze(1)
        none = 1 - (1 - scaled).clamp(min=0) ** (1 / (length + 1))
        share = smallest.where(number > 0, none)
        weight = ((length + 1) * smallest / number.clamp(min=1)).where(number > 0, 1.0)
        letters = self._letters(noise, "likelihood-letter", length)
        x_t = letters.where(anew, x_0[:, None]).flatten(0, 1)  # (B * draws, L)
        clean = x_0.repeat_interleave(draws, 0)
        t, weight = self._time(share).repeat(batch), weight.repeat(batch)
        terms = self._terms(clean, x_t, predict_x_0(x_t, t).double(), t, weight)
        bounds = -terms.sum(1).view(batch, draws)
        # Neighbouring strata are nearly alike; their differences are sampling error.
        variance = bounds.diff(dim=1).square().mean(1) / 2
        return bounds.mean(1), (variance / draws).sqrt()

    def plan(
        self,
        length: int,
        steps: int,
        decoding: Decoding,
        noise: Noise,
        given: Tensor | None = None,
    ) -> Plan:
        """Draw the start; every free position may change in every step.

        Letters that are given are there from the start, as if they had never been noisy. The
        denoiser takes them for as noisy as the others, so they guide it less than they should.

        Args:
            length: L.
            steps: number of steps.
            decoding: ``grid``.
            noise: of B rows.
            given: (B, L) int64 letters that are never changed, -1 at free positions.

        Raises:
            ValueError: another decoding.
        """
        import torch

        if decoding not in self.decodings:
            raise ValueError(f"uniform noise is not decoded in {decoding}")
        start = self._letters(noise, "start", length)
        free = torch.ones_like(start, dtype=torch.bool) if given is None else given < 0
        if given is not None:
            start = start.where(free, given)
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64, device=start.device)
        always = given is None or bool(free.any(1).all())
        return Plan(start, None, times, free, (length,) * steps, always)

    def transition(self, x_t: Tensor, x_0_probs: Tensor, plan: Plan, step: int) -> Transition:
        """All free positions, each by its reverse law."""
        import torch

        rows, length = x_t.shape
        t, s = plan.times[step].expand(rows), plan.times[step + 1].expand(rows)
        positions = torch.arange(length, device=x_t.device).expand(rows, -1)
        law = partial(self.posterior, x_t, s=s, t=t)
        return Revision(positions, law(x_0_probs), plan.free, x_0_probs, law)

    def _letters(self, noise: Noise, purpose: str, length: int) -> Tensor:
        return (noise.uniform(purpose, length) * self.size).long()

    def _law(self, tokens: Tensor, alpha: Tensor) -> Tensor:
        """q(x_t = j | x_0) of all j for tokens x_0, or q(x_t | x_0 = j) for tokens x_t: (B, L, K).

        Both are alpha [same] + (1 - alpha) / K, as the noise is symmetric. Tokens (B, L) may be
        one-hots or probabilities (B, L, K) too.
        """
        import torch.nn.functional as functional

        share = alpha[:, None, None]
        shown = functional.one_hot(tokens, self.size) if tokens.ndim == 2 else tokens
        return share * shown + (1 - share) / self.size

    def _noised(self, weights: Tensor, alpha: Tensor) -> Tensor:
        """Weights of letters (B, L, K) after noise that leaves a share ``alpha`` (B,) of signal."""
        share = alpha[:, None, None]
        return share * weights + (1 - share) / self.size * weights.sum(-1, keepdim=True)

    def _time(self, share: Tensor) -> Tensor:
        """Times (N,) float32 of shares of noise (N,)."""
        import torch

        return self._schedule.time_of(1 - share.clamp(*_NOISE_SHARES)).to(torch.float32)

    def _terms(
        self, x_0: Tensor, x_t: Tensor, x_0_probs: Tensor, t: Tensor, weight: Tensor
    ) -> Tensor:
        """One-sample NELBO of each position (B, L), in nats.

        With A_j = q(j | x_0) / q(z | x_0) at time t, z being the letter of x_t, and B_j the same
        for the denoiser's guess, the published integrand over alpha from 0 to 1 is

            [sum_j A_j log(A_j / B_j) - A_j + B_j] / (K alpha).

        The mean over z of sum_j A_j is K, and that of sum_j A_j log A_j, divided by K alpha,
        integrates to log K.
        """
        import math

        alpha = self.alpha(t.double())
        true = self._law(x_0, alpha)
        true = true / true.gather(-1, x_t[..., None])
        guess = self._noised(x_0_probs / self._law(x_t, alpha), alpha)
        guess = guess / guess.gather(-1, x_t[..., None])
        rate = guess.sum(-1) - self.size - (true * guess.log()).sum(-1)
        return math.log(self.size) + (weight / (self.size * alpha))[:, None] * rate
