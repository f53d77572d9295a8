"""``designkit rewards check``: the conformance checks on a file's or on random sequences."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from designkit.errors import UsageError
from designkit.recipes.objective import model_loader
from designkit.recipes.runtime import choose_device, set_threads

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet
    from designkit.rewards import Finding, Reward

DEFAULT_LENGTH = 50
RANDOM_SEQUENCES = 32
MOST_SEQUENCES = 256


def check_reward_of(
    ref: str,
    source: str | None,
    alphabet_ref: str | None,
    length: int | None,
    device: str,
    threads: int | None,
) -> Iterator[Finding]:
    """Check a reward.

    Args:
        ref: reference of the reward.
        source: file of sequences, its first ``MOST_SEQUENCES`` are taken; random ones without.
        alphabet_ref: their alphabet; without one the first that the reward reads.
        length: of random sequences; without one that of the model behind the reward, or
            ``DEFAULT_LENGTH``.
        device: where models compute.
        threads: CPU threads, None for the default.

    Raises:
        RewardError: there is no such reward, or it cannot be made.
        InputError: the file cannot be read.
        UsageError: a length beside a file, or a file without sequences.
    """
    if source is not None and length is not None:
        raise UsageError("--length is for random sequences; leave out --sequences or --length")

    from designkit.rewards import iterate_checks, load_reward, time_reward

    set_threads(threads)
    load = model_loader(choose_device(device))
    models: list[Any] = []

    def load_and_note(model_ref: str) -> Any:
        models.append(load(model_ref))
        return models[-1]

    reward = load_reward(ref, load_model=load_and_note)
    try:
        alphabet = _alphabet(reward, alphabet_ref)
        if source is not None:
            sequences = _read(source, alphabet)
        else:
            sequences = random_sequences(alphabet, length or _usual_length(models))
        failed = False
        for finding in iterate_checks(reward, alphabet, sequences):
            failed |= finding.outcome == "failed"
            yield finding
        if not failed:
            yield time_reward(reward, sequences)
    finally:
        reward.close()


def random_sequences(alphabet: Alphabet, length: int) -> list[str]:
    """The same uniformly random sequences each time."""
    source = random.Random(0)
    return [
        alphabet.separator.join(source.choices(alphabet.letters, k=length))
        for _ in range(RANDOM_SEQUENCES)
    ]


def _alphabet(reward: Reward, ref: str | None) -> Alphabet:
    from designkit.io.alphabets import load_alphabet

    if ref is not None:
        return load_alphabet(ref)
    if reward.own_alphabet is not None:
        return reward.own_alphabet
    return load_alphabet(reward.info.alphabets[0] if reward.info.alphabets else "dna")


def _usual_length(models: list[Any]) -> int:
    """The commonest length that the model behind a reward was trained on."""
    for model in models:
        counts = Counter(model.length_law.counts)
        return int(counts.most_common(1)[0][0])
    return DEFAULT_LENGTH


def _read(source: str, alphabet: Alphabet) -> list[str]:
    from designkit.io.sequences import read_sequences

    with read_sequences(source, alphabet=alphabet, chunk_rows=MOST_SEQUENCES) as reader:
        sequences = next((frame["sequence"].tolist() for frame in reader), [])
    if not sequences:
        raise UsageError(f"{source} holds no sequences to check with")
    return list(sequences)
