"""Ehrlich functions: the authors' own values, the known optimum, bans, and steps worked by hand."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from designkit.alphabet import DNA, PROTEIN, Alphabet
from designkit.errors import ConfigurationError, RewardError
from designkit.rewards import ehrlich
from designkit.rewards._ehrlich_function import EhrlichFunction, draw_feasible, draw_function
from designkit.rewards.ehrlich import Ehrlich
from tests.rewards.examples import Example, random_sequences
from tests.rewards.holo_functions import (
    CONFIGURATIONS,
    GOLDEN,
    Configuration,
    holo_ehrlich,
    holo_values,
    make_holo,
    probes,
    unpack,
)

NUMBERS = Alphabet("numbers", tuple(str(number) for number in range(32)), separator=" ")
ALPHABETS = {4: DNA, 20: PROTEIN, 32: NUMBERS}


def examples(folder: Path) -> list[Example]:
    return [
        Example("ehrlich?length=12&num_motifs=1&motif_length=3", random_sequences()),
        Example(
            "ehrlich?length=12&epistasis=2&quantization=2&seed=3&infeasible=-0.5",
            random_sequences(PROTEIN),
            PROTEIN,
        ),
    ]


def bound(one: Configuration) -> Ehrlich:
    reward = Ehrlich(**one.parameters)
    reward.bind(ALPHABETS[one.size])
    return reward


def assert_same(reward: Ehrlich, one: Configuration, tokens: Any, expected: Any) -> None:
    values = reward.score(ALPHABETS[one.size].decode(tokens)).values
    feasible = np.isfinite(expected)
    assert 0.1 < feasible.mean() < 0.9
    np.testing.assert_array_equal(values[:, 1], feasible)
    np.testing.assert_allclose(values[:, 0], np.where(feasible, expected, -1), atol=1e-6)


@pytest.mark.parametrize("entry", json.loads(GOLDEN.read_text()), ids=lambda entry: entry["length"])
def test_values_of_the_authors_as_recorded(entry: dict[str, Any]) -> None:
    levels, packed, optimum = (entry.pop(key) for key in ("levels", "packed", "optimum"))
    one = Configuration(**entry)
    expected = unpack(levels, packed)
    assert len(np.unique(expected)) >= 5
    assert_same(bound(one), one, probes(one.size, optimum), expected)


@pytest.mark.skipif(importlib.util.find_spec("holo") is None, reason="needs pytorch-holo")
@pytest.mark.parametrize("one", CONFIGURATIONS)
def test_values_of_the_authors_package(one: Configuration) -> None:
    with holo_ehrlich() as theirs:
        made = make_holo(theirs, one)
        tokens = probes(one.size, made.optimal_solution().tolist(), seed=1)
        reward = bound(one)
        assert_same(reward, one, tokens, holo_values(made, tokens))
        best = holo_values(made, ALPHABETS[one.size].encode([reward.optimum()]))
        assert best.tolist() == [1.0]
        # Other seeds: the functions themselves, motif for motif.
        for seed in range(20):
            other = Configuration(**one.parameters | {"size": one.size, "seed": seed})
            made = make_holo(theirs, other)
            drawn = draw_function(one.size, one.length, one.num_motifs, one.motif_length, seed)
            assert drawn.motifs.tolist() == [motif.tolist() for motif in made.motifs]
            gaps = np.diff(drawn.offsets, axis=1).tolist()
            assert gaps == [spacing.tolist() for spacing in made.spacings]
            np.testing.assert_array_equal(drawn.allowed, (made.transition_matrix > 0).numpy())


@pytest.mark.parametrize("one", CONFIGURATIONS)
def test_optimum(one: Configuration) -> None:
    reward = bound(one)
    alphabet = ALPHABETS[one.size]
    assert reward.score([reward.optimum()]).values.tolist() == [[1, 1]]
    # Each element of each motif is needed: a letter that is nowhere else breaks one of them.
    tokens = alphabet.encode([reward.optimum()])[0]
    unused = sorted(set(range(one.size)) - set(tokens.tolist()))
    for letter in unused[:1]:
        spoilt = np.where(tokens == tokens[0], letter, tokens)
        assert reward.score(alphabet.decode(spoilt[None])).values[0, 0] < 1


def by_hand(monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> Ehrlich:
    """Motifs A..CGT (gap of 2) and TTGA over DNA; only A after T is banned."""
    allowed = np.ones((4, 4), dtype=bool)
    allowed[3, 0] = False
    motifs = DNA.encode(["ACGT", "TTGA"])
    offsets = np.array([[0, 3, 4, 5], [0, 1, 2, 3]])
    function = EhrlichFunction(allowed, motifs, offsets, length=12)
    monkeypatch.setattr(ehrlich, "draw_function", lambda *_: function)
    reward = Ehrlich(length=12, **parameters)
    reward.bind(DNA)
    return reward


@pytest.mark.parametrize(
    ("sequence", "first", "second"),
    [
        ("AGGCGTTTGACC", 4, 4),
        ("AGGCGTTTGCCC", 4, 3),
        ("ACCCCCTTGACC", 2, 4),
        ("AAACGGTTGACC", 3, 4),
        ("CCCCCCTTGACC", 2, 4),
        ("GGCGTTTGACCC", 1, 4),
        ("CCCCCCCCCCCC", 1, 0),
    ],
)
def test_by_hand(monkeypatch: pytest.MonkeyPatch, sequence: str, first: int, second: int) -> None:
    scores = by_hand(monkeypatch).score([sequence])
    np.testing.assert_allclose(scores.values, [[first / 4 * second / 4, 1]])
    halves = by_hand(monkeypatch, quantization=2).score([sequence]).values[0, 0]
    assert halves == (first // 2) / 2 * (second // 2) / 2
    # h (1 + e h (h - 1)) at e = 2: 1/4 -> 5/32, 1/2 -> 1/4, 3/4 -> 15/32, 1 -> 1
    response = [0, 5 / 32, 1 / 4, 15 / 32, 1]
    epistatic = by_hand(monkeypatch, epistasis=2).score([sequence]).values[0, 0]
    assert epistatic == pytest.approx(response[first] * response[second])


def test_a_banned_transition_is_a_value_below_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = ["AGGCGTTTGACC", "AGGCGTAATTGA", "TACCCCCCCCCC", "CCCCCCCCCCTA"]
    scores = by_hand(monkeypatch, infeasible=-3).score(sequences)
    assert scores.values.tolist() == [[1, 1], [-3, 0], [-3, 0], [-3, 0]]
    assert scores.errors == [None] * 4


def test_finer_steps_never_lower_a_value() -> None:
    sequences = PROTEIN.decode(
        probes(20, PROTEIN.encode([bound(CONFIGURATIONS[2]).optimum()])[0].tolist())[:2000]
    )
    found = []
    for levels in (1, 2, 4):
        reward = Ehrlich(length=64, seed=1, quantization=levels)
        reward.bind(PROTEIN)
        found.append(reward.score(sequences).values[:, 0])
        inside = found[-1][found[-1] >= 0]
        assert set(np.unique(inside * levels**2)) <= {a * b for a in range(5) for b in range(5)}
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found[2] > found[0]).any()


def test_other_lengths_have_no_score() -> None:
    reward = Ehrlich(length=12)
    reward.bind(DNA)
    scores = reward.score(["ACGT", "C" * 12, ""])
    assert scores.errors == ["length 4, not 12", None, "length 0, not 12"]
    assert np.isnan(scores.values).all(axis=1).tolist() == [True, False, True]


def test_info() -> None:
    reward = Ehrlich(length=12, infeasible=-2)
    assert reward.info.outputs[0].range == (-2, 1)
    with pytest.raises(RewardError, match="bind an alphabet"):
        reward.score(["A" * 12])


def test_letters_that_lead_nowhere() -> None:
    binary = Alphabet("binary", ("0", "1"))
    Ehrlich(length=8, seed=1).bind(binary)
    with pytest.raises(RewardError, match=r"seed 2 and 2 letters.*choose another seed"):
        Ehrlich(length=8, seed=2).bind(binary)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "reward ehrlich needs length: ehrlich?length=..."),
        ({"length": 7}, "2 motifs of 4 letters need length=8, not 7"),
        ({"length": 12, "quantization": 3}, "quantization=3 does not divide motif_length=4"),
        ({"length": 12, "infeasible": 0}, "infeasible: must be below 0"),
        ({"length": 12, "motif_lenght": 3}, "did you mean 'motif_length'?"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Ehrlich(**parameters)
    assert message in str(caught.value)


def test_walks_are_feasible_and_use_all_that_is_allowed() -> None:
    function = draw_function(6, 40, 2, 4, seed=3)
    walks = draw_feasible(6, 40, 3, 3000)
    assert walks.shape == (3000, 40)
    assert function.feasible(walks).all()
    pairs = np.bincount((walks[:, :-1] * 6 + walks[:, 1:]).ravel(), minlength=36).reshape(6, 6)
    assert ((pairs > 0) == function.allowed).all()
    # The stationary law: places are alike.
    shares = [np.bincount(walks[:, place], minlength=6) / 3000 for place in (0, 39)]
    assert abs(shares[0] - shares[1]).max() < 5 * (0.5 / 3000) ** 0.5
    assert not (walks == draw_feasible(6, 40, 3, 3000, draw_seed=1)).all()
