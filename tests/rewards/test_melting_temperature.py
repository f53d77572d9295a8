"""Melting temperatures summed up by hand from the published tables."""

from __future__ import annotations

from math import log, log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from Bio.SeqUtils import MeltingTemp

from designkit.alphabet import DNA, RNA, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.melting_temperature import MeltingTemperature
from tests.rewards.examples import Example, random_sequences


def examples(folder: Path) -> list[Example]:
    dna, rna = random_sequences(length=20), random_sequences(RNA, length=20)
    return [
        Example("melting_temperature", dna),
        Example("melting_temperature?target=60&magnesium=1.5&primer=250", dna),
        Example("melting_temperature?method=gc&sodium=100", rna, RNA),
        Example("melting_temperature?method=wallace", dna),
        Example("melting_temperature", rna, RNA),
    ]


def values(sequences: list[str], alphabet: Alphabet = DNA, **parameters: Any) -> np.ndarray:
    reward = MeltingTemperature(**parameters)
    reward.bind(alphabet)
    return reward.score(sequences).values


def test_dna_by_hand() -> None:
    # CGTTGA, values of Allawi and SantaLucia 1997: CG GT TT TG GA, one G/C and one A/T end.
    enthalpy = -10.6 - 8.4 - 7.9 - 8.5 - 8.2 + 0.1 + 2.3
    entropy = -27.2 - 22.4 - 22.2 - 22.7 - 22.2 - 2.8 + 4.1
    for sodium, primer, complement in ((1000, 1e5, 1e5), (50, 400, 100)):
        corrected = entropy + 0.368 * 5 * log(sodium / 1000)
        strands = 1.987 * log((primer - complement / 2) * 1e-9)
        expected = 1000 * enthalpy / (corrected + strands) - 273.15
        found = values(["CGTTGA"], sodium=sodium, primer=primer, complement=complement)
        assert found.item() == pytest.approx(expected, abs=1e-6)


def test_rna_by_hand() -> None:
    # GACUCAG, values of Xia et al. 1998: GA AC CU UC CA AG, no A-U end.
    enthalpy = -12.44 - 11.40 - 10.48 - 12.44 - 10.44 - 10.48 + 3.61
    entropy = -32.5 - 29.5 - 27.1 - 32.5 - 26.9 - 27.1 - 1.5
    expected = 1000 * enthalpy / (entropy + 1.987 * log(5e-5)) - 273.15
    found = values(["GACUCAG"], RNA, sodium=1000, primer=1e5, complement=1e5)
    assert found.item() == pytest.approx(expected, abs=1e-6)
    assert found.item() > values(["GACTCAG"], sodium=1000, primer=1e5, complement=1e5).item()


def test_documented_values_of_biopython() -> None:
    primer = "CGTTCCAAAGATGTGGGCATGAGCTTAC"
    for method, expected in (("nearest_neighbor", 60.32), ("gc", 58.97), ("wallace", 84.0)):
        assert values([primer], method=method).item() == pytest.approx(expected, abs=5e-3)


def test_equals_biopython() -> None:
    sequences = [s for n in (2, 3, 20, 75) for s in random_sequences(count=12, length=n, seed=n)]
    sequences += ["AATT", "TTTTTT", "GGCC"]
    rna = [sequence.replace("T", "U") for sequence in sequences]
    salt, strands = {"Na": 80, "Mg": 2}, {"dnac1": 300, "dnac2": 50}
    conditions = {"sodium": 80, "magnesium": 2, "primer": 300, "complement": 50}
    dna_expected = [MeltingTemp.Tm_NN(s, **salt, **strands) for s in sequences]
    np.testing.assert_allclose(values(sequences, **conditions)[:, 0], dna_expected)
    table = MeltingTemp.RNA_NN2
    rna_expected = [MeltingTemp.Tm_NN(s, nn_table=table, **salt, **strands) for s in rna]
    np.testing.assert_allclose(values(rna, RNA, **conditions)[:, 0], rna_expected)
    for letters, alphabet, valueset in ((sequences, DNA, 7), (rna, RNA, 5)):
        expected = [MeltingTemp.Tm_GC(s, valueset=valueset, **salt) for s in letters]
        found = values(letters, alphabet, method="gc", **conditions)[:, 0]
        np.testing.assert_allclose(found, expected)
    expected = [MeltingTemp.Tm_Wallace(s) for s in sequences]
    np.testing.assert_allclose(values(sequences, method="wallace")[:, 0], expected)


def test_positions_that_do_not_exist_are_not_counted() -> None:
    for method in ("nearest_neighbor", "gc", "wallace"):
        reward = MeltingTemperature(method=method)
        reward.bind(DNA)
        probs = torch.eye(4, dtype=torch.float64)[torch.from_numpy(DNA.encode(["ACGTTGCAAC"] * 2))]
        valid = torch.tensor([[True] * 7 + [False] * 3, [True] + [False] * 9])
        found = reward.score_relaxed(probs, valid)
        assert found[0].item() == pytest.approx(reward.score(["ACGTTGC"]).values.item())
        assert torch.isnan(found[1])
        assert torch.isnan(reward.score_relaxed(probs[:, :1])).all()


def test_gc_formulas_by_hand() -> None:
    salt = 0.1
    dna = 81.5 + 0.41 * 50 - 600 / 20 + 16.6 * log10(salt)
    rna = 78 + 0.7 * 50 - 500 / 20 + 16.6 * log10(salt / (1 + 0.7 * salt))
    assert values(["ACGT" * 5], method="gc", sodium=100).item() == pytest.approx(dna)
    assert values(["ACGU" * 5], RNA, method="gc", sodium=100).item() == pytest.approx(rna)


def test_magnesium_acts_as_sodium() -> None:
    sequences = random_sequences(length=25)
    equivalent = 20 + 120 * 1.5**0.5  # von Ahsen et al. 2001
    found = values(sequences, sodium=20, magnesium=1.5)
    np.testing.assert_allclose(found, values(sequences, sodium=equivalent))
    assert (found > values(sequences, sodium=20)).all()


def test_distance_from_a_target() -> None:
    sequences = random_sequences(length=22)
    plain = values(sequences)
    found = values(sequences, target=55)
    np.testing.assert_allclose(found, np.column_stack([abs(plain - 55), plain]))
    reward = MeltingTemperature(target="55")
    assert [output.name for output in reward.info.outputs] == ["melting_temperature", "temperature"]
    assert [output.direction for output in reward.info.outputs] == ["minimize", "maximize"]


def test_a_strand_and_its_complement_melt_together() -> None:
    sequences = random_sequences(length=18)
    others = [DNA.reverse_complement(sequence) for sequence in sequences]
    np.testing.assert_allclose(values(sequences), values(others))


def test_one_letter_has_no_score() -> None:
    reward = MeltingTemperature(target=60)
    reward.bind(DNA)
    scores = reward.score(["", "A", "AC"])
    assert scores.errors == ["a duplex needs at least 2 letters"] * 2 + [None]
    assert np.isnan(scores.values).all(axis=1).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sodium": 0}, "without salt there is no duplex"),
        ({"primer": 10, "complement": 20}, "complement=20 is above primer=10"),
        ({"method": "nn"}, "must be 'nearest_neighbor', 'gc' or 'wallace'"),
        ({"target": "nan"}, "finite"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MeltingTemperature(**parameters)
    assert message in str(caught.value)


def test_wallace_is_for_dna() -> None:
    with pytest.raises(RewardError, match="wallace is a rule for DNA, not RNA"):
        MeltingTemperature(method="wallace").bind(RNA)
    with pytest.raises(RewardError, match="bind"):
        MeltingTemperature().score(["AC"])
