"""The toy world under uniform noise: exact guesses at any time, computed from the law as needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from designkit.alphabet import Alphabet
from designkit.diffusion.uniform import Uniform
from designkit.models.base import DiffusionModel, LengthLaw
from tests.tabular import Law, World, places


class UniformDenoiser(nn.Module):
    """Logits of p(x_0^l | the other positions of x_t), by enumeration, or bent away from them.

    Args:
        world: the law.
        process: of the noise.
        strength: standard deviation of what is added to the logits, 0 for the exact ones.
    """

    def __init__(self, world: World, process: Uniform, strength: float = 0.0):
        super().__init__()
        self.process = process
        self.strength = nn.Parameter(torch.tensor(strength, dtype=torch.float64))
        rng = np.random.default_rng(5)
        shape = (len(world.clean), world.length, world.size)
        self.register_buffer("bend", torch.from_numpy(rng.normal(size=shape)))
        self.register_buffer("clean", world.clean)
        self.register_buffer("law", torch.from_numpy(world.law))

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        tokens = x_t.argmax(-1)
        logs = shown_given_clean(self.process, self.clean, tokens, t).log()  # (N, K^L, L)
        others = (logs.sum(2, keepdim=True) - logs).exp() * self.law[:, None]
        one_hot = nn.functional.one_hot(self.clean, self.process.size).double()
        exact = torch.einsum("nsl,slk->nlk", others, one_hot).log()
        return exact + self.strength * self.bend[places(tokens, self.process.size)]


def shown_given_clean(process: Uniform, clean: Tensor, tokens: Tensor, t: Tensor) -> Tensor:
    """q(x_t^l | x_0^l) of noisy tokens (N, L) and all clean ones (S, L), (N, S, L)."""
    alpha = process.alpha(t.double())[:, None, None]
    return alpha * (tokens[:, None] == clean) + (1 - alpha) / process.size


@dataclass(frozen=True)
class UniformWorld:
    """A law of clean sequences and a uniform process; all states are ``world.clean``."""

    world: World
    process: Uniform

    def model(self, strength: float = 0.0) -> DiffusionModel:
        """A diffusion model with the exact guesses, or with bent ones."""
        return DiffusionModel(
            UniformDenoiser(self.world, self.process, strength),
            self.process,
            Alphabet("toy", tuple("ABCDEFGH"[: self.world.size])),
            LengthLaw({self.world.length: 1}),
            time_conditioned=True,
        )

    def given(self, time: float) -> Tensor:
        """p(x_t = z | x_0), (K^L clean, K^L noisy)."""
        states = self.world.clean
        times = torch.full((len(states),), time, dtype=torch.float64)
        return shown_given_clean(self.process, states, states, times).prod(2).T

    def clean_given(self, time: float) -> Tensor:
        """p(x_0 | x_t = z), (K^L noisy, K^L clean)."""
        joint = self.given(time).T * torch.from_numpy(self.world.law)
        return joint / joint.sum(1, keepdim=True)

    def posteriors(self, time: float) -> Tensor:
        """p(x_0^l = k | x_t = z), (K^L, L, K)."""
        one_hot = nn.functional.one_hot(self.world.clean, self.world.size).double()
        return torch.einsum("zs,slk->zlk", self.clean_given(time), one_hot)

    def soft_values(self, rewards: Law, temperature: float, time: float) -> Tensor:
        """(K^L,) temperature * log E[exp(r(x_0) / temperature) | x_t]."""
        highest = float(rewards.max())
        weights = torch.from_numpy(np.exp((rewards - highest) / temperature))
        return highest + temperature * (self.clean_given(time) @ weights).log()

    def chain_law(self, model: DiffusionModel, steps: int) -> Law:
        """(K^L,) the law of designs of the unguided sampler, by products of transition matrices."""
        states = self.world.clean
        count, length = states.shape
        law = torch.full((count,), 1 / count, dtype=torch.float64)
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        with torch.no_grad():
            for step in range(steps):
                t, s = times[step].expand(count), times[step + 1].expand(count)
                guess = model.predict_x_0(states, t.float())
                probs = model.process.posterior(states, guess, s, t)
                moves = [probs[:, place][:, states[:, place]] for place in range(length)]
                law = law @ torch.stack(moves).prod(0)
        return law.numpy()

    def nelbo(self, model: DiffusionModel, nodes: int = 60) -> Law:
        """(K^L,) the published bound (Schiff et al.), by quadrature over time and all noise.

        Integrand at share of signal a, for every position with letter z, with A_j and B_j the odds
        of noisy letters against z, given x_0 and given the guess rho: sum_j A_j log(A_j / B_j) -
        A_j + B_j, over K a.
        """
        size, states = self.world.size, self.world.clean
        clean = nn.functional.one_hot(states, size).double()
        total = torch.zeros(len(states), dtype=torch.float64)
        for place, weight in zip(*np.polynomial.legendre.leggauss(nodes), strict=True):
            root = (place + 1) / 2
            signal, noise_share = 1 - root**4, root**4  # d signal = 4 root^3 d root
            time = self.process._schedule.time_of(torch.tensor(signal, dtype=torch.float64))
            with torch.no_grad():
                guess = model.denoiser(clean.float(), time.expand(len(states))).softmax(-1)
            modelled = signal * guess + noise_share / size  # (z, L, K)
            modelled = modelled / modelled.gather(2, states[..., None])
            true = (signal * clean + noise_share / size)[:, None]  # (x_0, 1, L, K)
            true = true.expand(-1, len(states), -1, -1)
            shown = states.expand(len(states), -1, -1)[..., None]
            true = true / true.gather(3, shown)
            rate = (true * (true / modelled).log() - true + modelled).sum(-1)
            assert (rate > -1e-12).all()
            mean = (rate.sum(-1) * self.given(float(time))).sum(1) / (size * signal)
            total += weight / 2 * 4 * root**3 * mean
        return total.numpy()
