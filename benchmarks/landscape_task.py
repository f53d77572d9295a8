"""A measured landscape of all 8-letter sites as a design task whose answers are known.

The prior is trained by ``designkit pretrain`` on the half of the sites with the lower values; the
reward is the table, read by the built-in reward ``landscape``. As everything is enumerated, the
denoiser's guesses are looked up: the same designs and the same counts as from the network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from exact_law import Array, ExactLaw, all_words, denoiser_logits, places
from torch import Tensor

from designkit.alphabet import DNA
from designkit.errors import RewardError
from designkit.models.base import DiffusionModel
from designkit.recipes.options import RunOptions
from designkit.recipes.pretrain import run_pretrain
from designkit.registry.build import load_diffusion_model
from designkit.registry.store import Registry
from designkit.rewards import Scored, load_reward

LENGTH = 8
COLUMN = "{factor}_Escore"
PRIOR = {
    "kind": "prior",
    "alphabet": "dna",
    # The two strands of a site stay together.
    "split": {"by": "group:site", "valid": 0.05, "test": 0.05},
    "architecture": {
        "name": "cnn", "channels": 64, "kernel": 9, "dilations": [1, 1], "repeats": 1,
        "positions": LENGTH, "composition": True,
    },
    "reverse_complement": True,
    "optimizer": {
        "updates": 2000, "batch_size": 256, "learning_rate": 2e-3, "warmup": 50,
        "ema_decay": 0.995, "evaluate_every": 250, "checkpoint_every": 1000,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A factor's landscape and the prior of its lower half.

    Args:
        factor: transcription factor.
        rewards: (65,536,) values of all sites, the first position most significant.
        logits: (5^8, 8, 4) of the prior's denoiser at every state.
        model: the prior.
        version: of the prior, the start of its hash.
    """

    factor: str
    rewards: Array
    logits: Tensor
    model: DiffusionModel
    version: str

    @cached_property
    def law(self) -> ExactLaw:
        """What the prior's sampler draws from."""
        return ExactLaw(self.logits.double().softmax(-1).numpy())

    @cached_property
    def spread(self) -> float:
        """Standard deviation of the reward under the prior."""
        mean = self.law.prior @ self.rewards
        return float(np.sqrt(self.law.prior @ (self.rewards - mean) ** 2))

    @cached_property
    def optima(self) -> Tensor:
        """Places of the best site: one, or two strands."""
        return torch.from_numpy(np.flatnonzero(self.rewards == self.rewards.max()))

    @cached_property
    def top_decile(self) -> Array:
        """(65,536,) 1 for the tenth of all sites with the highest values."""
        cut = np.sort(self.rewards)[-(len(self.rewards) // 10)]
        return (self.rewards >= cut).astype(float)

    def prior(self) -> LookedUp:
        """The prior with a counter of its own."""
        fields = {name: getattr(self.model, name) for name in ("denoiser", "process", "alphabet")}
        return LookedUp(**fields, length_law=self.model.length_law, table=self.logits)

    def objective(self) -> CountedTable:
        """The reward with a counter of its own."""
        return CountedTable(torch.from_numpy(self.rewards), self.optima)


@dataclass
class LookedUp(DiffusionModel):
    """A prior whose denoiser was asked about every state before.

    Args:
        table: (V^L, L, K) logits.
    """

    table: Tensor = field(kw_only=True)

    def logits(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """See ``DiffusionModel.logits``; counted alike."""
        self.counter.add(len(x_t))
        return self.table[places(x_t, self.process.states)]


class CountedTable:
    """The landscape as an objective that counts the distinct sites it was asked for.

    Args:
        rewards: (4^8,) by place.
        optima: places of the best.

    Attributes:
        distinct: sites scored so far.
        found_at: the number of the first optimum among them, counted from 1; None before.
    """

    def __init__(self, rewards: Tensor, optima: Tensor):
        self._rewards = rewards
        self._optima = optima
        self._seen = torch.zeros(len(rewards), dtype=torch.bool)
        self.distinct = 0
        self.found_at: int | None = None

    def values(self, tokens: Tensor) -> Tensor:
        """Rewards (N,) of (N, L) tokens."""
        asked = places(tokens, DNA.size)
        new, first = np.unique(asked[~self._seen[asked]].numpy(), return_index=True)
        order = np.sort(first)
        hits = np.sort(first[np.isin(new, self._optima.numpy())])
        if self.found_at is None and len(hits):
            self.found_at = self.distinct + 1 + int(np.searchsorted(order, hits[0]))
        self._seen[torch.from_numpy(new)] = True
        self.distinct += len(new)
        return self._rewards[asked]

    def score(self, sequences: Sequence[str], *, monitors: bool = True) -> Scored:
        """The same of written sequences; what refiners ask."""
        found = self.values(torch.from_numpy(DNA.encode(sequences))).numpy()
        count = len(sequences)
        return Scored({}, found, [None] * count, np.ones(count, dtype=bool))

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """A measured table has no gradient."""
        raise RewardError("reward 'landscape' is not differentiable")


def load_task(data: Path, factor: str, work: Path) -> Task:
    """The task of a factor; its prior is trained where ``work`` has none yet.

    Args:
        data: table with the column ``sequence`` and one of values for each factor.
        factor: as its column is called.
        work: folder for the prior and the guesses of its denoiser.
    """
    os.environ["DESIGNKIT_HOME"] = str(work / "home")
    reward = load_reward(f"landscape?file={data}&value={COLUMN.format(factor=factor)}")
    sites = DNA.decode(all_words(DNA.size, LENGTH))
    rewards = reward.score(sites).values[:, 0]
    if np.isnan(rewards).any():
        raise SystemExit(f"{data}: not all {len(sites)} sites have a value for {factor}")
    name = f"{factor.lower()}-lower-half"
    if not (work / "home" / "models" / name).exists():
        train_prior(sites, rewards, name, work)
    stored = Registry().find(name)
    model = load_diffusion_model(stored, "cpu")
    version = stored.sha256[:8]
    known = work / f"{name}-{version}.pt"
    if not known.exists():
        torch.save(denoiser_logits(model, LENGTH), known)
    return Task(factor, rewards, torch.load(known, weights_only=True), model, version)


def train_prior(sites: list[str], rewards: Array, name: str, work: Path) -> None:
    """Train a prior on the sites below the median with ``designkit pretrain``, and register it."""
    other = str.maketrans("ACGT", "TGCA")
    strands = [min(site, site[::-1].translate(other)) for site in sites]
    frame = pd.DataFrame({"sequence": sites, "site": strands, "value": rewards})
    lower = frame.sort_values(["value", "site"]).head(len(sites) // 2)
    source = work / f"{name}.csv"
    work.mkdir(parents=True, exist_ok=True)
    lower[["sequence", "site"]].to_csv(source, index=False)
    run_pretrain(
        RunOptions(flags=PRIOR, seed=0, device="cpu", threads=1, quiet=True),
        sources=[str(source)],
        name=name,
        run_dir=str(work / name),
        resume=(work / name).exists(),
    )
