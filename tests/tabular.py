"""The toy world: a known law p(x_0) over all K^L sequences, and everything that follows from it.

Its denoiser holds the exact conditionals of every half-masked sequence in a table, so samplers and
objectives can be compared with enumerated truths instead of with other estimates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from designkit.algorithms.sampling.base import Children
from designkit.algorithms.sampling.svdd import SVDD
from designkit.algorithms.values.base import Objective, States, ValueEstimator, Values
from designkit.alphabet import Alphabet
from designkit.diffusion.base import DiffusionProcess, Plan
from designkit.diffusion.masked import Masked
from designkit.models.base import DiffusionModel, LengthLaw
from designkit.randomness import Noise, noise_for

Law = NDArray[np.float64]


class TabularDenoiser(nn.Module):
    """Logits looked up by the noisy sequence; with the table free it can represent any denoiser.

    Args:
        table: (V^L, L, K) logits of each noisy sequence, the first position most significant.
        states: V.
    """

    def __init__(self, table: Tensor, states: int):
        super().__init__()
        self.table = nn.Parameter(table)
        self.states = states

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        radix = self.states ** torch.arange(x_t.shape[1] - 1, -1, -1)
        return self.table[(x_t.argmax(-1) * radix).sum(1)]


class ClassDenoiser(nn.Module):
    """A table for each class and for the null class, the last.

    Args:
        tables: (C + 1, V^L, L, K) logits.
        states: V.
    """

    def __init__(self, tables: Tensor, states: int):
        super().__init__()
        self.tables = nn.Parameter(tables)
        self.states = states

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        radix = self.states ** torch.arange(x_t.shape[1] - 1, -1, -1)
        place = (x_t.argmax(-1) * radix).sum(1)
        return self.tables[-1 if condition is None else condition, place]


@dataclass
class CountedTable:
    """An objective that looks rewards up and counts what it is asked.

    Args:
        table: (K^L,) rewards.
        size: K.
    """

    table: Law
    size: int
    rows: int = 0
    seen: set[int] = field(default_factory=set)

    def values(self, tokens: Tensor) -> Tensor:
        place = places(tokens, self.size)
        self.rows += len(place)
        self.seen.update(place.tolist())
        return torch.from_numpy(self.table)[place]

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """The mean reward of independent letters with these probabilities."""
        words = _all_words(self.size, probs.shape[1])
        chosen = probs[:, torch.arange(probs.shape[1])[:, None], words.T]  # (N, L, K^L)
        return chosen.double().prod(1) @ torch.from_numpy(self.table)


@dataclass(frozen=True)
class World:
    """A law over all sequences of L letters out of K.

    Args:
        law: (K^L,) probabilities, the first position most significant.
        size: K.
        length: L.
    """

    law: Law
    size: int
    length: int

    @cached_property
    def clean(self) -> Tensor:
        """(K^L, L) all clean sequences."""
        return _all_words(self.size, self.length)

    @cached_property
    def noisy(self) -> Tensor:
        """(V^L, L) all noisy sequences."""
        return _all_words(self.size + 1, self.length)

    @cached_property
    def completes(self) -> NDArray[np.bool_]:
        """(V^L, K^L) whether a clean sequence agrees with the unmasked part of a noisy one."""
        noisy, clean = self.noisy.numpy(), self.clean.numpy()
        return np.asarray(
            ((noisy[:, None] == self.size) | (noisy[:, None] == clean[None])).all(2), dtype=bool
        )

    @cached_property
    def conditionals(self) -> Law:
        """(V^L, L, K) p(x_0^l = k | unmasked letters); uniform where these have probability 0."""
        mass = self.completes * self.law
        one_hot = np.eye(self.size)[self.clean.numpy()]
        joint = np.einsum("vs,slk->vlk", mass, one_hot)
        total = mass.sum(1)[:, None, None]
        return np.where(total > 0, joint / np.where(total > 0, total, 1), 1 / self.size)

    def model(self, conditionals: Law | None = None, schedule: str = "linear") -> DiffusionModel:
        """A diffusion model with the exact conditionals, or with others."""
        table = self.logits(self.conditionals if conditionals is None else conditionals)
        return DiffusionModel(
            TabularDenoiser(torch.from_numpy(table).float(), self.size + 1),
            Masked(size=self.size, schedule=schedule),
            Alphabet("toy", tuple("ABCDEFGH"[: self.size])),
            LengthLaw({self.length: 1}),
        )

    def logits(self, conditionals: Law) -> Law:
        """(V^L, L, K) what a denoiser says: logarithms, and anything at known positions."""
        with np.errstate(divide="ignore"):
            logs = np.log(conditionals)
        hidden = (self.noisy == self.size).numpy()[..., None]
        return np.where(hidden, logs, np.random.default_rng(6).normal(size=logs.shape))

    def wrong_conditionals(self, strength: float = 1.0, seed: int = 5) -> Law:
        """Conditionals that are not those of any one law."""
        noise = np.random.default_rng(seed).normal(size=self.conditionals.shape)
        tilted = self.conditionals * np.exp(strength * noise)
        return np.asarray(tilted / tilted.sum(-1, keepdims=True))

    def objective(self, rewards: Law) -> CountedTable:
        return CountedTable(rewards, self.size)

    def tilted(self, rewards: Law, temperature: float) -> Law:
        """p(x) exp(r(x) / temperature), normalised."""
        weights = self.law * np.exp((rewards - rewards.max()) / temperature)
        return np.asarray(weights / weights.sum())

    def soft_values(self, rewards: Law, temperature: float) -> Law:
        """(V^L,) temperature * log E[exp(r(x_0) / temperature) | x_t]; 0 is the largest reward."""
        mass = self.completes * self.law
        if temperature == 0:
            return np.asarray(np.where(mass > 0, rewards, -np.inf).max(1))
        expected = mass @ np.exp((rewards - rewards.max()) / temperature) / mass.sum(1)
        return np.asarray(rewards.max() + temperature * np.log(expected))

    def nelbo(self, conditionals: Law) -> Law:
        """(K^L,) sum_k (1/k) E_{|M|=k} sum_{l in M} -log pi(l, x_0^l | x_0 outside M)."""
        from math import comb

        total = np.zeros(len(self.clean))
        for hidden in _all_words(2, self.length).bool().numpy():
            masked = int(hidden.sum())
            if not masked:
                continue
            x_t = np.where(hidden, self.size, self.clean.numpy())
            guess = conditionals[places(torch.from_numpy(x_t), self.size + 1).numpy()]
            surprise = -np.log(np.take_along_axis(guess, self.clean.numpy()[..., None], 2)[..., 0])
            total += (surprise * hidden).sum(1) / masked / comb(self.length, masked)
        return total


@dataclass(frozen=True)
class JointWorld:
    """A law of sequences and classes: p(x_0 | y) of each class, and p(y).

    Args:
        worlds: the law of each class.
        shares: p(y).
    """

    worlds: tuple[World, ...]
    shares: tuple[float, ...]

    @cached_property
    def marginal(self) -> World:
        """p(x_0), the law of the null class."""
        law = sum(p * world.law for p, world in zip(self.shares, self.worlds, strict=True))
        return World(np.asarray(law), self.worlds[0].size, self.worlds[0].length)

    def model(self) -> DiffusionModel:
        """The model with the exact conditionals of every class, ``class_0``, ``class_1``, ..."""
        each = [*self.worlds, self.marginal]
        tables = np.stack([world.logits(world.conditionals) for world in each])
        plain = self.marginal.model()
        return DiffusionModel(
            ClassDenoiser(torch.from_numpy(tables).float(), self.marginal.size + 1),
            plain.process,
            plain.alphabet,
            plain.length_law,
            classes=tuple(f"class_{y}" for y in range(len(self.worlds))),
        )


def make_joint_world(size: int = 3, length: int = 4) -> JointWorld:
    """Two classes, the second of which lacks some sequences of the first."""
    first = make_world(size, length, seed=0)
    law = make_world(size, length, seed=3).law[::-1] * np.where(first.clean[:, 0] == 0, 0.0, 1.0)
    return JointWorld((first, World(law / law.sum(), size, length)), (0.6, 0.4))


def places(tokens: Tensor, size: int) -> Tensor:
    """(N,) place of (N, L) tokens among all words of ``size`` letters."""
    radix = size ** torch.arange(tokens.shape[1] - 1, -1, -1)
    return (tokens * radix).sum(1)


def _all_words(size: int, length: int) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(size)] * length).reshape(-1, length)


def make_world(size: int = 4, length: int = 4, seed: int = 0) -> World:
    """A law with strong dependence between positions: each letter is uniform, nearly, on its own.

    Most mass has letters whose sum is 1 modulo K, which shows only when all positions but one are
    known; some is palindromic; the rest is arbitrary, so that nothing is symmetric.
    """
    words = _all_words(size, length).numpy()
    parity = (words.sum(1) % size == 1).astype(float)
    palindrome = (words == words[:, ::-1]).all(1).astype(float)
    rough = np.random.default_rng(seed).dirichlet(np.ones(len(words)))
    law = 0.6 * parity / parity.sum() + 0.2 * palindrome / palindrome.sum() + 0.2 * rough
    return World(law / law.sum(), size, length)


def make_rewards(world: World, seed: int = 1) -> Law:
    """Arbitrary rewards of standard deviation 1, with a part that no single position shows."""
    rng = np.random.default_rng(seed)
    pair = rng.normal(size=(world.size, world.size))
    words = world.clean.numpy()
    rewards = pair[words[:, 0], words[:, -1]] + 0.5 * rng.normal(size=len(words))
    return np.asarray((rewards - rewards.mean()) / rewards.std())


def tv(first: Law, second: Law) -> float:
    """Total variation distance of two laws."""
    return float(np.abs(first - second).sum() / 2)


def tv_excess(samples: Tensor, exact: Law) -> float:
    """Measured total variation minus the mean of as many exact draws, simulated.

    Args:
        samples: (N, L) clean tokens.
        exact: (K^L,) the law that they are to have.
    """
    count, length = samples.shape
    size = round(len(exact) ** (1 / length))
    measured = np.bincount(places(samples, size).numpy(), minlength=len(exact)) / count
    draws = np.random.default_rng(0).multinomial(count, exact, size=100) / count
    return tv(measured, exact) - float(np.abs(draws - exact).sum(1).mean() / 2)


class ExactValue(ValueEstimator):
    """The soft value by enumeration."""

    table: tuple[float, ...]
    states: int

    def values(self, reward: Objective, states: States, temperature: float) -> Values:
        table = torch.tensor(self.table, dtype=torch.float64)
        return Values(table[places(states.tokens, self.states)])


class ExactSVDD(SVDD):
    """SVDD whose value estimator is the exact one, given as a table over noisy sequences."""

    table: tuple[float, ...]
    states: int

    def estimator(self) -> ValueEstimator:
        return ExactValue(table=self.table, states=self.states)


def exact_svdd(
    world: World,
    rewards: Law,
    temperature: float,
    candidates: int,
    *,
    value_temperature: float | None = None,
    kind: Callable[..., ExactSVDD] = ExactSVDD,
    **settings: object,
) -> ExactSVDD:
    """SVDD with the exact value at its own temperature, or at a wrong one."""
    at = temperature if value_temperature is None else value_temperature
    return kind(
        candidates=candidates,
        temperature=temperature,
        table=tuple(world.soft_values(rewards, at).tolist()),
        states=world.size + 1,
        **settings,
    )


def children_worth(values: Tensor, *, last: bool = False, step: int = 0) -> Children:
    """Children (A, M) of the first A designs of seed 0 that are worth so much."""
    parents = len(values)
    return Children(
        tokens=torch.zeros(*values.shape, 1, dtype=torch.int64),
        values=values,
        log_ratio=torch.zeros_like(values),
        log_prob=torch.zeros_like(values),
        rows=torch.arange(parents),
        step=step,
        last=last,
        noise=noise_for(0, parents).at(step),
    )


def propose(
    process: DiffusionProcess,
    x_t: Tensor,
    x_0_probs: Tensor,
    plan: Plan,
    step: int,
    noise: Noise,
    candidates: int = 1,
) -> Tensor:
    """(A, M, L) children of (A, L) states."""
    law = process.transition(x_t, x_0_probs, plan, step)
    return law.write(x_t, law.draw(noise.at(step), candidates))


def independent_world(size: int = 4, length: int = 4, seed: int = 2) -> tuple[World, Law]:
    """Independent positions, and a reward that is a sum over them."""
    rng = np.random.default_rng(seed)
    letters, worth = rng.dirichlet(np.ones(size), size=length), rng.normal(size=(length, size))
    clean, place = _all_words(size, length).numpy(), np.arange(length)
    return World(letters[place, clean].prod(1), size, length), worth[place, clean].sum(1)


def half_way(model: DiffusionModel, tokens: Tensor) -> States:
    """States (N, L) after the first of L steps, with the model's guess of them."""
    count, length = tokens.shape
    noise = noise_for(0, count)
    plan = model.process.plan(length, length, "blocks", noise)
    with torch.no_grad():
        probs = model.predict_x_0(tokens, plan.times[1].float().expand(count))
    return States(
        tokens,
        probs,
        noise.item,
        1,
        plan,
        noise,
        model.predict_x_0,
        torch.zeros(len(tokens), dtype=torch.float64),
    )
