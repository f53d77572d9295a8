from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards.forbidden import Forbidden
from tests.rewards.examples import Example, random_sequences


def examples(folder: Path) -> list[Example]:
    file = folder / "words.txt"
    file.write_text("AC\nNGY\n")
    dna = random_sequences()
    return [
        Example("forbidden?words=AC,GG", dna),
        Example("forbidden?words=ACG,RY,AT&strand=both", dna),
        Example(f"forbidden?file={file}", random_sequences(RNA), RNA),
        Example("forbidden?words=K,RR,NG", random_sequences(PROTEIN, length=40), PROTEIN),
    ]


def bound(alphabet: Alphabet = DNA, **parameters: Any) -> Forbidden:
    reward = Forbidden(**parameters)
    reward.bind(alphabet)
    return reward


def counts(reward: Forbidden, sequences: list[str]) -> list[float]:
    found: list[float] = reward.score(sequences).values[:, 0].tolist()
    return found


@pytest.mark.parametrize(
    ("words", "strand", "expected"),
    [
        ("AAA", "forward", [2, 0, 0, 0]),  # overlaps count
        ("AAA", "both", [2, 2, 0, 0]),
        ("GAATTC", "both", [0, 0, 1, 0]),  # a palindrome lies on both strands: one place
        ("GAATTC,gaattc", "forward", [0, 0, 1, 0]),
        ("GGTCTC,GAGACC", "both", [0, 0, 0, 1]),  # one word and its other strand
        ("GAGACC", "forward", [0, 0, 0, 0]),
        ("GRATTY,GGN", "forward", [0, 0, 1, 1]),
        ("GAATTCGAATTCGAATTC", "both", [0, 0, 0, 0]),
    ],
)
def test_worked_by_hand(words: str, strand: str, expected: list[int]) -> None:
    sequences = ["AAAAC", "CTTTTG", "CGAATTCC", "TGGTCTCA"]
    assert counts(bound(words=words, strand=strand), sequences) == expected


def test_equals_regular_expressions() -> None:
    words = {"TATA": "TATA", "CANNTG": "CA[ACGT][ACGT]TG", "RGW": "[AG]G[AT]", "SS": "[CG][CG]"}
    sequences = ["".join(random.Random(n).choices("ACGT", k=40 + n % 7)) for n in range(200)]
    expected = [sum(len(re.findall(f"(?={p})", s)) for p in words.values()) for s in sequences]
    assert counts(bound(words=list(words)), sequences) == expected
    both = [
        sum(
            len({m.start() for m in re.finditer(f"(?={p})", s)})
            + len({m.start() for m in re.finditer(f"(?={p})", DNA.reverse_complement(s))})
            for p in ("TATAA", "[AG]GC")
        )
        for s in sequences
    ]  # neither word can lie on both strands of one place
    assert counts(bound(words="TATAA,RGC", strand="both"), sequences) == both


def test_rna_reads_t_as_u() -> None:
    sequences = ["AAUAAA", "AAUUAAAUAAA"]
    assert counts(bound(RNA, words="AATAAA"), sequences) == [1, 1]
    assert counts(bound(RNA, words="AAUAAA"), sequences) == [1, 1]
    assert counts(bound(RNA, words="AAY"), sequences) == [1, 2]


def test_other_alphabets_have_one_strand() -> None:
    assert counts(bound(PROTEIN, words="NG,N"), ["ANGN", "DGQG"]) == [3, 0]
    assert counts(bound(PROTEIN, words="BG,xq"), ["ANGN", "DGQG"]) == [1, 2]
    with pytest.raises(RewardError, match="word 'AO': 'O' is not in the protein alphabet"):
        bound(PROTEIN, words="AO")
    with pytest.raises(RewardError, match="protein has one strand: strand=forward"):
        bound(PROTEIN, words="NG", strand="both")
    tokens = Alphabet("bits", ("C", "Cl", "[nH]"), separator=" ")
    assert counts(bound(tokens, words="C Cl,[nH]"), ["C Cl C Cl", "Cl [nH]"]) == [2, 1]


def test_expected_number_under_independent_letters() -> None:
    reward = bound(words="ANC,GT", strand="both")
    probs = torch.softmax(torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(1)), -1)
    every = torch.cartesian_prod(*[torch.arange(4)] * 5)
    chances = torch.stack([probs[0, place, every[:, place]] for place in range(5)]).prod(0)
    exact = (torch.tensor(counts(reward, DNA.decode(every))) * chances).sum()
    assert reward.score_relaxed(probs).item() == pytest.approx(exact.item(), rel=1e-5)


def test_positions_that_do_not_exist_hold_no_words() -> None:
    reward = bound(words="AC,G")
    probs = torch.eye(4)[torch.from_numpy(DNA.encode(["ACGAC", "ACGAC"]))]
    valid = torch.tensor([[True] * 5, [True] * 4 + [False]])
    assert reward.score_relaxed(probs, valid).tolist() == [3, 2]
    assert reward.score_relaxed(probs[:, :0]).tolist() == [0, 0]


def test_words_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# sites\nGAATTC\n\n  AAAA \n")
    assert counts(bound(file=file, words="GGG"), ["GAATTCGGGAAAA"]) == [3]
    file.write_text("# none\n")
    with pytest.raises(RewardError, match=r"words\.txt: no words in it"):
        Forbidden(file=file)
    with pytest.raises(RewardError, match=r"absent\.txt: No such file"):
        Forbidden(file=tmp_path / "absent.txt")


def test_parameters_are_checked() -> None:
    with pytest.raises(RewardError, match=r"forbidden\?words=GAATTC,AAAAAA"):
        Forbidden()
    with pytest.raises(RewardError, match="word 'GAXTTC': 'X' is not in the dna alphabet"):
        bound(words="GAXTTC")
    with pytest.raises(RewardError, match="bind"):
        Forbidden(words="A").score(["A"])
    with pytest.raises(ConfigurationError, match="did you mean 'forward'"):
        Forbidden(words="A", strand="forwards")


def test_short_sequences_hold_nothing() -> None:
    scores = bound(words="GAATTC").score(["", "GAATT"])
    assert np.array_equal(scores.values, [[0], [0]])
    assert scores.errors == [None, None]
