"""How well an RNA folds into a wanted secondary structure: inverse folding."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

from designkit.rewards._vienna import (
    FOLDING,
    FoldingReward,
    FoldingSettings,
    ensemble_energy,
    exact,
    minimum_energy,
)
from designkit.rewards.base import Output, RewardInfo

_SMALLEST_HAIRPIN = 3


def base_pairs(structure: str) -> list[tuple[int, int]]:
    """Pairs (i, j) of a dot-bracket structure, 0-based, i < j.

    Raises:
        ValueError: it is empty, has other characters, is not balanced, or has too small a hairpin.
    """
    pairs, opened = [], list[int]()
    for place, character in enumerate(structure):
        if character == "(":
            opened.append(place)
        elif character == ")":
            if not opened:
                raise ValueError(f"the ')' at position {place + 1} closes nothing")
            pairs.append((opened.pop(), place))
        elif character != ".":
            raise ValueError(
                f"{character!r} at position {place + 1} is none of '(', ')' and '.'; "
                "pseudoknots and other notations are not read"
            )
    if opened:
        raise ValueError(f"the '(' at position {opened[-1] + 1} is not closed")
    if not structure:
        raise ValueError("it is empty")
    for left, right in pairs:
        if right - left <= _SMALLEST_HAIRPIN:
            raise ValueError(
                f"positions {left + 1} and {right + 1} cannot pair: a hairpin has at least "
                f"{_SMALLEST_HAIRPIN} bases between"
            )
    return sorted(pairs)


def _check(structure: str) -> str:
    structure = structure.strip()
    base_pairs(structure)
    return structure


class TargetStructureSettings(FoldingSettings):
    """The wanted structure, and the energy model, as in RNAfold.

    Args:
        structure: dot-bracket, one character for each base.
        temperature: degrees Celsius.
        dangles: energy of bases beside a helix: 2 always, 0 never.
        no_gu: no pairs of G and U.
    """

    structure: Annotated[str, AfterValidator(_check)]


class TargetStructure(FoldingReward):
    """Share of molecules in the target s*: ``p(s*) = exp((G - E(s*)) / RT)``, G of the ensemble.

    Beside it the base-pair distance of the most stable structure to the target (pairs that only one
    of them has; 0: solved), and the ensemble defect, the mean over positions of the probability
    that a base is not paired as in the target. A sequence that cannot form all target pairs has
    probability 0; the defect still tells how far it is, and is the better guide from afar. T is
    read as U.
    """

    template = RewardInfo(
        name="target_structure",
        alphabets=("rna", "dna"),
        outputs=(
            Output("probability", unit="probability", range=(0, 1)),
            Output("distance", unit="base pairs", direction="minimize"),
            Output("defect", unit="fraction", direction="minimize", range=(0, 1)),
        ),
        cost="expensive",
        citation=(
            "Hofacker et al. 1994, Monatsh Chem 125:167; "
            f"Zadeh et al. 2011, J Comput Chem 32:439 (ensemble defect); {FOLDING}"
        ),
    )
    settings_type = TargetStructureSettings
    settings: TargetStructureSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._pairs = base_pairs(self.settings.structure)
        wobble = set() if self.settings.no_gu else {"GU", "UG"}
        self._allowed = {"AU", "UA", "CG", "GC"} | wobble

    def refusal(self, sequence: str) -> str | None:
        """The structure says the length."""
        wanted = len(self.settings.structure)
        if len(sequence) != wanted:
            return f"length {len(sequence)}; the structure has {wanted}"
        return None

    def fold(self, sequence: str) -> list[float]:
        """Probability, distance and defect."""
        target = self.settings.structure
        compound = self.compound(sequence)
        structure, minimum = minimum_energy(compound)
        ensemble_energy(compound, minimum)
        distance = len(set(base_pairs(structure)) ^ set(self._pairs))
        defect = compound.ensemble_defect(target)
        # Of pairs that cannot be, ViennaRNA would tell an energy all the same.
        if not all(sequence[i] + sequence[j] in self._allowed for i, j in self._pairs):
            return [0.0, distance, defect]
        probability = compound.pr_energy(exact(compound.eval_structure(target)))
        return [min(probability, 1.0), distance, defect]
