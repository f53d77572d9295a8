"""The prior of paired RNA: closed forms of its law, and its place among models."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from designkit.alphabet import RNA
from designkit.errors import ConfigurationError, ModelError, UsageError
from designkit.models._base_pairs_net import BasePairsNet
from designkit.models.base import DiffusionModel
from designkit.models.base_pairs import STABLE_HAIRPINS, BasePairsDenoiser
from designkit.randomness import noise_for
from designkit.recipes.objective import draw_designs
from designkit.registry.build import load_diffusion_model
from designkit.registry.rules import find_prior

STRUCTURE = ".((.....)).."
A, C, G, U, MASK = range(5)
GC, GU = 0.6, 0.1
REFERENCE = f"base_pairs?structure={STRUCTURE}&gc={GC}&gu={GU}&unpaired_a=0.7&boosted_a=0.3"


def model() -> DiffusionModel:
    return load_diffusion_model(find_prior(REFERENCE))


def guess(tokens: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model().predict_x_0(torch.tensor([tokens]), torch.ones(1))[0].double()


def probability(sequence: str) -> float:
    """In closed form: a factor of each pair and of each unpaired base."""
    pair = {"GC": GC / 2, "CG": GC / 2, "GU": GU / 2, "UG": GU / 2, "AU": 0.15, "UA": 0.15}
    free = {"A": 0.7, "C": 0.1, "G": 0.1, "U": 0.1}
    boosted = {"A": 0.3, "C": 0.1, "G": 0.4, "U": 0.2}
    found = pair.get(sequence[1] + sequence[9], 0) * pair.get(sequence[2] + sequence[8], 0)
    for place in (0, 3, 7, 10):
        found *= boosted[sequence[place]]
    for place in (4, 5, 6, 11):
        found *= free[sequence[place]]
    return found


def test_guesses_without_and_with_the_partner() -> None:
    nothing = guess([MASK] * 12)
    marginal = torch.tensor([0.15, GC / 2, GC / 2 + GU / 2, 0.15 + GU / 2]).double()
    for place in (1, 2, 8, 9):
        assert torch.allclose(nothing[place], marginal, atol=1e-6)
    assert torch.allclose(nothing[4], torch.tensor([0.7, 0.1, 0.1, 0.1]).double(), atol=1e-6)
    for place in (0, 3, 7, 10):
        boosted = torch.tensor([0.3, 0.1, 0.4, 0.2]).double()
        assert torch.allclose(nothing[place], boosted, atol=1e-6)
    known = [MASK] * 12
    known[1], known[8] = G, A
    with_partners = guess(known)
    share = GC / (GC + GU)
    assert torch.allclose(with_partners[9], torch.tensor([0, share, 0, 1 - share]).double())
    assert torch.allclose(with_partners[2], torch.tensor([0.0, 0, 0, 1]).double())
    assert with_partners[1].tolist() == [0, 0, 1, 0]
    others = [0, *range(3, 8), 10, 11]
    assert torch.equal(with_partners[others], nothing[others])


@pytest.mark.parametrize("sequence", ["AGCGAAAAGCAA", "CUAUCAGAUGUA", "AGCGAAAAGAAA"])
def test_conditionals_multiply_to_the_law_in_every_order(sequence: str) -> None:
    letters = RNA.encode([sequence])[0].tolist()
    for order in [*permutations((1, 2, 8, 9)), (9, 2, 1, 8)]:
        tokens, found = [MASK] * 12, 1.0
        for place in [*order, 0, 3, 4, 5, 6, 7, 10, 11]:
            found *= float(guess(tokens)[place, letters[place]])
            tokens[place] = letters[place]
        assert found == pytest.approx(probability(sequence), rel=1e-5, abs=1e-20)


def test_draws_form_the_pairs_and_follow_the_law() -> None:
    designs = draw_designs(model(), 3000, 1)
    assert all(probability(design) > 0 for design in designs)
    for pair, share in (("GC", GC / 2), ("UA", 0.15), ("GU", GU / 2)):
        found = sum(d[1] + d[9] == pair for d in designs) / len(designs)
        assert abs(found - share) < 4 * (share * (1 - share) / len(designs)) ** 0.5
    assert designs[5:9] == draw_designs(model(), 4, 1, start=5)


def test_relaxed_letters_mix_the_guesses_of_the_partner() -> None:
    letters = torch.full((1, 12), MASK)
    x_t = torch.nn.functional.one_hot(letters, 5).float()
    x_t[0, 1] = torch.tensor([0.2, 0, 0.5, 0, 0.3])
    found = model().logits(x_t, torch.ones(1)).exp()[0, 9]
    given_g = torch.tensor([0, GC, 0, GU]) / (GC + GU)
    marginal = torch.tensor([0.15, GC / 2, GC / 2 + GU / 2, 0.15 + GU / 2])
    expected = 0.2 * torch.tensor([0.0, 0, 0, 1]) + 0.5 * given_g + 0.3 * marginal
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_letter_that_no_pair_has_cannot_inform_its_partner() -> None:
    settings = BasePairsDenoiser(structure="(...)", gc=1, gu=0)
    law = settings.law()
    assert law.isfinite().all()
    assert torch.allclose(law.sum(2), torch.ones(5, 5).double())
    assert torch.equal(law[0, A], law[0, MASK])


def stable_law(structure: str, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """All sequences (N, L) of a hairpin of 4 bases, and their probabilities in closed form."""
    words = {4: ("CCUCGG", "CUCCGG", "CUACGG", "CUGCGG")}[4]
    every = torch.cartesian_prod(*[torch.arange(4)] * 6)
    pair = {"GC": 0.36, "CG": 0.36, "GU": 0.04, "UG": 0.04, "AU": 0.1, "UA": 0.1}
    boosted = {"A": 0.5, "C": 0.5 / 7, "G": 2 / 7, "U": 1 / 7}
    free = {"A": 0.88, "C": 0.04, "G": 0.04, "U": 0.04}
    found = []
    for word in RNA.decode(every):
        plain = pair.get(word[0] + word[5], 0) * boosted[word[1]] * free[word[2]]
        plain *= free[word[3]] * boosted[word[4]]
        found.append((1 - share) * plain + share * (word in words) / len(words))
    return every, torch.tensor(found, dtype=torch.float64)


def test_guesses_in_stable_hairpins_are_those_of_the_mixture() -> None:
    every, law = stable_law("(....)", 0.4)
    assert float(law.sum()) == pytest.approx(1)
    mixed = load_diffusion_model(find_prior("base_pairs?structure=(....).(....)&hairpins=0.4"))
    source = torch.Generator().manual_seed(3)
    seen = set()
    for _ in range(60):
        x_0 = every[torch.multinomial(law, 1, generator=source)[0]]
        known = torch.rand(6, generator=source) < 0.6
        x_t = torch.full((1, 13), MASK)
        x_t[0, 7:] = x_0.where(known, torch.tensor(MASK))
        with torch.inference_mode():
            found = mixed.predict_x_0(x_t, torch.ones(1))[0]
        weight = law * (every == x_0)[:, known].all(1)
        for place in (~known).nonzero().flatten().tolist():
            expected = torch.zeros(4, dtype=torch.float64).index_add(0, every[:, place], weight)
            expected /= weight.sum()
            assert torch.allclose(found[7 + place].double(), expected, atol=1e-5)
            seen.add((place, round(float(expected.max()), 2)))
    assert len(seen) > 20
    assert mixed.denoiser.groups.tolist() == [0] * 6 + [6] + [7] * 6


def test_the_share_of_stable_hairpins_is_that_of_draws() -> None:
    reference = "base_pairs?structure=((....)).((......))&hairpins=0.6"
    designs = draw_designs(load_diffusion_model(find_prior(reference)), 2000, 1)
    for start, size in ((1, 4), (10, 6)):
        words = [design[start : start + size + 2] in STABLE_HAIRPINS[size] for design in designs]
        assert abs(sum(words) / len(words) - 0.6) < 0.05
    pairs = {design[0] + design[7] for design in designs}
    assert pairs == {"GC", "CG", "AU", "UA", "GU", "UG"}


@pytest.mark.parametrize("hairpin", [w for words in STABLE_HAIRPINS.values() for w in words])
def test_stable_hairpins_are_more_stable_than_others(hairpin: str) -> None:
    vienna = pytest.importorskip("RNA")
    size = len(hairpin)

    def energy(sequence: str) -> int:
        return int(vienna.fold_compound(sequence).eval_hp_loop(1, size))

    words = STABLE_HAIRPINS[size - 2]
    others = [
        word
        for first in "ACGU"
        for last in "ACGU"
        if (word := hairpin[0] + first + "A" * (size - 4) + last + hairpin[-1]) not in words
    ]
    assert energy(hairpin) <= min(map(energy, others)) - 40


def test_another_length_is_refused() -> None:
    net = BasePairsNet(BasePairsDenoiser(structure="(...)"))
    with pytest.raises(UsageError, match="the structure has 5 bases, not 6"):
        net(torch.zeros(1, 6, 5), torch.ones(1))


def test_shares_of_pairs_are_shares() -> None:
    with pytest.raises(ValidationError, match=r"gc and gu are 1.2 of all pairs"):
        BasePairsDenoiser(structure="(...)", gc=0.9, gu=0.3)


def test_rules_have_an_identity() -> None:
    prior = find_prior(REFERENCE)
    assert prior.ref == prior.name == "base_pairs"
    assert prior.sha256 == find_prior(REFERENCE).sha256
    assert prior.sha256 != find_prior(REFERENCE.replace("gc=0.6", "gc=0.5")).sha256
    assert prior.card["length_law"] == {"12": 1}


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("base_pairs", ModelError, "unknown model 'base_pairs'"),
        ("base_pair?structure=(...)", UsageError, "did you mean 'base_pairs'"),
        ("cnn?channels=8", UsageError, "cnn is a network to be trained"),
        ("base_pairs?(...)", UsageError, "written ?key=value&key=value"),
        ("base_pairs?gc=1&gc=0", UsageError, "each once"),
        ("base_pairs?structure=(..)", ConfigurationError, "positions 1 and 4 cannot pair"),
        ("base_pairs?structur=(...)", ConfigurationError, "did you mean 'structure'"),
        ("base_pairs?gc=1", ConfigurationError, "'structure' is missing"),
    ],
)
def test_references_that_name_no_prior(
    reference: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("DESIGNKIT_HOME", str(tmp_path))
    with pytest.raises(error) as caught:
        find_prior(reference)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) or error is ConfigurationError


def test_noise_decides_alone() -> None:
    from designkit.algorithms.sampling.ancestral import Ancestral
    from designkit.algorithms.sampling.base import Request

    drawn = Ancestral().sample(model(), None, Request(12), noise_for(3, 4)).tokens
    alone = Ancestral().sample(model(), None, Request(12), noise_for(3, 1, start=2)).tokens
    assert torch.equal(drawn[2:3], alone)
