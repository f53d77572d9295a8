from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import RNA

from designkit import alphabet
from designkit.errors import ConfigurationError
from designkit.rewards.ensemble_energy import EnsembleEnergy
from tests.rewards.examples import Example, random_sequences
from tests.rewards.rna_structures import GAS_CONSTANT, SHORT, energies, recorded_rnafold


def examples(folder: Path) -> list[Example]:
    return [
        Example("ensemble_energy", random_sequences(alphabet.RNA, length=40), alphabet.RNA),
        Example("ensemble_energy?dangles=0&temperature=25&per_base=true", random_sequences()),
    ]


def ensemble_energy(sequences: list[str], **parameters: Any) -> list[float]:
    return EnsembleEnergy(**parameters).score(sequences).values[:, 0].tolist()


def by_definition(sequence: str, **model: Any) -> float:
    thermal = GAS_CONSTANT * (model.get("temperature", 37.0) + 273.15)
    weights = [math.exp(-energy / thermal) for energy in energies(sequence, **model).values()]
    return -thermal * math.log(sum(weights))


def test_equals_recorded_output_of_rnafold() -> None:
    recorded = recorded_rnafold()
    found = ensemble_energy(recorded["sequence"])
    assert [round(value, 2) for value in found] == recorded["ensemble"]


@pytest.mark.parametrize("no_gu", [False, True])
def test_sum_over_all_structures(no_gu: bool) -> None:
    found = ensemble_energy(SHORT, dangles=0, no_gu=no_gu)
    expected = [by_definition(sequence, no_gu=no_gu) for sequence in SHORT]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("model", [{"dangles": 2}, {"temperature": 25.0, "dangles": 0}])
def test_sum_over_all_structures_with_smoothed_energies(model: dict[str, Any]) -> None:
    # ViennaRNA smooths the energies of dangling ends near 0, and does not round those at other
    # temperatures to 0.01 kcal/mol: a few hundredths.
    expected = [by_definition(sequence, **model) for sequence in SHORT]
    np.testing.assert_allclose(ensemble_energy(SHORT, **model), expected, rtol=0, atol=0.02)


def test_long_sequences_leave_no_range_of_floats() -> None:
    # Without scaling by the minimum free energy ViennaRNA answers inf and 100000.
    hairpin = "G" * 150 + "AAAA" + "C" * 150
    nothing, much = ensemble_energy(["A" * 900, hairpin], temperature=0)
    cold = RNA.md(temperature=0.0, compute_bpp=0)
    assert RNA.fold_compound(hairpin, cold).pf()[1] > 0
    assert RNA.fold_compound("A" * 900, cold).pf()[1] > 1
    lowest = RNA.fold_compound(hairpin, cold).mfe()[1]
    assert nothing == pytest.approx(0, abs=1e-9)
    assert lowest - 2 < much < lowest < -600


def test_scaling_does_not_change_the_value() -> None:
    sequences = random_sequences(alphabet.RNA, count=3, length=201)
    unscaled = [RNA.fold_compound(sequence, RNA.md()).pf()[1] for sequence in sequences]
    np.testing.assert_allclose(ensemble_energy(sequences), unscaled, rtol=1e-6)


def test_no_structure_and_no_sequence() -> None:
    scores = EnsembleEnergy().score(["AAAAAAAA", ""])
    assert scores.values[0, 0] == pytest.approx(0, abs=1e-12)
    assert scores.errors == [None, "empty sequence"]


def test_per_base() -> None:
    reward = EnsembleEnergy(per_base=True)
    assert reward.info.outputs[0].unit == "kcal/mol per base"
    expected = ensemble_energy(["GGGGAAAACCCC"])[0] / 12
    assert reward.score(["GGGGAAAACCCC"]).values[0, 0] == expected


def test_the_ensemble_knows_two_models_of_dangling_ends() -> None:
    with pytest.raises(ConfigurationError, match="dangles: must be 0 or 2, not 1"):
        EnsembleEnergy(dangles="1")
