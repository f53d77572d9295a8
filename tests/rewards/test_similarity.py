from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from Bio.Align import substitution_matrices

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.similarity import Similarity
from tests.rewards.examples import Example, random_sequences
from tests.rewards.proteins import LYSOZYME, UBIQUITIN

SMILES = Alphabet("smiles", ("C", "Cl", "N", "O"), separator=" ")


def mutants(target: str, alphabet: Alphabet, count: int = 30, seed: int = 0) -> list[str]:
    """The target with more and more letters replaced, lost and put in."""
    source = random.Random(seed)
    found = []
    for number in range(count):
        letters = list(target)
        for _ in range(1 + number // 2):
            place = source.randrange(len(letters))
            letters[place : place + source.randint(0, 2)] = source.choices(
                alphabet.letters, k=source.randint(0, 2)
            )
        found.append("".join(letters))
    return list(dict.fromkeys(found))


def examples(folder: Path) -> list[Example]:
    file = folder / "target.fasta"
    file.write_text(f">ubiquitin\n{UBIQUITIN}\n")
    return [
        Example(f"similarity?file={file}", mutants(UBIQUITIN, PROTEIN), PROTEIN),
        Example("similarity?target=ACGTTGCAAC&mode=local", random_sequences()),
    ]


def best_score(one: str, two: str, pair: dict[tuple[str, str], float], local: bool) -> float:
    """Gotoh 1982, cell by cell: a gap costs 10 and 0.5 for each further letter, at ends nothing."""
    never = -1e9
    match = {(0, 0): 0.0}
    up: dict[tuple[int, int], float] = {}
    left: dict[tuple[int, int], float] = {}
    for i in range(len(one) + 1):
        for j in range(len(two) + 1):
            if i and j:
                before = (i - 1, j - 1)
                previous = max(match[before], up[before], left[before])
                match[i, j] = previous + pair[one[i - 1], two[j - 1]]
            elif i or j:
                match[i, j] = 0.0
            opened = max(match.get((i - 1, j), never), left.get((i - 1, j), never)) - 10
            up[i, j] = max(opened, up.get((i - 1, j), never) - 0.5)
            opened = max(match.get((i, j - 1), never), up.get((i, j - 1), never)) - 10
            left[i, j] = max(opened, left.get((i, j - 1), never) - 0.5)
            if local:
                match[i, j] = max(match[i, j], 0.0)
    ends = match if local else [c for c in match if c[0] == len(one) or c[1] == len(two)]
    return max(max(match[c], up[c], left[c]) for c in ends)


def pair_scores(alphabet: Alphabet) -> dict[tuple[str, str], float]:
    letters = alphabet.letters
    if alphabet is PROTEIN:
        matrix = substitution_matrices.load("BLOSUM62")
        return {(a, b): float(matrix[a][b]) for a in letters for b in letters}
    return {(a, b): 5.0 if a == b else -4.0 for a in letters for b in letters}


@pytest.mark.parametrize("mode", ["global", "local"])
@pytest.mark.parametrize(
    ("alphabet", "target"), [(PROTEIN, UBIQUITIN[:30]), (RNA, "GCAUUAGCCAGGUACUUAGC")]
)
def test_score_equals_gotoh(alphabet: Alphabet, target: str, mode: str) -> None:
    reward = Similarity(target=target, mode=mode)
    reward.bind(alphabet)
    sequences = mutants(target, alphabet, count=12)
    sequences += random_sequences(alphabet, count=4, length=15)
    pairs, local = pair_scores(alphabet), mode == "local"
    own = [sum(pairs[letter, letter] for letter in s) for s in (target, *sequences)]
    largest = [own[0] if local else max(own[0], other) for other in own[1:]]
    expected = [
        best_score(target, s, pairs, local) / most
        for s, most in zip(sequences, largest, strict=True)
    ]
    np.testing.assert_allclose(reward.score(sequences).values[:, 0], expected)


def test_only_the_target_itself_has_one() -> None:
    reward = Similarity(target=UBIQUITIN)
    reward.bind(PROTEIN)
    others = [*mutants(UBIQUITIN, PROTEIN), UBIQUITIN + "A", UBIQUITIN[:-1], LYSOZYME]
    values = reward.score([UBIQUITIN, *others]).values
    assert values[0].tolist() == [1, 1]
    assert (values[1:, 0] < 1).all()
    assert (values[1:, 0] > 0).all()
    assert values[-1, 0] < 0.1


def test_no_substitution_scores_as_well_as_the_letter_itself() -> None:
    pairs = pair_scores(PROTEIN)
    for (one, two), score in pairs.items():
        assert score < min(pairs[one, one], pairs[two, two]) or one == two


def test_identity_by_hand() -> None:
    reward = Similarity(target="ACGTACGTAC")
    reward.bind(DNA)
    # The target, one letter replaced, two lost in one gap, three put in as one gap.
    sequences = ["ACGTACGTAC", "ACGTTCGTAC", "ACGTGTAC", "ACGTAGGGCGTAC"]
    values = reward.score(sequences).values
    np.testing.assert_allclose(values[:, 1], [1, 0.9, 8 / 10, 10 / 13])
    np.testing.assert_allclose(values[:, 0], [1, 41 / 50, (40 - 10.5) / 50, (50 - 11) / 65])


def test_local_finds_the_target_inside() -> None:
    around, nothing = "TTTT" + "ACGACCGA" + "TTTT", "TTTTTTTT"
    values = {}
    for mode in ("local", "global"):
        reward = Similarity(target="ACGACCGA", mode=mode)
        reward.bind(DNA)
        values[mode] = reward.score([around, nothing]).values
    assert values["local"].tolist() == [[1, 1], [0, 0]]
    assert values["global"].tolist() == [[40 / 80, 8 / 16], [0, 0]]


def test_letters_of_several_characters() -> None:
    reward = Similarity(target="C Cl N O")
    reward.bind(SMILES)
    values = reward.score(["C Cl N O", "C C N O"]).values
    np.testing.assert_allclose(values, [[1, 1], [11 / 20, 3 / 4]])


def test_empty_sequence_has_no_score() -> None:
    reward = Similarity(target="ACGT")
    reward.bind(DNA)
    scores = reward.score(["", "ACGT"])
    assert np.isnan(scores.values[0]).all()
    assert scores.errors == ["empty sequence", None]


@pytest.mark.parametrize(
    ("target", "message"),
    [("", "the target is empty"), ("ACU", "'U' at position 3 is not in the dna alphabet")],
)
def test_target_must_fit_the_alphabet(target: str, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        Similarity(target=target).bind(DNA)


def test_target_from_a_table(tmp_path: Path) -> None:
    file = tmp_path / "one.csv"
    file.write_text("name,dna\na,ACGT\n")
    reward = Similarity(file=file, column="dna")
    reward.bind(DNA)
    assert reward.score(["ACGT"]).values.tolist() == [[1, 1]]
    with pytest.raises(RewardError, match=r"reward 'similarity'.*nowhere"):
        Similarity(file=tmp_path / "nowhere.csv").bind(DNA)


def test_one_target_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "two.fasta"
    file.write_text(">a\nACGT\n>b\nAC\n")
    with pytest.raises(RewardError, match=r"two\.fasta holds 2 sequences"):
        Similarity(file=file).bind(DNA)
    with pytest.raises(ConfigurationError, match="target=SEQUENCE or file=FASTA"):
        Similarity()
    with pytest.raises(ConfigurationError, match="one of them"):
        Similarity(file=file, target="ACGT")
    with pytest.raises(RewardError, match="bind"):
        Similarity(target="ACGT").score(["ACGT"])
