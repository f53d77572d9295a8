"""CPU time of a pretraining update beside the published loop with the same network sizes.

Published: DRAKES (Wang et al. 2024, https://github.com/ChenyuWang-Monica/DRAKES), ``drakes_dna``:
its own ``Diffusion`` module, network and configuration under its own trainer, Lightning. It is
imported unmodified from a checkout, in an environment that has its requirements beside designkit
(lightning, hydra-core, omegaconf, torchmetrics, transformers, scipy):

    python benchmarks/training.py --peer DRAKES/drakes_dna --out out/benchmarks

Without ``--peer`` only designkit is measured. Both loops train on the same number of random
200-letter sequences a batch, on one thread, in turns in one process, and are charged CPU seconds,
so other work on the machine touches both alike. Only updates are timed: set-up, evaluation and
checkpoints are not, and the published data loader works in a process of its own that is not
charged.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from reporting import Measurements, markdown_table, write_report

from designkit.alphabet import DNA
from designkit.diffusion.masked import Masked
from designkit.errors import Interrupted
from designkit.models.cnn import CNNDenoiser
from designkit.recipes._prior import PriorTask
from designkit.recipes._training_data import TrainingData
from designkit.recipes.optimizer import OptimizerSettings
from designkit.recipes.training import build_seeded, train

SEQUENCES = 50_000
LENGTH = 200
WARM_UP_UPDATES = 2
OURS_FP32, OURS_BF16 = "designkit fp32", "designkit bf16"
PEER_FP32, PEER_BF16 = "published fp32", "published bf16"

Loop = Callable[[int, int], float]
"""Batch size and number of timed updates to CPU seconds."""


class UpdateClock:
    """CPU seconds between the end of the warm-up and the last timed update."""

    def __init__(self, updates: int):
        self.last = WARM_UP_UPDATES + updates
        self.started = self.stopped = 0.0

    def updated(self, update: int) -> None:
        """Told of each update when it is done, counted from 1."""
        if update == WARM_UP_UPDATES:
            self.started = time.process_time()
        if update == self.last:
            self.stopped = time.process_time()

    @property
    def seconds(self) -> float:
        """What the timed updates took."""
        assert self.stopped > self.started > 0
        return self.stopped - self.started


class _Progress(UpdateClock):
    def advance(self, update: int, metrics: Mapping[str, float]) -> None:
        self.updated(update)


def designkit_loop(tokens: torch.Tensor, precision: str) -> Loop:
    """The loop behind ``designkit pretrain``, with the published optimizer settings."""
    count = len(tokens)
    data = TrainingData(
        frame=pd.DataFrame({"split": ["train"] * count, "group": range(count)}),
        tokens=tokens,
        lengths=torch.full((count,), LENGTH),
        labels=torch.zeros(count, 0).double().numpy(),
        weights=torch.ones(count).double().numpy(),
        files={},
        counts={},
        split={},
    )
    process = Masked(size=DNA.size)
    task = PriorTask(data, process, DNA, reverse_complement=False)

    def run(batch: int, updates: int) -> float:
        clock = _Progress(updates)
        network = build_seeded(lambda: CNNDenoiser().build(process.states, process.size), 0)
        settings = OptimizerSettings(
            batch_size=batch, schedule="constant", warmup=2500, ema_decay=0.9999,
            evaluate_every=10_000, checkpoint_every=10_000,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            try:
                train(
                    network, task, settings, run_dir=Path(folder), seed=0,
                    accelerator=Accelerator(cpu=True), precision=precision, progress=clock,
                    should_stop=lambda: clock.stopped > 0,
                )  # fmt: skip
            except Interrupted:
                pass
        return clock.seconds

    return run


def published_loop(folder: Path, tokens: torch.Tensor, precision: str) -> Loop:
    """DRAKES' ``Diffusion`` module under Lightning, as its ``main_gosai.py`` runs it.

    Args:
        folder: ``drakes_dna`` of a checkout.
        tokens: (N, L) training sequences.
        precision: Lightning's, ``32-true`` or ``bf16-mixed``.
    """
    sys.path.insert(0, str(folder))
    # Imported by its modules but not used in training: a reward model and a scheduler of timm.
    oracle, timm, scheduler = (types.ModuleType(n) for n in ("oracle", "timm", "timm.scheduler"))
    scheduler.CosineLRScheduler = type("CosineLRScheduler", (), {})  # type: ignore[attr-defined]
    sys.modules |= {"oracle": oracle, "timm": timm, "timm.scheduler": scheduler}
    import diffusion_gosai_update
    import hydra
    import lightning
    from omegaconf import OmegaConf

    for name, resolver in {"cwd": os.getcwd, "device_count": lambda: 1}.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)

    class Sequences(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __len__(self) -> int:
            return len(tokens)

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return {"seqs": tokens[index], "attention_mask": torch.ones(LENGTH)}

    def run(batch: int, updates: int) -> float:
        clock = UpdateClock(updates)

        class Clock(lightning.Callback):  # type: ignore[misc]
            def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
                clock.updated(trainer.global_step)

        with hydra.initialize_config_dir(str(folder / "configs_gosai"), version_base=None):
            config = hydra.compose(
                "config_gosai",
                [f"loader.batch_size={batch}", "loader.num_workers=1", "loader.pin_memory=False"],
            )
        lightning.seed_everything(0)
        trainer = lightning.Trainer(
            accelerator="cpu", devices=1, precision=precision, max_steps=clock.last,
            gradient_clip_val=config.trainer.gradient_clip_val, limit_val_batches=0,
            log_every_n_steps=config.trainer.log_every_n_steps, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[Clock()],
        )  # fmt: skip
        loader = torch.utils.data.DataLoader(Sequences(), batch, shuffle=True)
        trainer.fit(diffusion_gosai_update.Diffusion(config), loader)
        return clock.seconds

    return run


def report(done: Measurements, batches: list[int], sequences: int) -> str:
    """The table of medians, and of ratios to the published fp32 loop of the same round."""
    rows = []
    for batch in batches:
        baseline = done.select("ms_per_sequence", loop=PEER_FP32, batch=batch)
        for loop in (PEER_FP32, PEER_BF16, OURS_FP32, OURS_BF16):
            times = done.select("ms_per_sequence", loop=loop, batch=batch)
            if not times:
                continue
            ratios = [a / b for a, b in zip(baseline, times, strict=False)]
            spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else ""
            rows.append(
                {
                    "batch": str(batch),
                    "loop": loop,
                    "rounds": str(len(times)),
                    "CPU ms a sequence (median)": f"{statistics.median(times):.2f}",
                    "faster than published fp32": (
                        f"{statistics.median(ratios):.2f}{spread}" if ratios else "-"
                    ),
                }
            )
    return (
        f"{markdown_table(rows)}\n"
        f"Default `cnn` denoiser (20 layers, 128 channels, 9 taps), {LENGTH} letters, one thread, "
        f"about {sequences} sequences a round, the loops in turns in one process. Ratios are of "
        "the rounds: median, smallest and largest.\n"
    )


def main() -> None:
    """Measure what is not measured yet, then write ``training.md``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", type=Path, help="drakes_dna of a DRAKES checkout")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--sequences", type=int, default=192, help="timed, a round")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(DNA.size, (SEQUENCES, LENGTH), generator=generator)
    loops = {
        OURS_FP32: designkit_loop(tokens, "fp32"),
        OURS_BF16: designkit_loop(tokens, "bf16"),
    }
    if options.peer:
        peer = options.peer.resolve()
        loops = {
            PEER_FP32: published_loop(peer, tokens, "32-true"),
            PEER_BF16: published_loop(peer, tokens, "bf16-mixed"),
            **loops,
        }
    done = Measurements(
        options.out / "training.csv", ["loop", "batch", "round"], ["ms_per_sequence"]
    )
    for number in range(options.rounds):
        for batch in options.batch:
            updates = max(1, options.sequences // batch)
            for name, loop in loops.items():
                if done.has(name, batch, number):
                    continue
                milliseconds = loop(batch, updates) / (updates * batch) * 1e3
                print(f"round {number}, batch {batch}, {name}: {milliseconds:.2f} ms", flush=True)
                done.add(loop=name, batch=batch, round=number, ms_per_sequence=milliseconds)
    write_report(
        options.out / "training.md",
        "Pretraining throughput",
        report(done, options.batch, options.sequences),
    )


if __name__ == "__main__":
    main()
