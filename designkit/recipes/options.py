"""What every long command is told on its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from designkit.recipes._parameters import filled_in
from designkit.recipes._until import Until
from designkit.recipes.objective import expand_rewards, reward_layer
from designkit.recipes.presets import preset_of
from designkit.recipes.runtime import parse_duration
from designkit.settings import Layer, flag_layer, merge, parse_set, read_yaml

FLAG_NAMES = {
    "classes.column": "--class-column",
    "data.labels": "--label",
    "kind": "--label",
    "method.name": "--method",
    "method.temperature": "--alpha",
    "temperature": "--alpha",
    "split.by": "--split-group",
    **{f"until.{key}": f"--until {key}" for key in Until.model_fields},
}
"""Flags that are not named after the key they set."""


@dataclass(frozen=True)
class OutputOptions:
    """Where designs go.

    Attributes:
        target: a file, or ``-``.
        format: of the output, None for what its name says.
        force: replace an existing output.
        append: add to it.
        resume: continue an interrupted run.
    """

    target: str = "-"
    format: str | None = None
    force: bool = False
    append: bool = False
    resume: bool = False


@dataclass(frozen=True)
class RunOptions:
    """The common options of a run.

    Attributes:
        preset: name of the preset to start from.
        config: YAML files over it, the last one strongest.
        assignments: ``--set`` values over those.
        flags: dotted key to the value of the flag that sets it, None where it was not given.
        seed: None to draw one.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        threads: CPU threads, None for the default.
        max_time: ``90s``, ``30m``, ``2h``, or None.
        dry_run: say what would be done, and stop.
        quiet: no progress, only warnings.
        rewards: ``--reward`` flags.
    """

    preset: str | None = None
    config: Sequence[str] = ()
    assignments: Sequence[str] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    device: str = "auto"
    threads: int | None = None
    max_time: str | None = None
    dry_run: bool = False
    quiet: bool = False
    rewards: Sequence[str] = ()

    def configuration(self, command: str) -> Layer:
        """Preset < configuration files < ``--set`` < flags of a command, merged."""
        layers = [read_yaml(preset_of(command, self.preset))] if self.preset else []
        layers += [read_yaml(path) for path in self.config]
        layers += [parse_set(self.assignments), reward_layer(self.rewards)]
        layers = filled_in(layers)
        merged = merge([*layers, flag_layer(self.flags, FLAG_NAMES)])
        expand_rewards(merged)
        return merged

    @property
    def seconds(self) -> float | None:
        """``max_time`` in seconds."""
        return parse_duration(self.max_time)
