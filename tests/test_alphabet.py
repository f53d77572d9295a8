from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import ConfigurationError, InputError

TOKENS = Alphabet("smiles", ("C", "Cl", "(", ")", "="), separator=" ")


def test_tokens_are_places_in_the_letters():
    assert DNA.encode(["ACGT", "TTAA"]).tolist() == [[0, 1, 2, 3], [3, 3, 0, 0]]
    assert (DNA.size, DNA.mask, PROTEIN.size) == (4, 4, 20)
    assert TOKENS.encode(["C Cl ( C )"]).tolist() == [[0, 1, 2, 0, 3]]


@given(st.lists(st.text("ACDEFGHIKLMNPQRSTVWY", min_size=7, max_size=7), min_size=1))
def test_decode_undoes_encode(sequences):
    assert PROTEIN.decode(PROTEIN.encode(sequences)) == sequences


def test_token_vocabulary_round_trip():
    assert TOKENS.decode(np.array([[0, 1, 4]])) == ["C Cl ="]


def test_no_sequences_and_empty_sequences_have_shapes():
    assert DNA.encode([]).shape == (0, 0)
    assert DNA.encode(["", ""]).shape == (2, 0)
    assert DNA.decode(np.zeros((2, 0), dtype=int)) == ["", ""]


@pytest.mark.parametrize("letter", ["N", "a", "-", "é", "\xff", "Ω", "\ud800", "?"])
def test_letters_outside_are_refused(letter):
    with pytest.raises(InputError) as caught:
        DNA.encode(["ACGT", "AC" + letter + "T"])
    assert str(caught.value) == (
        f"sequence 1: {letter!r} at position 3 is not in the dna alphabet (ACGT)"
    )


def test_wide_character_is_not_taken_for_a_question_mark():
    with pytest.raises(InputError, match="'Ω' at position 2"):
        Alphabet("odd", ("A", "?")).encode(["AΩ"])


def test_unknown_token_is_refused():
    with pytest.raises(InputError, match=r"'Br' at position 2 .*smiles alphabet \(C Cl \( \) =\)"):
        TOKENS.encode(["C Br"])


def test_lengths_must_agree():
    with pytest.raises(InputError, match=r"different lengths in one batch: \[2, 3\]"):
        DNA.encode(["AC", "ACG"])


@given(st.text("ACGT"))
def test_reverse_complement_is_its_own_inverse(sequence):
    assert DNA.reverse_complement(DNA.reverse_complement(sequence)) == sequence


def test_reverse_complement_by_hand():
    assert DNA.reverse_complement("AACGT") == "ACGTT"
    assert RNA.reverse_complement("AUGC") == "GCAU"
    assert DNA.complement_tokens == (3, 2, 1, 0)
    assert PROTEIN.complement_tokens is None


def test_reverse_complement_refusals():
    with pytest.raises(InputError, match="the protein alphabet has no complement"):
        PROTEIN.reverse_complement("ACD")
    with pytest.raises(InputError, match="'N' at position 2 is not in the dna alphabet"):
        DNA.reverse_complement("ANG")


@pytest.mark.parametrize("alphabet", [DNA, RNA, PROTEIN, TOKENS])
def test_stored_form_round_trip(alphabet):
    assert Alphabet.from_dict(alphabet.to_dict()) == alphabet
    assert hash(Alphabet.from_dict(alphabet.to_dict())) == hash(alphabet)


def test_letters_may_be_one_string():
    assert Alphabet.from_dict({"letters": "HP"}).letters == ("H", "P")
    assert Alphabet.from_dict({"letters": "C Cl", "separator": " "}).letters == ("C", "Cl")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"letters": "AA"}, "a letter appears twice"),
        ({"letters": "A"}, "1 letters; 2 to 250 allowed"),
        ({"letters": ["A", "Cl"]}, "symbols of several letters need a separator"),
        ({"letters": "Aé"}, "letters must be ASCII"),
        ({"letters": "AC", "separator": ","}, "separator must be empty or one space"),
        ({"letters": ["A", ""]}, "symbols must be non-empty"),
        ({"letters": "AC", "complement": {"A": "C"}}, "complement must pair all letters"),
        (
            {"letters": "ACG", "complement": {"A": "C", "C": "G", "G": "A"}},
            "complement must pair all letters",
        ),
        ({"letter": "AC"}, "an alphabet needs 'letters' .* unknown: letter"),
        ({"letters": {"A": 1}}, "'letters' is a list"),
        ({"letters": ["C", False], "separator": " "}, "letters are text, False is not; .* quotes"),
    ],
)
def test_impossible_alphabets_are_refused(fields, problem):
    with pytest.raises(ConfigurationError, match=problem):
        Alphabet.from_dict(fields)


def test_all_problems_are_listed():
    with pytest.raises(ConfigurationError) as caught:
        Alphabet("bad", ("A", "A", "Cl"), separator=",")
    assert len(caught.value.problems) == 2


def test_long_vocabularies_are_described_by_their_beginning():
    vocabulary = Alphabet("many", tuple(f"t{i}" for i in range(50)), separator=" ")
    assert vocabulary.describe().endswith("t39 ...")
