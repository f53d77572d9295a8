"""Noise: the published answers of its generator, and what a number does and does not depend on."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
import torch

from designkit import randomness
from designkit.randomness import MAX_SEED, Noise, _philox_words, noise_for, philox

PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (PI, (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)
def test_philox_gives_the_known_answers_of_random123(
    counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]
) -> None:
    words = philox(tuple(torch.tensor([word]) for word in counter), key)  # type: ignore[arg-type]
    assert tuple(int(word) for word in words) == answer
    even, odd = _philox_words([np.array([word]) for word in counter], key)
    assert tuple(words.item() for pair in zip(even, odd, strict=True) for words in pair) == answer


@pytest.mark.parametrize("positions", [None, 7, torch.tensor([[5, 0], [2**31, 9], [1, 1]])])
@pytest.mark.parametrize("candidates", [None, 4])
@pytest.mark.parametrize(("step", "candidate"), [(3, 0), (torch.tensor([1, 2, 1]),) * 2])
def test_devices_and_processors_draw_the_same_numbers(
    positions: int | torch.Tensor | None,
    candidates: int | None,
    step: int | torch.Tensor,
    candidate: int | torch.Tensor,
) -> None:
    noise = Noise(5, torch.tensor([0, 2**33 + 1, 2**39]), step, candidate)
    found = noise.uniform("test", positions, candidates)
    key = (5, zlib.crc32(b"test"))
    assert torch.equal(found, noise._uniform_on_device(key, positions, candidates))
    rows = [3] if candidates is None else [3, candidates]
    width = [] if positions is None else [7 if isinstance(positions, int) else 2]
    assert list(found.shape) == rows + width


def draws(noise: Noise, purpose: str = "test") -> torch.Tensor:
    return noise.uniform(purpose, 50)


def test_numbers_are_uniform() -> None:
    uniform = draws(noise_for(1, 4000)).flatten()
    assert uniform.dtype == torch.float64
    assert 0 < uniform.min()
    assert uniform.max() < 1
    ordered = uniform.sort().values
    grid = (torch.arange(len(ordered)) + 0.5) / len(ordered)
    # Kolmogorov-Smirnov at significance 1e-4.
    assert (ordered - grid).abs().max() < 2.2 / len(ordered) ** 0.5


@pytest.mark.parametrize(("word", "number"), [(0, 2.0**-53), (0xFFFFFFFF, 1 - 2.0**-53)])
def test_neither_0_nor_1_is_drawn(
    word: int, number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the generator's words are: logarithms of numbers, and of these, are finite."""
    words = np.full((2, 3, 50), word, dtype=np.uint64)
    monkeypatch.setattr(randomness, "_philox_words", lambda counter, key: (words, words))
    monkeypatch.setattr(randomness, "philox", lambda counter, key: (torch.tensor(word),) * 4)
    noise = noise_for(0, 3)
    for uniform in (draws(noise), noise._uniform_on_device((0, 0), 50, None)):
        assert (uniform == number).all()
        assert uniform.log().neg().log().isfinite().all()


def test_low_bits_are_uniform_too() -> None:
    bits = (draws(noise_for(2, 2000)) * 2**52).long()
    for shift in range(0, 52, 4):
        counts = torch.bincount((bits.flatten() >> shift) & 15, minlength=16).double()
        expected = counts.sum() / 16
        assert ((counts - expected) ** 2 / expected).sum() < 50  # chi-square, 15 df, p = 1e-5


@pytest.mark.parametrize(
    "other",
    [
        draws(noise_for(4, 400)),
        draws(noise_for(3, 400), "other"),
        draws(noise_for(3, 400, start=1)),
        draws(noise_for(3, 400).at(1)),
        draws(Noise(3, torch.arange(400), candidate=1)),
        draws(noise_for(3, 400)).roll(1, 1),
    ],
    ids=["seed", "purpose", "item", "step", "candidate", "position"],
)
def test_every_part_of_the_address_gives_independent_numbers(other: torch.Tensor) -> None:
    first = draws(noise_for(3, 400)).flatten() - 0.5
    second = other.flatten() - 0.5
    correlation = float((first * second).mean() * 12)
    assert abs(correlation) < 4.5 / len(first) ** 0.5
    assert (first != second).all()


def test_items_beyond_32_bits_and_the_largest_seed_have_numbers_of_their_own() -> None:
    low = Noise(MAX_SEED, torch.tensor([7]))
    high = Noise(MAX_SEED, torch.tensor([7 + (1 << 32)]))
    assert (draws(low) != draws(high)).all()
    assert (draws(low) != draws(Noise(0, torch.tensor([7])))).all()


def test_a_row_does_not_depend_on_its_batch() -> None:
    whole = noise_for(5, 10)
    assert torch.equal(draws(whole)[3:6], draws(noise_for(5, 3, start=3)))
    picked = torch.tensor([8, 2])
    assert torch.equal(draws(whole)[picked], draws(whole.rows(picked)))
    flags = torch.arange(10) % 3 == 0
    assert torch.equal(draws(whole)[flags], draws(whole.rows(flags)))


def test_rows_keep_steps_and_candidates() -> None:
    noise = Noise(6, torch.arange(4), step=torch.tensor([5, 6, 7, 8]), candidate=torch.arange(4))
    picked = torch.tensor([3, 1])
    assert torch.equal(draws(noise)[picked], draws(noise.rows(picked)))
    one = Noise(6, torch.tensor([3]), step=8, candidate=3)
    assert torch.equal(draws(noise)[3:], draws(one))


def test_repeat_numbers_the_candidates_of_each_row() -> None:
    noise = noise_for(7, 3).at(2)
    repeated = draws(noise.repeat(4)).view(3, 4, 50)
    assert torch.equal(repeated, noise.uniform("test", 50, candidates=4))
    assert torch.equal(repeated[:, 0], draws(noise))
    assert len(repeated[:, :, 0].unique()) == 12


def test_given_positions_get_the_numbers_of_those_positions() -> None:
    noise = noise_for(8, 2)
    positions = torch.tensor([[4, 0], [49, 7]])
    whole = draws(noise)
    assert torch.equal(noise.uniform("test", positions), whole.gather(1, positions))
    several = noise.uniform("test", positions, candidates=3)
    index = positions[:, None].expand(2, 3, 2)
    assert torch.equal(several, noise.uniform("test", 50, candidates=3).gather(2, index))


def test_at_changes_the_step_alone() -> None:
    noise = noise_for(9, 3)
    assert torch.equal(draws(noise.at(4).at(0)), draws(noise))
    per_row = noise.at(torch.tensor([0, 4, 0]))
    assert torch.equal(draws(per_row)[1], draws(noise.at(4))[1])
    assert torch.equal(draws(per_row)[2], draws(noise)[2])


def test_rounds_have_noise_of_their_own() -> None:
    noise = noise_for(9, 3)
    assert torch.equal(draws(noise.in_round(0)), draws(noise))
    seen = [draws(noise.in_round(number)) for number in range(4)]
    assert len(torch.cat(seen).unique()) == 4 * 3 * 50
    later = noise.in_round(3)
    for same in (later.rows(torch.tensor([0, 1, 2])), later.at(0), later.anew(0)):
        assert torch.equal(draws(same), seen[3])
    assert torch.equal(draws(later.repeat(2))[::2], seen[3])


def test_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    draws(noise_for(10, 5))
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
