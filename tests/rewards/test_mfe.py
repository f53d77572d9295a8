from __future__ import annotations

import csv
import gzip
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import RNA

from designkit import alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.mfe import MFE
from tests.rewards.examples import Example, random_sequences
from tests.rewards.rna_structures import SHORT, energies, recorded_rnafold

SHARED = Path(__file__).parents[3] / "shared" / "data"


def examples(folder: Path) -> list[Example]:
    short = random_sequences(alphabet.RNA, length=30)
    return [
        Example("mfe", random_sequences(alphabet.RNA, length=40), alphabet.RNA),
        Example("mfe?dangles=1&temperature=25&no_gu=true&per_base=true", short, alphabet.RNA),
        Example("mfe", random_sequences(length=40)),
    ]


def mfe(sequences: list[str], **parameters: Any) -> list[float]:
    return MFE(**parameters).score(sequences).values[:, 0].tolist()


@pytest.mark.parametrize(
    ("output", "parameters"),
    [
        ("mfe", {}),
        ("d0", {"dangles": 0}),
        ("d1", {"dangles": "1"}),
        ("T25", {"temperature": 25}),
    ],
)
def test_equals_recorded_output_of_rnafold(output: str, parameters: dict[str, Any]) -> None:
    recorded = recorded_rnafold()
    assert mfe(recorded["sequence"], **parameters) == recorded[output]


@pytest.mark.skipif(not shutil.which("RNAfold"), reason="the program RNAfold is not installed")
def test_equals_the_program_rnafold() -> None:
    sequences = random_sequences(alphabet.RNA, count=50, length=70)
    text = subprocess.run(
        ["RNAfold", "--noPS"],
        input="\n".join(sequences),
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    expected = [float(line.rpartition("(")[2].rstrip(")")) for line in text.splitlines()[1::2]]
    assert mfe(sequences) == expected


@pytest.mark.parametrize(
    "model",
    [{}, {"dangles": 2}, {"temperature": 60.0}, {"no_gu": True}, {"dangles": 2, "no_gu": True}],
)
def test_least_energy_of_all_structures(model: dict[str, Any]) -> None:
    model = {"dangles": 0} | model
    assert mfe(SHORT, **model) == [min(energies(s, **model).values()) for s in SHORT]


def test_a_sequence_without_pairs_has_zero_and_an_empty_one_no_score() -> None:
    scores = MFE().score(["AAAAAAAAAAAA", "", "G"])
    np.testing.assert_array_equal(scores.values[:, 0], [0, np.nan, 0])
    assert not np.signbit(scores.values[0, 0])
    assert scores.errors == [None, "empty sequence", None]


def test_t_is_read_as_u() -> None:
    sequences = random_sequences(alphabet.RNA, length=50)
    found = mfe([sequence.replace("U", "T") for sequence in sequences])
    assert found == mfe(sequences)
    assert min(found) < -5


def test_per_base() -> None:
    reward = MFE(per_base=True)
    assert reward.info.outputs[0].unit == "kcal/mol per base"
    assert reward.score(["GGGGAAAACCCC"]).values[0, 0] == pytest.approx(-5.4 / 12)


def test_global_variables_are_neither_heeded_nor_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    reward, sequence = MFE(), recorded_rnafold()["sequence"][0]
    before = reward.fold(sequence)
    others = {"temperature": 20.0, "dangles": 0, "noLP": 1, "noGU": 1, "gquad": 1, "salt": 0.1}
    for name, value in others.items():
        monkeypatch.setattr(RNA.cvar, name, value)
    assert reward.fold(sequence) == before
    assert {name: getattr(RNA.cvar, name) for name in others} == others


def test_the_version_names_that_of_the_library() -> None:
    assert MFE().info.version == f"1+viennarna{RNA.__version__}"


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "RNA", None)
    with pytest.raises(RewardError) as caught:
        MFE()
    assert str(caught.value) == "reward 'mfe' needs ViennaRNA: pip install 'designkit[rna]'"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dangles": "5"}, "reward mfe: dangles: must be 0, 1, 2 or 3, not 5"),
        ({"temperature": 310}, "reward mfe: temperature: must be at most 100.0, not 310"),
        ({"temperatur": 25}, "reward mfe: unknown key 'temperatur'; did you mean 'temperature'?"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MFE(**parameters)
    assert message in str(caught.value)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the curated data beside the checkout")
def test_equals_published_energies_of_5_utrs() -> None:
    with gzip.open(SHARED / "rna_5utr_mrl_m1pseudo2.csv.gz", "rt") as handle:
        rows = list(islice(csv.DictReader(handle), 300))
    assert mfe([row["sequence"] for row in rows]) == [float(row["mfe_kcal_mol"]) for row in rows]
