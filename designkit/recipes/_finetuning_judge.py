"""What a tuned model's designs are like, and whether a run has gone on for too long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from designkit.algorithms.finetuning._rollout import roll_out
from designkit.errors import DesignkitError
from designkit.metrics.diversity import describe_set
from designkit.randomness import noise_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from designkit.algorithms.finetuning.base import Finetuner
    from designkit.models.base import DiffusionModel
    from designkit.rewards import RewardEngine

FIRST_DESIGN = 2**38
"""Number of the first design of an evaluation; those of updates stay far below."""

LIKELIHOOD_DRAWS = 8
LENGTHS = 4
"""Different lengths of an evaluation's designs at most."""


class Judge:
    """Draws designs, always with the same noise, and tells what they are like.

    Args:
        finetuner: says how designs are drawn.
        pretrained: the model before tuning.
        guide: the reward that is raised.
        holdout: rewards that are not; None for none.
        designs: how many to draw.
        seed: of their noise.
        length: of the designs; None takes quantiles of the length law.
        log: the figures of the evaluations of this run so far.
        gap_patience: see ``FinetuneSettings``.
    """

    def __init__(
        self,
        finetuner: Finetuner,
        pretrained: DiffusionModel,
        guide: RewardEngine,
        holdout: RewardEngine | None,
        *,
        designs: int,
        seed: int,
        length: int | None,
        log: Path,
        gap_patience: int,
    ):
        self.finetuner = finetuner.suited(pretrained.process)
        self.pretrained = pretrained
        self.guide = guide
        self.holdout = holdout
        self.designs = designs
        self.seed = seed
        self.lengths = _lengths(pretrained, designs, length)
        self.log = log
        self.gap_patience = gap_patience

    def evaluate(self, model: DiffusionModel) -> dict[str, float]:
        """Figures of an evaluation; ``stop`` is there where the run is to end.

        Raises:
            DesignkitError: all designs of one length are the same.
        """
        found = self.figures(model)
        if found["distinct"] * self.designs <= len(self.lengths):
            raise DesignkitError(
                f"the model has collapsed: its {self.designs} designs are all the same; raise "
                "--alpha, or lower optimizer.learning_rate"
            )
        if "holdout" in found:
            found["loss"] = -found["holdout"]
            found["gap"] = self._gap(found)
            if 0 < self.gap_patience <= found["gap"]:
                found["stop"] = 1.0
        return found

    def figures(self, model: DiffusionModel, first: int = 0) -> dict[str, float]:
        """Figures of a model.

        Args:
            model: the tuned one, or the pretrained.
            first: number of the first design, for others than those of the evaluations.

        Returns:
            ``reward`` and ``holdout``, medians; ``log_likelihood`` under the pretrained model and
            ``path_kl`` from it, means in nats; ``distinct``, ``hamming`` and ``long_runs`` of
            ``describe_set``; ``without_score``, the share without a reward.
        """
        sequences: list[str] = []
        likelihoods, divergences = [], []
        for length, count in self.lengths.items():
            start = FIRST_DESIGN + first + len(sequences)
            noise = noise_for(self.seed, count, start=start, device=model.device)
            assert self.finetuner.decoding is not None
            drawn = roll_out(
                model,
                length,
                self.finetuner.steps_for(length),
                self.finetuner.decoding,
                noise,
                self.pretrained,
            )
            assert drawn.divergence is not None
            divergences.append(drawn.divergence.sum(1).cpu())
            likelihoods.append(self.pretrained.log_likelihood(drawn.x_0, LIKELIHOOD_DRAWS)[0].cpu())
            sequences += self.pretrained.alphabet.decode(drawn.x_0.cpu().numpy())
        rewards = self.guide.score(sequences, monitors=False).reward
        described = describe_set(sequences, self.pretrained.alphabet)
        found = {"reward": _median(rewards)}
        if self.holdout is not None:
            found["holdout"] = _median(self.holdout.score(sequences, monitors=False).reward)
        return found | {
            "log_likelihood": float(torch.cat(likelihoods).mean()),
            "path_kl": float(torch.cat(divergences).mean()),
            **{name: described[name] for name in ("distinct", "hamming", "long_runs")},
            "without_score": float(np.isnan(rewards).mean()),
        }

    def _gap(self, now: dict[str, float]) -> float:
        """Evaluations in a row, this one included, of higher reward and lower held-out reward."""
        if not self.log.exists():
            return 0.0
        before = [json.loads(line) for line in self.log.read_text().splitlines()]
        if not before:
            return 0.0
        best = max(before, key=lambda one: float(one["holdout"]))
        if now["reward"] > best["reward"] and now["holdout"] < best["holdout"]:
            return float(before[-1]["gap"]) + 1
        return 0.0


def _median(values: NDArray[np.float64]) -> float:
    """The median, NaN counting as the lowest of the others; NaN where there are none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan")
    return float(np.median(np.where(np.isfinite(values), values, known.min())))


def _lengths(model: DiffusionModel, designs: int, length: int | None) -> dict[int, int]:
    """Lengths and how many designs have them."""
    if length is not None:
        return {length: designs}
    law = model.length_law
    known = np.repeat(list(law.counts), list(law.counts.values()))
    places = (np.arange(designs) * LENGTHS // designs + 0.5) / LENGTHS
    taken = np.quantile(known, places, method="inverted_cdf").astype(int)
    found, counts = np.unique(taken, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
