"""Clocks for work that may run on one thread or on several, and what they time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from designkit import plugins
from designkit.algorithms.sampling.base import Request
from designkit.models.base import DiffusionModel
from designkit.randomness import noise_for
from designkit.rewards import RewardEngine


class Clock:
    """Seconds since it was made: of the CPU with one thread, of the wall with more."""

    def __init__(self) -> None:
        self._read = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        self._start = self._read()

    @property
    def seconds(self) -> float:
        """Since then."""
        return self._read() - self._start


@contextmanager
def inside(owner: type, name: str) -> Iterator[list[float]]:
    """A list whose only element grows by the seconds spent in a method."""
    spent, original = [0.0], getattr(owner, name)

    def timed(*arguments: Any, **keywords: Any) -> Any:
        clock = Clock()
        try:
            return original(*arguments, **keywords)
        finally:
            spent[0] += clock.seconds

    setattr(owner, name, timed)
    try:
        yield spent
    finally:
        setattr(owner, name, original)


def draw(
    model: DiffusionModel, name: str, engine: RewardEngine | None, batch: int, **settings: Any
) -> Tensor:
    """A batch of designs."""
    sampler = plugins.find("designkit.samplers", name)(**settings)
    length = model.length_law.maximum
    noise = noise_for(0, batch)
    tokens: Tensor = sampler.sample(model, engine, Request(length), noise).tokens
    return tokens
