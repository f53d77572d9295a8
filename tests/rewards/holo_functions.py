"""Ehrlich functions of the authors' own package, pytorch-holo, and sequences to try them on.

``python -m tests.rewards.holo_functions`` writes ``tests/golden/ehrlich.json`` with their values.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import random
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

GOLDEN = Path(__file__).parents[1] / "golden" / "ehrlich.json"
COUNT = 10_000


@dataclass(frozen=True)
class Configuration:
    """One function: K letters, and the parameters of the reward."""

    size: int
    length: int
    num_motifs: int
    motif_length: int
    quantization: int
    epistasis: float
    seed: int

    @property
    def parameters(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "size"}


CONFIGURATIONS = [
    Configuration(4, 20, 1, 4, 4, 0.0, 0),
    Configuration(4, 32, 2, 4, 2, 0.0, 7),
    Configuration(20, 64, 2, 4, 4, 0.0, 1),
    Configuration(20, 56, 3, 5, 5, 1.5, 42),
    Configuration(32, 128, 4, 8, 4, 0.5, 2024),
]


def probes(size: int, optimum: list[int], seed: int = 0) -> NDArray[np.int64]:
    """(10,000, L) tokens: uniform, made of runs (few transitions), and altered optima.

    Only ``Random.random`` is used, whose numbers Python keeps.
    """
    draw = random.Random(seed).random
    length = len(optimum)
    rows = []
    for number in range(COUNT):
        if number % 10 == 0:
            rows.append([int(draw() * size) for _ in range(length)])
            continue
        row = list(optimum)
        if number % 10 < 4:
            letter = 0
            for place in range(length):
                letter = int(draw() * size) if place == 0 or draw() < 0.15 else letter
                row[place] = letter
        for _ in range(int(draw() * length / 2)):  # a copy of the neighbour bans little
            place = int(draw() * length)
            row[place] = row[place - 1] if draw() < 0.9 else int(draw() * size)
        rows.append(row)
    return np.array(rows)


class _BareTestFunction(torch.nn.Module):
    """What the functions need of botorch's ``SyntheticTestFunction``: to be constructed."""

    def __init__(self, noise_std: float, negate: bool, bounds: list[tuple[float, float]]):
        super().__init__()


@contextmanager
def holo_ehrlich() -> Iterator[Any]:
    """The class ``Ehrlich`` of pytorch-holo; its other modules, and what they need, stay out."""
    specification = importlib.util.find_spec("holo")
    assert specification is not None
    assert specification.submodule_search_locations
    folder = Path(specification.submodule_search_locations[0]) / "test_functions"
    before = dict(sys.modules)
    botorch, functions = ModuleType("botorch"), ModuleType("botorch.test_functions")
    functions.SyntheticTestFunction = _BareTestFunction  # type: ignore[attr-defined]
    room = ModuleType("holo.test_functions")
    room.__path__ = [str(folder)]
    closed = ModuleType("holo.test_functions.closed_form")
    closed.__path__ = [str(folder / "closed_form")]
    for module in (botorch, functions, room, closed):
        sys.modules[module.__name__] = module
    try:
        yield importlib.import_module("holo.test_functions.closed_form._ehrlich").Ehrlich
    finally:
        for name in set(sys.modules) - set(before):
            if name.partition(".")[0] in ("holo", "botorch"):
                del sys.modules[name]
        sys.modules.update(before)


def holo_values(made: Any, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) values, -inf where infeasible."""
    values: NDArray[np.float64] = made.evaluate_true(torch.from_numpy(tokens)).double().numpy()
    return values


def make_holo(ehrlich: Any, one: Configuration) -> Any:
    return ehrlich(
        num_states=one.size,
        dim=one.length,
        num_motifs=one.num_motifs,
        motif_length=one.motif_length,
        quantization=one.quantization,
        epistasis_factor=one.epistasis,
        random_seed=one.seed,
    )


def unpack(levels: list[float | None], packed: str) -> NDArray[np.float64]:
    """The (10,000,) values of a golden entry; None is infeasible, -inf."""
    places = np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype=np.uint8)
    return np.array([-np.inf if level is None else level for level in levels])[places]


def write_golden() -> None:
    entries = []
    with holo_ehrlich() as ehrlich:
        for one in CONFIGURATIONS:
            made = make_holo(ehrlich, one)
            optimum = made.optimal_solution().tolist()
            values = holo_values(made, probes(one.size, optimum))
            levels, places = np.unique(values, return_inverse=True)
            packed = base64.b64encode(zlib.compress(places.astype(np.uint8).tobytes(), 9))
            listed = [None if np.isinf(level) else round(float(level), 7) for level in levels]
            entries.append(
                asdict(one) | {"optimum": optimum, "levels": listed, "packed": packed.decode()}
            )
    GOLDEN.write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    write_golden()
