"""SVDD as published beside designkit's default: the same prior and reward, judged by another one.

The published loop gets designkit's network itself, so that what is compared is the algorithm and
its loop; its reward is called as it calls it, without remembering a score.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch
from numpy.typing import NDArray
from published_samplers import CANDIDATES, PublishedSampler
from reporting import Measurements, markdown_table
from timing import Clock, draw
from torch import Tensor

from designkit.alphabet import DNA
from designkit.models.base import DiffusionModel
from designkit.recipes.objective import RewardSettings, load_rewards
from designkit.registry.build import load_diffusion_model, load_predictor
from designkit.registry.store import Registry
from designkit.rewards import RewardEngine

GUIDE, JUDGE = "model:yeast-expression", "model:yeast-expression-holdout"
PUBLISHED, DEFAULT = "published", "designkit, default settings"
RESAMPLES = 2000
VALUES = ["seconds", "judge", "judge_low", "judge_high", "log_likelihood", "denoiser_rows",
          "reward_rows"]  # fmt: skip


class PlainReward:
    """A predictor without memory, as the published sampler calls one; counts its rows."""

    def __init__(self) -> None:
        self._predictor = load_predictor(Registry().find(GUIDE.removeprefix("model:")), "cpu")
        # Calls of as many rows as are asked for: the published loop does not fill them up.
        self._predictor._rows = lambda function, arrays, _: function(*arrays)
        self.rows = 0

    @torch.inference_mode()
    def __call__(self, one_hots: Tensor) -> Tensor:
        """(B, L, K) to (B,)."""
        self.rows += len(one_hots)
        return self._predictor.predict(one_hots.argmax(-1))[:, :, 0].double().mean(1)


def by_published(options: argparse.Namespace, model: DiffusionModel) -> tuple[Tensor, int, int]:
    """Designs by the published loop, and the denoiser and reward rows that they took."""
    sampler = PublishedSampler(
        options.peer.resolve(),
        model.denoiser,
        options.published_steps,
        model.length_law.maximum,
        copied=False,
    )
    torch.manual_seed(0)
    reward = PlainReward()
    batch = options.published_batch[0]
    designs = [
        sampler.svdd(batch, CANDIDATES, reward) for _ in range(options.quality_designs // batch)
    ]
    return torch.cat(designs), sampler.rows, reward.rows


def by_default(options: argparse.Namespace, model: DiffusionModel) -> tuple[Tensor, int, int]:
    """Designs by ``sample --method svdd``, and the denoiser and reward rows that they took."""
    engine = RewardEngine(load_rewards([RewardSettings(ref=GUIDE)], "cpu"), alphabet=DNA)
    tokens = draw(model, "svdd", engine, options.quality_designs)
    return tokens, model.counter.rows, engine.rows_scored


def measure_quality(done: Measurements, options: argparse.Namespace) -> None:
    """Both sides once, in seconds, rows, and by the judge."""
    judge = load_rewards([RewardSettings(ref=JUDGE)], "cpu")[0].reward
    for side, design in ((DEFAULT, by_default), (PUBLISHED, by_published)):
        if done.has(side):
            continue
        model = load_diffusion_model(Registry().find(options.model), "cpu")
        draw(model, "ancestral", None, 1)  # warm-up
        model.counter.rows = 0
        clock = Clock()
        tokens, denoiser_rows, reward_rows = design(options, model)
        seconds, count = clock.seconds, len(tokens)
        likelihood, _ = model.log_likelihood(tokens)
        middle, low, high = median(judge.score(DNA.decode(tokens)).values[:, 0])
        done.add(
            side=side, seconds=seconds / count, judge=middle, judge_low=low, judge_high=high,
            log_likelihood=float(likelihood.median()), denoiser_rows=denoiser_rows / count,
            reward_rows=reward_rows / count,
        )  # fmt: skip
        print(side, f"{seconds / count:.3f} s a design, judge {middle:.2f}", flush=True)


def median(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The median and its 95 % bootstrap interval."""
    picks = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[picks], axis=1), [0.025, 0.975])
    return float(statistics.median(values)), float(low), float(high)


def report_quality(done: Measurements, options: argparse.Namespace) -> str:
    """A row for each side."""
    rows = []
    slowest = max((float(row["seconds"]) for row in done.rows), default=0.0)
    for row in done.rows:
        number = {name: float(row[name]) for name in VALUES}
        rows.append(
            {
                "svdd": row["side"],
                "judge, median": "{judge:.2f} ({judge_low:.2f}-{judge_high:.2f})".format(**number),
                "log-likelihood": f"{number['log_likelihood']:.1f}",
                "denoiser rows": f"{number['denoiser_rows']:.0f}",
                "reward rows": f"{number['reward_rows']:.0f}",
                "seconds a design": f"{number['seconds']:.3f}",
                "faster": f"{slowest / number['seconds']:.1f}",
            }
        )
    if not rows:
        return ""
    return (
        f"\n## SVDD at its defaults beside the published one\n\n{markdown_table(rows)}\n"
        f"{options.quality_designs} designs of `{options.model}`, guided by `{GUIDE[6:]}`, judged "
        f"by `{JUDGE[6:]}`, which no sampler saw; 95 % intervals by bootstrap. The published loop "
        f"runs designkit's network ({options.published_steps} steps of the time grid, {CANDIDATES} "
        f"candidates, batches of {options.published_batch[0]}).\n"
    )
