"""The Markov chain: every conditional against enumeration, and how it is counted."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from designkit.alphabet import Alphabet
from designkit.diffusion.masked import Masked
from designkit.errors import ConfigurationError, UsageError
from designkit.models._markov_net import MarkovNet
from designkit.models.base import DiffusionModel, LengthLaw, one_hot
from designkit.models.markov import MarkovDenoiser
from designkit.recipes.objective import draw_designs
from designkit.recipes.options import RunOptions
from designkit.recipes.pretrain import run_pretrain
from designkit.registry.build import load_diffusion_model
from designkit.registry.store import Registry

K, L = 3, 5
MASK = K
ALPHABET = Alphabet("three", ("A", "B", "C"))
START = torch.tensor([0.5, 0.3, 0.2])
# B never follows A, and C is never followed by itself.
TRANSITIONS = torch.tensor([[0.7, 0.0, 0.3], [0.25, 0.5, 0.25], [0.4, 0.6, 0.0]])
WORDS = torch.tensor(list(product(range(K), repeat=L)))


def network() -> MarkovNet:
    net = MarkovNet(K)
    net.load_state_dict({"start": START, "transitions": TRANSITIONS})
    return net.eval()


def model() -> DiffusionModel:
    return DiffusionModel(network(), Masked(size=K), ALPHABET, LengthLaw({L: 1}))


def law() -> Tensor:
    """Probabilities of all words, in closed form."""
    steps = TRANSITIONS.double()[WORDS[:, :-1], WORDS[:, 1:]]
    return START.double()[WORDS[:, 0]] * steps.prod(1)


def conditional(tokens: Tensor, place: int) -> Tensor:
    """The law (K,) of a letter given the others, by enumeration."""
    agree = ((WORDS == tokens) | (tokens == MASK)).all(1)
    found = torch.zeros(K, dtype=torch.float64)
    return found.index_add(0, WORDS[:, place], law() * agree)


def test_every_guess_is_the_conditional_of_the_chain() -> None:
    states = torch.tensor(list(product(range(K + 1), repeat=L)))
    probs = model().predict_x_0(states, torch.ones(len(states))).double()
    seen = 0
    for tokens, found in zip(states, probs, strict=True):
        for place in range(L):
            if tokens[place] != MASK:
                continue
            expected = conditional(tokens, place)
            if expected.sum() > 0:
                seen += 1
                assert torch.allclose(found[place], expected / expected.sum(), atol=1e-6)
            else:  # the known letters cannot be
                assert found[place].isfinite().all()
    assert seen > 500


def test_relaxed_guesses_are_those_of_masked_states_and_have_derivatives() -> None:
    states = torch.tensor(list(product(range(K + 1), repeat=L)))
    possible = torch.stack([conditional(tokens, 0).sum() > 0 for tokens in states])
    states = states[possible]
    hard = one_hot(states, K + 1)
    relaxed = hard.clone().requires_grad_()
    found, expected = network()(relaxed, torch.ones(1)), network()(hard, torch.ones(1))
    masked = states == MASK
    assert torch.allclose(found[masked].exp(), expected[masked].exp(), atol=1e-6)
    found[masked].exp()[:, 0].sum().backward()
    assert relaxed.grad is not None
    assert relaxed.grad.isfinite().all()
    assert relaxed.grad.abs().sum() > 0


def test_relaxed_evidence_is_weighed_as_bayes_says() -> None:
    x_t = one_hot(torch.full((1, L), MASK), K + 1)
    x_t[0, 2] = torch.tensor([0.1, 0.6, 0.0, 0.3])
    seen = torch.tensor([0.4, 0.9, 0.3]).double()
    weights = law() * seen[WORDS[:, 2]]
    found = network()(x_t, torch.ones(1))[0].exp().double()
    for place in (0, 1, 3, 4):
        expected = torch.zeros(K).double().index_add(0, WORDS[:, place], weights)
        assert torch.allclose(found[place], expected / expected.sum(), atol=1e-6)


def test_draws_follow_the_chain_and_never_do_what_it_does_not() -> None:
    designs = draw_designs(model(), 4000, 1)
    tokens = torch.from_numpy(ALPHABET.encode(designs))
    place = (tokens * K ** torch.arange(L - 1, -1, -1)).sum(1)
    found = torch.bincount(place, minlength=K**L).double() / len(designs)
    exact = law()
    assert not found[exact == 0].any()
    draws = torch.multinomial(exact, 40 * 4000, True, generator=torch.Generator().manual_seed(0))
    spread = [torch.bincount(d, minlength=K**L) / 4000 - exact for d in draws.split(4000)]
    usual = torch.stack([one.abs().sum() / 2 for one in spread])
    assert (found - exact).abs().sum() / 2 < usual.mean() + 5 * usual.std()


def test_padding_behind_the_end_says_nothing() -> None:
    tokens = torch.tensor([[MASK, 1, MASK], [0, MASK, MASK]])
    x_t = one_hot(tokens, K + 1)
    padded = torch.cat([x_t, one_hot(torch.zeros(2, 2), K + 1)], 1)
    valid = torch.arange(5).expand(2, -1) < 3
    found = network()(padded, torch.ones(2), valid=valid)[:, :3]
    assert torch.equal(found, network()(x_t, torch.ones(2)))
    found = network()(padded.requires_grad_(), torch.ones(2), valid=valid)[:, :3]
    assert torch.allclose(found[tokens == MASK], network()(x_t, torch.ones(2))[tokens == MASK])


def test_other_weights_take_the_place_of_what_was_computed() -> None:
    net, x_t = network(), one_hot(torch.tensor([[0, MASK]]), K + 1)
    assert net(x_t, torch.ones(1))[0, 1].exp()[2] == pytest.approx(0.3)
    net.load_state_dict({"start": START, "transitions": TRANSITIONS.flip(1)})
    assert net(x_t, torch.ones(1))[0, 1].exp()[0] == pytest.approx(0.3)


def test_counts_of_rows_and_their_shares() -> None:
    rows = [
        (torch.tensor([[0, 1, 1], [2, 0, 1]]), torch.tensor([1.0, 0.5])),
        (torch.tensor([[0]]), torch.tensor([2.0])),
    ]
    found = MarkovDenoiser().counted(rows, 4)
    assert torch.allclose(found["start"], torch.tensor([3.0, 0, 0.5, 0]) / 3.5)
    assert found["transitions"][0].tolist() == [0, 1, 0, 0]
    assert found["transitions"][1].tolist() == [0, 1, 0, 0]
    assert found["transitions"][2].tolist() == [1, 0, 0, 0]
    # Nothing follows the fourth letter: as often as letters are, 3.5 A, 2.5 B, 0.5 C of 6.5.
    assert torch.allclose(found["transitions"][3], torch.tensor([3.5, 2.5, 0.5, 0]) / 6.5)
    smooth = MarkovDenoiser(pseudocount=0.5).counted(rows, 4)
    assert torch.allclose(smooth["transitions"][0], torch.tensor([0.5, 2.0, 0.5, 0.5]) / 3.5)


def pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **flags: object) -> DiffusionModel:
    monkeypatch.setenv("DESIGNKIT_HOME", str(tmp_path / "home"))
    source = tmp_path / "rows.csv"
    words = ["".join(letters) for letters in product("AC", repeat=6)]
    source.write_text("\n".join(["sequence", *words]) + "\n")
    split = {"by": "group:sequence", "valid": 0.1, "test": 0.1}
    settings = {"kind": "prior", "alphabet": "dna", "architecture": "markov", "split": split}
    run_pretrain(
        RunOptions(flags={**settings, **flags}, seed=0, device="cpu", threads=1, quiet=True),
        sources=[str(source)],
        name="chain",
        run_dir=str(tmp_path / "run"),
        resume=False,
    )
    return load_diffusion_model(Registry().find("chain"))


def test_pretrain_counts_and_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = pretrained(tmp_path, monkeypatch)
    table = prior.denoiser.get_parameter("transitions")
    assert not table[:, [2, 3]].any()
    assert torch.allclose(table[:2, :2], torch.tensor(0.5), atol=0.06)
    assert set("".join(draw_designs(prior, 50, 0))) == {"A", "C"}


def test_pretrain_counts_both_strands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = pretrained(tmp_path, monkeypatch, reverse_complement=True)
    table = prior.denoiser.get_parameter("transitions")
    assert table[0, 1] > 0.4
    assert table[2, 3] == pytest.approx(float(table[0, 1]), abs=0.1)  # AC backwards is GT


def test_what_cannot_be_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="with uniform noise there is nothing to count"):
        pretrained(tmp_path, monkeypatch, process="uniform")
    with pytest.raises(UsageError, match="no classes"):
        MarkovDenoiser().build(K + 1, K, 2)
