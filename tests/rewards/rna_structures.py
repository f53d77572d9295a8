"""All secondary structures of a short RNA, with their energies: an independent truth for folding.

ViennaRNA is asked for nothing but the energy of a given structure.
"""

from __future__ import annotations

import csv
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

import RNA

from designkit.dot_bracket import base_pairs

GAS_CONSTANT = 1.98717e-3  # kcal/(mol K), as in the nearest-neighbour literature


def all_structures(sequence: str, no_gu: bool = False) -> list[str]:
    """Every structure of canonical pairs with hairpins of at least 3 bases."""
    can_pair = {"AU", "UA", "GC", "CG"} | (set() if no_gu else {"GU", "UG"})

    @cache
    def between(start: int, stop: int) -> list[str]:
        if start >= stop:
            return [""]
        found = ["." + rest for rest in between(start + 1, stop)]
        for end in range(start + 4, stop):
            if sequence[start] + sequence[end] in can_pair:
                inner = between(start + 1, end)
                found += [f"({a}){b}" for a in inner for b in between(end + 1, stop)]
        return found

    return between(0, len(sequence))


def energies(
    sequence: str, temperature: float = 37.0, dangles: int = 0, no_gu: bool = False
) -> dict[str, float]:
    """kcal/mol of every structure."""
    model = RNA.md()
    model.temperature, model.dangles, model.noGU = temperature, dangles, int(no_gu)
    compound = RNA.fold_compound(sequence, model)
    return {s: round(compound.eval_structure(s), 2) for s in all_structures(sequence, no_gu)}


def probabilities(sequence: str, **model: Any) -> dict[str, float]:
    """Boltzmann probability of every structure."""
    thermal = GAS_CONSTANT * (model.get("temperature", 37.0) + 273.15)
    weights = {s: math.exp(-energy / thermal) for s, energy in energies(sequence, **model).items()}
    total = sum(weights.values())
    return {structure: weight / total for structure, weight in weights.items()}


def partners(structure: str) -> list[int | None]:
    """The position that each position pairs with."""
    found: list[int | None] = [None] * len(structure)
    opened = []
    for place, character in enumerate(structure):
        if character == "(":
            opened.append(place)
        elif character == ")":
            found[place], found[opened[-1]] = opened[-1], place
            opened.pop()
    return found


SHORT = [
    "GGGGAAAACCCC",
    "GGGAAUCCAGGCAUUCAGGC",
    "GCGCAAAGCGCAUAUAGC",
    "GGAAACCAGGCUAACGCUCA",
    "GUGUAAAAGUGCGUUUAC",
]


def recorded_rnafold() -> dict[str, list[Any]]:
    """Columns of what the program RNAfold printed for sequences of its own tests.

    From tests/RNAfold/results of ViennaRNA: ``sequence`` and its ``structure``; energies ``mfe``,
    with -d0 ``d0``, with -d1 ``d1``, with -T 25 ``T25``; of RNAfold -p the free energy of the
    ``ensemble`` and the ``frequency`` of the structure in it.
    """
    with (Path(__file__).parents[1] / "golden" / "rnafold.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    text = ("sequence", "structure")
    return {key: [row[key] if key in text else float(row[key]) for row in rows] for key in rows[0]}


def paired_sequences(structure: str, count: int, seed: int, *, wobble: bool = True) -> list[str]:
    """Random sequences that can form a structure."""
    source = random.Random(seed)
    pairs = ["GC", "CG", "AU", "UA", *(["GU", "UG"] if wobble else [])]
    found = []
    for _ in range(count):
        letters = source.choices("ACGU", k=len(structure))
        for i, j in base_pairs(structure):
            letters[i], letters[j] = source.choice(pairs)
        found.append("".join(letters))
    return found
