from __future__ import annotations

import pytest

from designkit.alphabet import DNA, PROTEIN
from designkit.errors import ConfigurationError, UsageError
from designkit.io.alphabets import load_alphabet


def test_built_in_names():
    assert load_alphabet("dna") is DNA
    assert load_alphabet("Protein") is PROTEIN


def test_file(tmp_path):
    path = tmp_path / "hp.yaml"
    path.write_text("name: hp\nletters: [H, P]\n")
    assert load_alphabet(str(path)).letters == ("H", "P")


def test_unknown_name():
    with pytest.raises(UsageError) as caught:
        load_alphabet("protien")
    assert str(caught.value) == (
        "unknown alphabet 'protien'; did you mean 'protein'? known: dna, rna, protein, "
        "or a YAML file's path"
    )
    with pytest.raises(UsageError, match=r"alphabet file none\.yaml: no such file"):
        load_alphabet("none.yaml")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("letters: AA\n", "a.yaml: alphabet 'custom': a letter appears twice"),
        ("letters: [No, C]\n", "a.yaml: an alphabet's letters are text, False is not; put it in"),
        ("name: x\nletters: [A\n", "a.yaml:3: expected"),
        ("ACGT\n", "a.yaml: expected 'letters: ...' and, if wanted, 'name: ...'"),
    ],
)
def test_unusable_files(tmp_path, monkeypatch, content, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_alphabet("a.yaml")
    assert str(caught.value).startswith(problem)
