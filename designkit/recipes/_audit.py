"""The sequences of an audit and the judgement of any score over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from designkit.metrics.degenerate import (
    NATURAL,
    Audit,
    audit,
    homopolymers,
    tandem_repeats,
    truncated,
)
from designkit.metrics.shuffles import shuffle_dinucleotides
from designkit.randomness import noise_for
from designkit.sequence_stats import by_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from designkit.alphabet import Alphabet

    Score = Callable[[str, list[str]], NDArray[np.float64]]

MOST_REPEATS = 1000
TRUNCATED_PER_LETTER = 24
MOST_TRUNCATED = 480
SMALL_ALPHABET = 5
"""Letters up to which units of 4 are few enough to try; beyond it units have 2."""


@dataclass(frozen=True)
class AuditResult:
    """Figures of an audit, and what was not tried."""

    audit: Audit
    repeats_in_all: int
    longest_unit: int
    length: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **self.audit.to_dict(),
            "sentence": self.audit.sentence,
            "length": self.length,
            "longest_unit": self.longest_unit,
            "repeats_in_all": self.repeats_in_all,
        }


def run_classes(
    score: Score,
    alphabet: Alphabet,
    natural: Sequence[str],
    *,
    sign: int,
    num: int,
    seed: int,
    length: int | None = None,
    others: dict[str, list[str]] | None = None,
) -> AuditResult:
    """Score natural and degenerate sequences, and judge.

    Args:
        score: values (n,) of the sequences of a class, given its name; NaN for no score.
        alphabet: of the sequences.
        natural: at least one sequence.
        sign: 1 where more is better, -1 where less is.
        num: sequences in each of the classes that are drawn at random, at most.
        seed: of what is drawn.
        length: of homopolymers, repeats and random sequences; that of the median natural sequence
            when not given.
        others: further classes to report.

    Raises:
        InputError: no natural sequence has a score.
    """
    size = alphabet.size
    rows = [alphabet.encode([sequence])[0] for sequence in natural]
    lengths = np.sort([len(row) for row in rows])
    length = length or int(lengths[(len(lengths) - 1) // 2])
    longest = 4 if size <= SMALL_ALPHABET else 2
    repeats, in_all = tandem_repeats(size, length, longest, MOST_REPEATS, seed)
    generator = np.random.default_rng(seed)

    values = {NATURAL: score(NATURAL, list(natural))}
    classes = {NATURAL: list(natural)}
    order = np.argsort(-np.nan_to_num(sign * values[NATURAL], nan=-np.inf), kind="stable")
    best = np.resize(order[: max(1, len(rows) // 10)], num)
    some = generator.permutation(len(rows))
    cut = [rows[row] for row in np.resize(some, min(TRUNCATED_PER_LETTER * size, MOST_TRUNCATED))]
    tokens: dict[str, Iterable[NDArray[np.int64]]] = {
        "homopolymers": homopolymers(size, length),
        "repeats": repeats,
        "truncated": truncated(cut, size, int(lengths[0])),
        "shuffled best": _shuffled([rows[row] for row in best], alphabet, seed),
        "shuffled": _shuffled([rows[row] for row in some[:num]], alphabet, seed + 1),
        "random": generator.integers(size, size=(num, length)),
    }
    for name, found in tokens.items():
        written = [alphabet.decode(row[None])[0] for row in found]
        if written:  # very short sequences have no repeats
            classes[name] = written
    classes |= others or {}
    values |= {name: score(name, found) for name, found in classes.items() if name != NATURAL}
    return AuditResult(audit(classes, values, sign), in_all, longest, length)


def _shuffled(
    rows: Sequence[NDArray[np.int64]], alphabet: Alphabet, seed: int
) -> list[NDArray[np.int64]]:
    """A dinucleotide-shuffled copy of each row."""
    copies: list[NDArray[np.int64]] = list(rows)
    noise = noise_for(seed, len(rows))
    for places, tokens in by_length(list(rows)):
        own = noise.rows(torch.from_numpy(places))
        shuffled = shuffle_dinucleotides(tokens, alphabet.size, own)
        for place, copy in zip(places.tolist(), shuffled, strict=True):
            copies[place] = copy
    return copies
