"""How far an RNA is from folding into a wanted structure, in kcal/mol; and how well it does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from designkit.dot_bracket import DotBracket, base_pairs
from designkit.rewards._vienna import (
    FOLDING,
    WORKERS,
    FoldingReward,
    FoldingSettings,
    ensemble_energy,
    exact,
    minimum_energy,
)
from designkit.rewards.base import Output, RewardInfo, Scores, StandIn

if TYPE_CHECKING:
    from designkit.rewards._competitors import Competitors

REMEMBERED = 1000
"""Sequences, the last ones, whose structures the stand-in knows."""

_PER_PAIR = 0.01
"""kcal/mol for a pair that only one of the two structures has: less than energies differ by."""

_SHARE, _SHORTEST = 0.7, 12
"""Of the parts of a structure: length over that of what it is a part of, and bases at least."""

_IMPOSSIBLE = 10.0
"""kcal/mol for a pair of the target whose bases cannot pair."""


def parts_of(pairs: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Pairs of a structure inside which it is worth folding, from the left.

    Each is at most 0.7 times as long as the part that it is in, so that folding all of them costs
    less than folding the whole.

    Args:
        pairs: of the structure, from the left.
        length: of the structure.
    """
    found: list[tuple[int, int]] = []
    around = [(0, length - 1)]
    for i, j in pairs:
        while around[-1][1] < i:
            around.pop()
        longest = _SHARE * (around[-1][1] - around[-1][0] + 1)
        if _SHORTEST <= j - i + 1 <= longest:
            found.append((i, j))
            around.append((i, j))
    return found


class InverseFoldingSettings(FoldingSettings):
    """The wanted structure, and the energy model, as in RNAfold.

    Args:
        structure: dot-bracket, one character for each base.
        temperature: degrees Celsius.
        dangles: energy of bases beside a helix: 2 always, 0 never.
        no_gu: no pairs of G and U.
    """

    structure: DotBracket


class InverseFolding(FoldingReward):
    """Below 0, minus the energy that the target s* is above the best structure s: ``E(s) - E(s*)``.

    0.01 kcal/mol less for each pair that only one of them has, so that a score of 0 and above is a
    solution: its most stable structure is the target, and its score the share of molecules in it,
    ``p(s*) = exp((G - E(s*)) / RT)``. A pair of the target whose bases cannot pair counts 10
    kcal/mol. The ensemble is computed for solutions alone. T is read as U.

    Structures that were found to be better than the target are remembered for ``stand_in``, the
    best inside parts of the target too: a sequence whose target is above one of them in energy
    needs no folding.
    """

    template = RewardInfo(
        name="inverse_folding",
        alphabets=("rna", "dna"),
        outputs=(
            Output("score", unit="share, or kcal/mol below 0"),
            Output("gap", unit="kcal/mol", direction="minimize"),
            Output("distance", unit="base pairs", direction="minimize"),
        ),
        cost="expensive",
        citation=f"Hofacker et al. 1994, Monatsh Chem 125:167; {FOLDING}",
    )
    settings_type = InverseFoldingSettings
    settings: InverseFoldingSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._pairs = base_pairs(self.settings.structure)
        wobble = set() if self.settings.no_gu else {"GU", "UG"}
        self._allowed = {"AU", "UA", "CG", "GC"} | wobble
        self._parts = parts_of(self._pairs, len(self.settings.structure))
        self._seen: dict[str, list[str]] = {}

    def refusal(self, sequence: str) -> str | None:
        """The structure says the length."""
        wanted = len(self.settings.structure)
        if len(sequence) != wanted:
            return f"length {len(sequence)}; the structure has {wanted}"
        return None

    def score(self, sequences: list[str]) -> Scores:
        """See ``FoldingReward.score``; structures are remembered."""
        import numpy as np

        errors = [self.refusal(sequence) for sequence in sequences]
        values = np.full((len(sequences), len(self.info.outputs)), np.nan)
        rows = [row for row, error in enumerate(errors) if error is None]
        folded = self._fold([sequences[row] for row in rows])
        values[rows] = np.array([own[:-1] for own in folded]).reshape(len(rows), values.shape[1])
        return Scores(values, errors)

    def fold(self, sequence: str) -> list[Any]:
        """Score, gap and distance, and the structures that were found to be better."""
        target = self.settings.structure
        compound = self.compound(sequence)
        structure, energy = minimum_energy(compound)
        impossible = sum(sequence[i] + sequence[j] not in self._allowed for i, j in self._pairs)
        gap = exact(compound.eval_structure(target)) - energy + _IMPOSSIBLE * impossible
        if structure == target:
            ensemble_energy(compound, energy)
            return [min(float(compound.pr_energy(energy)), 1.0), 0.0, 0, []]
        distance = len(set(base_pairs(structure)) ^ set(self._pairs))
        seen = [structure, *self._inside(sequence)]
        return [-gap - _PER_PAIR * distance, gap, distance, seen]

    def _inside(self, sequence: str) -> list[str]:
        """Structures like the target but inside one of its pairs, where they are the best.

        They cost little beside that of the whole, and show what is wrong in each part of it
        (Andronescu et al. 2004, J Mol Biol 336:607). Energies inside a pair do not depend on what
        is outside.
        """
        target, found, library = self.settings.structure, [], self._library
        must = library.CONSTRAINT_CONTEXT_ENFORCE | library.CONSTRAINT_CONTEXT_ALL_LOOPS
        for i, j in self._parts:
            compound = self.compound(sequence[i : j + 1])
            compound.hc_add_bp(1, compound.length, must)
            inside, _ = minimum_energy(compound)
            if inside != target[i : j + 1]:
                found.append(target[:i] + inside + target[j + 1 :])
        return found

    def stand_in(self, scored: Sequence[str]) -> StandIn:
        """How the target holds against structures that sequences were found to fold into.

        Args:
            scored: sequences, in the order they were scored; the last 1000 count.
        """
        from designkit.rewards._competitors import Rivalry

        known = [one for one in scored[-REMEMBERED:] if self.refusal(one) is None]
        self._fold([one for one in known if one not in self._seen])
        competitors = self._competitors.of(chain.from_iterable(self._seen[one] for one in known))
        return Rivalry(self._competitors.energies, competitors, len(self.settings.structure))

    @cached_property
    def _competitors(self) -> Competitors:
        from designkit.rewards._competitors import Competitors
        from designkit.rewards._loop_tables import LoopTables
        from designkit.rewards._structure_energies import StructureEnergies

        tables = LoopTables(self._library, self.model_details())
        energies = StructureEnergies(tables, len(self.settings.structure))
        return Competitors(self.settings.structure, energies)

    def _fold(self, sequences: Sequence[str]) -> list[list[Any]]:
        folded = WORKERS.fold(self, [sequence.replace("T", "U") for sequence in sequences])
        for sequence, found in zip(sequences, folded, strict=True):
            self._seen[sequence] = found[-1]
        return folded
