"""Classifier-free guidance: exact laws at scales 0 and 1, the enumerated chain at any other."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from designkit.algorithms.sampling.ancestral import Ancestral
from designkit.algorithms.sampling.base import Request
from designkit.algorithms.sampling.cfg import CFG
from designkit.diffusion.base import Transition
from designkit.errors import UsageError
from designkit.models.base import DiffusionModel
from designkit.randomness import noise_for
from tests.tabular import Law, World, make_joint_world, places, tv, tv_excess

JOINT = make_joint_world()
WORLD = JOINT.marginal
K, L = WORLD.size, WORLD.length
DRAWS = 20_000


def sample(scale: float, name: str = "class_1", kind: type[CFG] = CFG) -> Tensor:
    model = JOINT.model().conditioned(name)
    return kind(guidance_scale=scale).sample(model, None, Request(L), noise_for(0, DRAWS)).tokens


def guided(world: World, scale: float) -> Law:
    """The mixed conditionals by their definition, (V^L, L, K)."""
    if scale == 0:
        return WORLD.conditionals
    with np.errstate(divide="ignore", invalid="ignore"):
        of_class, of_all = np.log(world.conditionals), np.log(WORLD.conditionals)
        logs = scale * of_class if scale == 1 else scale * of_class + (1 - scale) * of_all
    logs = np.where(np.isneginf(of_class), -np.inf, logs)
    met = (world.completes * world.law).sum(1) > 0  # other states cannot be met
    weights = np.exp(np.where(met[:, None, None], logs, 0.0))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def chain_law(conditionals: Law) -> Law:
    """The law of decoding one position at a time in random order, over all K^L sequences."""
    clean = WORLD.clean.numpy()
    rows, law = np.arange(len(clean)), np.zeros(len(clean))
    orders = list(permutations(range(L)))
    for order in orders:
        x_t, drawn = np.full_like(clean, K), np.ones(len(clean))
        for position in order:
            guess = conditionals[places(torch.from_numpy(x_t), K + 1).numpy()]
            drawn *= guess[rows, position, clean[:, position]]
            x_t[:, position] = clean[:, position]
        law += drawn / len(orders)
    return law


@pytest.mark.parametrize("place", [0, 1])
def test_scale_1_is_the_class_and_scale_0_all_sequences(place: int) -> None:
    world, name = JOINT.worlds[place], f"class_{place}"
    assert tv(world.law, WORLD.law) > 0.1  # or the test could not tell
    assert tv(chain_law(guided(world, 1.0)), world.law) < 1e-12
    assert abs(tv_excess(sample(1.0, name), world.law)) < 0.01
    assert abs(tv_excess(sample(0.0, name), WORLD.law)) < 0.01


@pytest.mark.parametrize("scale", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("place", [0, 1])
def test_other_scales_have_the_law_of_the_mixed_chain(place: int, scale: float) -> None:
    world, name = JOINT.worlds[place], f"class_{place}"
    exact = chain_law(guided(world, scale))
    assert exact.sum() == pytest.approx(1)
    assert abs(tv_excess(sample(scale, name), exact)) < 0.01
    assert min(tv(exact, world.law), tv(exact, WORLD.law)) > 0.02


def test_every_guess_is_the_mixture_of_the_two() -> None:
    """Not only in the law: each half-masked sequence's guess, impossible letters included."""
    model = JOINT.model().conditioned("class_1")
    world = JOINT.worlds[1]
    possible = (world.completes * world.law).sum(1) > 0
    hidden = (WORLD.noisy == K).numpy()
    for scale in (0.0, 0.3, 1.0, 2.0, 7.5):
        with torch.inference_mode():
            guess = CFG(guidance_scale=scale).predict(model, WORLD.noisy, torch.ones(len(hidden)))
        assert guess.isfinite().all()
        torch.testing.assert_close(guess.sum(-1), torch.ones(guess.shape[:2]))
        wanted = guided(world, scale)
        off = abs(guess.numpy() - wanted)[possible][hidden[possible]]
        assert off.max() < 1e-5
        certain = torch.nn.functional.one_hot(WORLD.noisy.clamp(max=K - 1), K).float()
        assert torch.equal(guess[~hidden], certain[~hidden])


class Unnormalised(CFG):
    """The published mistake: the mixed weights of the letters multiply the rate of revealing."""

    def guess(self, model: DiffusionModel, x_t: Tensor, t: Tensor) -> Tensor:
        own = torch.full_like(t, 1, dtype=torch.int64)
        logs = [model.predict_x_0(x_t, t, one).double().log() for one in (own, own + 1)]
        mixed = self.guidance_scale * logs[0] + (1 - self.guidance_scale) * logs[1]
        return mixed.nan_to_num(-torch.inf).exp().float()


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 10.0])
def test_no_scale_changes_when_positions_are_revealed(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same positions in the same steps as ancestral sampling with the same noise."""
    written: list[Tensor] = []
    write = Transition.write

    def keep(self: Transition, x_t: Tensor, letters: Tensor) -> Tensor:
        written.append(write(self, x_t, letters))
        return written[-1]

    monkeypatch.setattr(Transition, "write", keep)
    settings = {"decoding": "grid", "steps": 6}
    Ancestral(**settings).sample(WORLD.model(), None, Request(L), noise_for(3, 200))
    plain = [(states == K)[:, 0] for states in written]
    written.clear()
    sampler = CFG(guidance_scale=scale, **settings)
    sampler.sample(JOINT.model().conditioned("class_1"), None, Request(L), noise_for(3, 200))
    assert len(plain) == len(written) == 6
    for ours, theirs in zip(written, plain, strict=True):
        assert torch.equal((ours == K)[:, 0], theirs)


def reveal_rate(kind: type[CFG], scale: float) -> Tensor:
    """Probability of revealing each position of each possible state from t to s = t / 2."""
    model = JOINT.model().conditioned("class_1")
    world = JOINT.worlds[1]
    possible = torch.from_numpy((world.completes * world.law).sum(1) > 0)
    states = WORLD.noisy[possible]
    t = torch.full((len(states),), 0.8)
    with torch.inference_mode():
        guess = kind(guidance_scale=scale).predict(model, states, t)
    reverse = model.process.posterior(states, guess, t / 2, t)
    rates: Tensor = reverse[..., :K].sum(-1)[states == K]
    return rates


def test_the_rate_of_revealing_does_not_depend_on_the_scale() -> None:
    """(m_t - m_s) / m_t = 1/2 in every state; without renormalising it depends on the input."""
    for scale in (0.0, 1.0, 3.0):
        assert (reveal_rate(CFG, scale) - 0.5).abs().max() < 1e-5
    assert (reveal_rate(Unnormalised, 1.0) - 0.5).abs().max() < 1e-5
    wrong = reveal_rate(Unnormalised, 3.0)
    assert (wrong - 0.5).abs().max() > 0.1
    assert wrong.std() > 0.02


class Swapped(CFG):
    """Class and null class exchanged."""

    def guess(self, model: DiffusionModel, x_t: Tensor, t: Tensor) -> Tensor:
        return CFG(guidance_scale=abs(1 - self.guidance_scale)).guess(model, x_t, t)


class Averaged(CFG):
    """Probabilities mixed instead of their logarithms."""

    def guess(self, model: DiffusionModel, x_t: Tensor, t: Tensor) -> Tensor:
        parts = [CFG(guidance_scale=one).guess(model, x_t, t) for one in (1.0, 0.0)]
        mixed = self.guidance_scale * parts[0] + (1 - self.guidance_scale) * parts[1]
        mixed = mixed.clamp(min=1e-9)
        return mixed / mixed.sum(-1, keepdim=True)


@pytest.mark.parametrize(("wrong", "scale"), [(Swapped, 2.0), (Averaged, 5.0)])
def test_wrong_mixtures_fail_the_criterion(wrong: type[CFG], scale: float) -> None:
    exact = chain_law(guided(JOINT.worlds[0], scale))
    assert tv_excess(sample(scale, "class_0", kind=wrong), exact) > 0.02


def test_both_guesses_are_one_call_and_counted() -> None:
    for scale, each in ((0.0, 1), (1.0, 1), (2.0, 2)):
        model = JOINT.model().conditioned("class_0")
        sampler = CFG(guidance_scale=scale)
        sampler.sample(model, None, Request(L), noise_for(0, 50))
        assert model.counter.calls == L
        assert each < model.counter.rows <= 50 * sampler.calls_per_design(L)[0]
        assert sampler.calls_per_design(L) == (each * L, 0)
        assert model.counter.rows % each == 0


def test_temperature_comes_after_the_mixture() -> None:
    model = JOINT.model().conditioned("class_0")
    with torch.inference_mode():
        plain = CFG(guidance_scale=2.0).predict(model, WORLD.noisy, torch.ones(len(WORLD.noisy)))
        cold = CFG(guidance_scale=2.0, denoiser_temperature=0.5).predict(
            model, WORLD.noisy, torch.ones(len(WORLD.noisy))
        )
    squared = plain.double().square()
    torch.testing.assert_close(cold.double(), squared / squared.sum(-1, keepdim=True))


def test_a_model_without_a_class_is_refused() -> None:
    for model in (JOINT.model(), WORLD.model()):
        with pytest.raises(UsageError, match="not bound to a class"):
            CFG().sample(model, None, Request(L), noise_for(0, 2))


def test_other_methods_draw_from_the_class_they_are_given() -> None:
    """A bound model is a prior like any other: ancestral sampling has the law of its class."""
    for place, world in enumerate(JOINT.worlds):
        model = JOINT.model().conditioned(f"class_{place}")
        tokens = Ancestral().sample(model, None, Request(L), noise_for(1, DRAWS)).tokens
        assert abs(tv_excess(tokens, world.law)) < 0.01
    tokens = Ancestral().sample(JOINT.model(), None, Request(L), noise_for(1, DRAWS)).tokens
    assert abs(tv_excess(tokens, WORLD.law)) < 0.01
