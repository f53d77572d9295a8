"""Sequences of mixed lengths as token arrays of one length each, and what models refuse of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from designkit.errors import RewardError
from designkit.rewards.base import explain_t_u

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from designkit.alphabet import Alphabet
    from designkit.models.base import LengthLaw


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


def tokens_by_known_length(
    alphabet: Alphabet,
    sequences: Sequence[str],
    law: LengthLaw,
    model: str,
    errors: list[str | None],
) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """``tokens_by_length`` for lengths that a model was trained on; others get a reason.

    Args:
        alphabet: of the model.
        sequences: N sequences.
        law: of the model's lengths.
        model: its name, for the reasons.
        errors: (N) filled in.
    """
    known = law.fixed or f"{law.minimum} to {law.maximum}"
    for rows, tokens in tokens_by_length(alphabet, sequences):
        length = tokens.shape[1]
        if law.minimum <= length <= law.maximum:
            yield rows, tokens
            continue
        for row in rows:
            errors[row] = f"length {length}; {model!r} was trained on {known}"


def refuse_other_letters(mine: Alphabet, alphabet: Alphabet, model: str, does: str) -> None:
    """Refuse sequences whose letters are not those of a model.

    Args:
        mine: of the model.
        alphabet: of the sequences.
        model: its name.
        does: what it does with letters: ``reads``, ``writes``.

    Raises:
        RewardError: the letters differ.
    """
    if alphabet.letters != mine.letters:
        raise RewardError(
            f"model {model!r} {does} {mine.name} ({mine.describe()}), the sequences are "
            f"{alphabet.name} ({alphabet.describe()}){explain_t_u([mine.name], alphabet)}"
        )
