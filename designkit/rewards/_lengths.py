"""Sequences of mixed lengths as token arrays of one length each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.alphabet import Alphabet


def tokens_by_length(
    alphabet: Alphabet, sequences: Sequence[str]
) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Places in ``sequences`` and their (n, L) tokens, one block for each length L.

    Raises:
        InputError: a letter outside the alphabet.
    """
    rows: dict[int, list[int]] = {}
    for row, sequence in enumerate(sequences):
        length = len(alphabet.split(sequence)) if alphabet.separator else len(sequence)
        rows.setdefault(length, []).append(row)
    for members in rows.values():
        yield members, alphabet.encode([sequences[row] for row in members])
