"""Roll-outs: designs of a prior with their rewards, drawn once and kept beside the checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from designkit.errors import Interrupted, RewardError, UsageError
from designkit.io.designs import DesignWriter, is_complete
from designkit.io.provenance import sha256_file
from designkit.io.sequences import read_table
from designkit.recipes._training_data import encode_padded
from designkit.recipes.objective import draw_designs

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.models.base import DiffusionModel
    from designkit.recipes._training_run import TrainingRun
    from designkit.recipes.value_settings import ValueSettings
    from designkit.rewards import RewardEngine

ROLLOUTS_FILE = "rollouts.csv"
BATCH = 256
LARGEST_NAN_SHARE = 0.2


@dataclass(frozen=True)
class Rollouts:
    """Finished sequences and what they are worth.

    Attributes:
        tokens: (N, longest) int64, 0 at padding.
        lengths: (N,) int64.
        rewards: (N,) float64; where there is no score, or the sequence is outside the bounds, the
            lowest reward of the others.
        unscored: how many have no score.
        infeasible: how many are outside the bounds.
        sha256: of the file.
    """

    tokens: Tensor
    lengths: Tensor
    rewards: Tensor
    unscored: int
    infeasible: int
    sha256: str

    def rows(self, part: str) -> Tensor:
        """Rows of ``train``, ``valid`` or ``test``: the first eight tenths and two of one each.

        Roll-outs are independent draws, so their order says nothing.
        """
        count = len(self.rewards)
        held = count // 10
        ends = {
            "train": (0, count - 2 * held),
            "valid": (count - 2 * held, count - held),
            "test": (count - held, count),
        }
        return torch.arange(*ends[part])


def load_rollouts(
    run: TrainingRun, settings: ValueSettings, prior: DiffusionModel, engine: RewardEngine
) -> Rollouts:
    """Draw and score what is not in the run's folder yet, then read it.

    Raises:
        Interrupted: stopped; what was scored is kept.
        RewardError: more than a fifth have no score.
        UsageError: all have the same reward.
    """
    target = run.folder / ROLLOUTS_FILE
    if run.accelerator.is_main_process and not is_complete(str(target)):
        _draw(run, settings, prior, engine, str(target))
    run.accelerator.wait_for_everyone()
    frame = read_table(str(target), alphabet=prior.alphabet)
    rewards = frame["reward"].to_numpy(np.float64)
    feasible = ~np.isnan(rewards)
    unscored = int((~feasible).sum())
    if unscored > LARGEST_NAN_SHARE * len(rewards):
        told = frame["reason"].dropna().tolist() if "reason" in frame else []
        raise RewardError(
            f"{unscored} of {len(rewards)} roll-outs have no score "
            f"({next(iter(told), 'no reason given')})"
        )
    if "feasible" in frame:
        feasible &= frame["feasible"].astype(float).to_numpy() == 1
    if not feasible.any() or np.ptp(rewards[feasible]) == 0:
        raise UsageError(
            f"the rewards of all {len(rewards)} roll-outs are the same: there is nothing to learn"
        )
    floor = rewards[feasible].min()
    tokens, lengths = encode_padded(frame["sequence"].tolist(), prior.alphabet)
    return Rollouts(
        tokens,
        lengths,
        torch.from_numpy(np.where(feasible, rewards, floor)),
        unscored,
        int((~feasible).sum()) - unscored,
        sha256_file(str(target)),
    )


def _draw(
    run: TrainingRun,
    settings: ValueSettings,
    prior: DiffusionModel,
    engine: RewardEngine,
    target: str,
) -> None:
    report = run.reporting
    with DesignWriter(target, resume=True) as writer:
        done = writer.rows_resumed
        display = report.progress("roll-outs", settings.rollouts) if report.progress else None
        if display is not None:
            display.advance(done, {})
        while done < settings.rollouts:
            count = min(BATCH, settings.rollouts - done)
            designs = draw_designs(
                prior, count, run.seed, start=done, length=settings.length, steps=settings.steps
            )
            scored = engine.score(designs)
            frame = pd.DataFrame(
                {
                    "id": [f"rollout_{done + place + 1}" for place in range(count)],
                    "sequence": designs,
                    "reward": scored.reward,
                    **scored.columns,
                    "reason": [reason or "" for reason in scored.reasons],
                }
            )
            writer.write(frame)
            done += count
            if display is not None:
                display.advance(done, {"best": float(np.nanmax(scored.reward))})
            if report.should_stop() and done < settings.rollouts:
                raise Interrupted(
                    f"stopped after {done} of {settings.rollouts} roll-outs; --resume continues"
                )
