"""Designs that are trained on again: buffers of a module, so that checkpoints hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from designkit.algorithms.finetuning._trajectories import Trajectories

if TYPE_CHECKING:
    from torch import Tensor


class Collections(nn.Module):
    """The last collections of designs, each of one update and one length.

    Args:
        slots: collections that are kept.
        rows: designs of a collection.
        length: of the longest designs.
        columns: names of numbers of each design.
        per_step: names of numbers of each step of each design.
        steps: most steps of a design whose trajectory is kept; 0 keeps no trajectories.
    """

    def __init__(
        self,
        slots: int,
        rows: int,
        length: int,
        columns: Sequence[str] = (),
        per_step: Sequence[str] = (),
        steps: int = 0,
    ):
        super().__init__()
        self.slots = slots
        whole = (slots, rows, length)
        self.register_buffer("length", torch.zeros(slots, dtype=torch.int64))
        self.register_buffer("x_0", torch.zeros(whole, dtype=torch.int64))
        if steps:
            self.register_buffer("step_of", torch.zeros(whole, dtype=torch.int64))
            self.register_buffer("last_step", torch.zeros(slots, dtype=torch.int64))
            self.register_buffer("times", torch.zeros(slots, steps + 1, dtype=torch.float64))
        self._columns, self._per_step = tuple(columns), tuple(per_step)
        for name in columns:
            self.register_buffer(name, torch.zeros(slots, rows, dtype=torch.float64))
        for name in per_step:
            self.register_buffer(name, torch.zeros(slots, rows, steps, dtype=torch.float64))

    def write(
        self, slot: int, x_0: Tensor, trajectories: Trajectories | None = None, **numbers: Tensor
    ) -> None:
        """Put a collection in the place of another.

        Args:
            slot: 0 to ``slots`` - 1.
            x_0: (rows, L).
            trajectories: of the designs, where they are kept.
            numbers: of each column.
        """
        length = x_0.shape[1]
        self.get_buffer("length")[slot] = length
        self.get_buffer("x_0")[slot, :, :length] = x_0
        if trajectories is not None:
            self.get_buffer("step_of")[slot, :, :length] = trajectories.step_of
            self.get_buffer("last_step")[slot] = trajectories.steps
            self.get_buffer("times")[slot, : trajectories.steps + 1] = trajectories.times
        for name in self._columns:
            self.get_buffer(name)[slot] = numbers[name]
        for name in self._per_step:
            self.get_buffer(name)[slot, :, : numbers[name].shape[1]] = numbers[name]

    def read(self, slot: int) -> Mapping[str, Tensor]:
        """The designs of a collection, ``x_0`` (rows, L), and their columns."""
        length = int(self.get_buffer("length")[slot])
        found = {name: self.get_buffer(name)[slot] for name in self._columns + self._per_step}
        return {"x_0": self.get_buffer("x_0")[slot, :, :length], **found}

    def trajectories(self, slot: int, mask: int) -> Trajectories:
        """The trajectories of a collection.

        Args:
            slot: of a collection that was written with them.
            mask: token of the mask.
        """
        length, steps = (int(self.get_buffer(name)[slot]) for name in ("length", "last_step"))
        return Trajectories(
            self.get_buffer("x_0")[slot, :, :length],
            self.get_buffer("step_of")[slot, :, :length],
            self.get_buffer("times")[slot, : steps + 1],
            mask,
        )
