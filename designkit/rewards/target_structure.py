"""How well an RNA folds into a wanted secondary structure: inverse folding."""

from __future__ import annotations

from typing import Any

from designkit.dot_bracket import DotBracket, base_pairs
from designkit.rewards._vienna import (
    FOLDING,
    FoldingReward,
    FoldingSettings,
    ensemble_energy,
    exact,
    minimum_energy,
)
from designkit.rewards.base import Output, RewardInfo


class TargetStructureSettings(FoldingSettings):
    """The wanted structure, and the energy model, as in RNAfold.

    Args:
        structure: dot-bracket, one character for each base.
        temperature: degrees Celsius.
        dangles: energy of bases beside a helix: 2 always, 0 never.
        no_gu: no pairs of G and U.
    """

    structure: DotBracket


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
