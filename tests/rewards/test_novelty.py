"""Novelty: distances worked by hand, and against the textbook recurrence on mixed lengths."""

from __future__ import annotations

import gzip
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards import _edit_distances
from designkit.rewards.novelty import Novelty
from tests.rewards.examples import Example, random_sequences
from tests.rewards.textbook import edit_distance


def write(folder: Path, sequences: list[str], name: str = "reference.fasta") -> Path:
    path = folder / name
    path.write_text("".join(f">{place}\n{s}\n" for place, s in enumerate(sequences)))
    return path


def novelty(reference: Path, alphabet: Alphabet = DNA, **parameters: Any) -> Novelty:
    reward = Novelty(reference=reference, **parameters)
    reward.bind(alphabet)
    return reward


def examples(folder: Path) -> list[Example]:
    sequences = random_sequences()
    path = write(folder, random_sequences(count=20, seed=1) + sequences[:1])
    refs = (f"novelty?reference={path}", f"novelty?reference={path}&distance=hamming")
    proteins = write(folder, random_sequences(PROTEIN, seed=1), "proteins.fasta")
    return [
        *(Example(ref, sequences) for ref in refs),
        Example(f"novelty?reference={proteins}", random_sequences(PROTEIN), PROTEIN),
    ]


@pytest.mark.parametrize(
    ("sequence", "share", "edits"),
    [
        ("ACGTACGT", 0, 0),
        ("ACGTACGA", 1 / 8, 1),
        ("CGTACGTA", 2 / 8, 2),  # one letter lost in front, one more behind
        ("ACGTACG", 1 / 8, 1),
        ("GG", 0, 0),
        ("GGG", 1 / 3, 1),
        ("", 1, 2),
        ("TTTTTTTTT", 7 / 9, 7),
    ],
)
def test_by_hand(tmp_path: Path, sequence: str, share: float, edits: int) -> None:
    reward = novelty(write(tmp_path, ["ACGTACGT", "GG"]))
    np.testing.assert_allclose(reward.score([sequence]).values, [[share, edits]])


def test_hamming_by_hand(tmp_path: Path) -> None:
    reward = novelty(write(tmp_path, ["ACGTACGT", "ACGTTTTT", "GG"]), distance="hamming")
    scores = reward.score(["CGTACGTA", "ACGTACTT", "GC", "ACG", ""])
    np.testing.assert_allclose(scores.values[:3], [[7 / 8, 7], [1 / 8, 1], [1 / 2, 1]])
    assert np.isnan(scores.values[3:]).all()
    assert scores.errors[3:] == ["no reference of length 3", "no reference of length 0"]


def mixed(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("ACGT", k=draw.randint(1, 25))) for _ in range(count)]


@pytest.mark.parametrize("cells", [1, 300, 1 << 21])
def test_textbook_recurrence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    """Whatever the size of the blocks, and wherever the nearest reference lies."""
    monkeypatch.setattr(_edit_distances, "_CELLS", cells)
    references, queries = mixed(60, 0), mixed(40, 1)
    queries += [s[:4] + s[5:] + "A" for s in references[:10]] + references[:2]
    scores = novelty(write(tmp_path, references)).score(queries)
    shares = np.array(
        [[edit_distance(q, r) / max(len(q), len(r)) for r in references] for q in queries]
    )
    np.testing.assert_allclose(scores.values[:, 0], shares.min(1))
    nearest = [
        min(
            edit_distance(query, reference)
            for reference, share in zip(references, row, strict=True)
            if share < row.min() + 1e-9
        )
        for query, row in zip(queries, shares, strict=True)
    ]
    np.testing.assert_array_equal(scores.values[:, 1], nearest)
    assert (shares.min(1) > 0.3).any()
    assert (shares.min(1) == 0).any()


def test_the_bound_itself_is_found(tmp_path: Path) -> None:
    """Where no gap helps, the nearest is as far as the bound of the search."""
    references = random_sequences(count=20, length=12, seed=1)
    reward = novelty(write(tmp_path, references))
    for sequence in random_sequences(count=30, length=12):
        expected = min(edit_distance(sequence, reference) for reference in references)
        np.testing.assert_allclose(reward.score([sequence]).values, [[expected / 12, expected]])


def test_symbols_of_several_letters(tmp_path: Path) -> None:
    """A word is one symbol, however long."""
    words = Alphabet("words", ("C", "Cl", "Br", "=O"), separator=" ")
    path = tmp_path / "words.csv"
    path.write_text("sequence\nC C Cl Br\n")
    reward = novelty(path, words)
    np.testing.assert_allclose(reward.score(["C C Br", "C =O Cl Br"]).values, [[1 / 4, 1]] * 2)


def test_columns_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "natives.csv.gz"
    path.write_bytes(gzip.compress(b"promoter,sequence\nACGT,TTTT\nACGA,TTTT\n"))
    reward = novelty(path, column="promoter")
    np.testing.assert_allclose(reward.score(["ACGA", "TTTT"]).values[:, 1], [0, 3])


@pytest.mark.parametrize(
    ("letters", "alphabet", "message"),
    [
        ("acgt", DNA, "'a' at position 1 of acgt is not in the dna .*; write .* in upper case"),
        ("ACNT", DNA, "'N' at position 3 of ACNT is not in the dna .*; references are"),
        ("ACGT", RNA, "'T' at position 4 .*convert one to the other"),
    ],
)
def test_references_of_other_letters_are_refused(
    tmp_path: Path, letters: str, alphabet: Alphabet, message: str
) -> None:
    with pytest.raises(RewardError, match=message) as caught:
        novelty(write(tmp_path, [letters]), alphabet)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"reward 'novelty': .*nothing\.fa"):
        Novelty(reference=tmp_path / "nothing.fa")
    table = tmp_path / "table.csv"
    table.write_text("name,sequences\na,ACGT\n")
    with pytest.raises(RewardError, match=r"did you mean 'sequences'.*column=NAME chooses"):
        Novelty(reference=table)
    with pytest.raises(ConfigurationError, match="needs reference: novelty"):
        Novelty()
    with pytest.raises(RewardError, match="bind an alphabet"):
        Novelty(reference=write(tmp_path, ["ACGT"])).score(["ACGT"])


def test_needs_rapidfuzz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(RewardError, match=r"needs rapidfuzz: pip install 'designkit\[distance\]'"):
        Novelty(reference=write(tmp_path, ["ACGT"]))
