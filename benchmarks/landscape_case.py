"""The methods that the landscape benchmark compares, with their settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from landscape_chains import Chains

from designkit import plugins
from designkit.algorithms.refinement.base import Refiner
from designkit.algorithms.sampling.base import Sampler
from designkit.settings import Layer, Settings, validate

OWN, PARENT, DRAWN, ROLLED = "own guess", "parent's guess", "16 completions", "4 roll-outs"
VALUES: dict[str, dict[str, Any]] = {
    OWN: {"name": "posterior_mean", "guess": "own"},
    PARENT: {"name": "posterior_mean", "guess": "parent"},
    DRAWN: {"name": "monte_carlo", "completions": 16},
    ROLLED: {"name": "rollout", "completions": 4},
}
"""How half-decoded designs are valued; the first two are posterior means."""


@dataclass(frozen=True)
class Grid:
    """What is varied of a method whose law is measured.

    Args:
        size: the setting that says how much it spends.
        sizes: of that setting; None for the default.
        values: keys of ``VALUES``; empty where nothing half-decoded is valued.
    """

    size: str = ""
    sizes: tuple[int | None, ...] = (None,)
    values: tuple[str, ...] = ("",)


GRIDS = {
    "ancestral": Grid(),
    "best_of_n": Grid("candidates", (4, 16, 64, 256)),
    "svdd": Grid("candidates", (4, 10, 40), (OWN, PARENT, DRAWN, ROLLED)),
    "classifier": Grid(values=(OWN, PARENT, DRAWN, ROLLED)),
    # A single child is on its way already: its own guess takes no denoiser row.
    "smc": Grid("particles", (16, 64, 256), (OWN, DRAWN, ROLLED)),
    "nested_is": Grid("particles", (16, 64), (PARENT, DRAWN)),
    "mh": Grid("rounds", (8, 32, 128)),
    "ladder": Grid("rounds", (8, 32)),
    "svdd_r": Grid("particles", (16,), (PARENT, DRAWN)),
    "beam": Grid("beams", (4, 16), (PARENT, DRAWN)),
    "mcts": Grid("iterations", (1, 4), (OWN, DRAWN)),
}
OPTIMISERS = ("svdd_r", "beam", "mcts")
"""Methods that do not claim to follow the target at any size."""

FLAT = {"name": "ancestral", "denoiser_temperature": 3.0}
NEIGHBOURS = {"population": 2, "offspring": 8, "crossover": 0.0, "patience": 5.3}
REFINERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("rerd", {}),
    ("rerd", {**NEIGHBOURS, "fraction": 0.125, "sampler": FLAT}),
    ("genetic", {}),
    ("genetic", {**NEIGHBOURS, "mutations": 0.01}),
    ("mh", {}),
    ("ladder", {}),
)
"""Refiners that hunt: as they come, and one letter at a time from the best two."""


@dataclass(frozen=True)
class Case:
    """A method with its settings.

    Args:
        method: name of the sampler or refiner.
        settings: as JSON; ``rounds`` of a refiner whose law is measured among them.
        value: a key of ``VALUES``; empty where nothing half-decoded is valued.
    """

    method: str
    settings: str
    value: str = ""

    @property
    def label(self) -> str:
        """The method and its settings in few words."""
        words = []
        for name, setting in json.loads(self.settings).items():
            if name == "value":
                words.append(self.value)
            elif isinstance(setting, dict):
                words += [f"{key} {of}" for key, of in setting.items() if key != "name"]
            else:
                words.append(f"{name} {setting}")
        return ", ".join([f"`{self.method}`", *words])

    @property
    def refines(self) -> bool:
        """Whether the method is a refiner."""
        return self.method in plugins.names("designkit.refiners")

    def where(self) -> dict[str, str]:
        """What names its measurements."""
        return {"method": self.method, "settings": self.settings}

    def _made(self, temperature: float, room: str) -> tuple[Settings, int]:
        plugin = plugins.find(room, self.method)
        fields = json.loads(self.settings)
        rounds = fields.pop("rounds", 0)
        if "temperature" in plugin.model_fields:
            fields["temperature"] = temperature
        made: Settings = validate(plugin, Layer(self.method, fields), self.method)
        return made, rounds

    def refiner(self, temperature: float) -> Refiner:
        """The refiner, at the temperature where it has one."""
        made, _ = self._made(temperature, "designkit.refiners")
        assert isinstance(made, Refiner)
        return made

    def sampler(self, temperature: float) -> Sampler | Chains:
        """The sampler, or the chains of the refiner, at the temperature where it has one."""
        room = "designkit.refiners" if self.refines else "designkit.samplers"
        made, rounds = self._made(temperature, room)
        if isinstance(made, Refiner):
            return Chains(made, rounds)
        assert isinstance(made, Sampler)
        return made


def cases() -> Iterator[Case]:
    """The methods whose laws are measured, from cheap to costly."""
    for method, grid in GRIDS.items():
        for value in grid.values:
            for number in grid.sizes:
                size = {} if number is None else {grid.size: number}
                how = {"value": VALUES[value]} if value else {}
                yield Case(method, json.dumps(size | how), value)


def hunters() -> Iterator[Case]:
    """The methods that look for the best site: with their defaults, and each value."""
    for method, grid in GRIDS.items():
        if method != "ancestral" and method in plugins.names("designkit.samplers"):
            for value in grid.values:
                how = {"value": VALUES[value]} if value else {}
                yield Case(method, json.dumps(how), value)
    for method, settings in REFINERS:
        yield Case(method, json.dumps(settings))


def left_out() -> list[str]:
    """The samplers that are not compared."""
    return sorted({*plugins.names("designkit.samplers")} - {*GRIDS})
