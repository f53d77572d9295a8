"""What a set of designs looks like as a set: are they different, and are they plausible strings?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from designkit.alphabet import Alphabet
from designkit.sequence_stats import by_length, composition, hamming_diversity, longest_homopolymer

LONG_RUN = 6  # letters of one kind in a row that synthesis and sequencing begin to suffer from


def describe_set(sequences: Sequence[str], alphabet: Alphabet) -> dict[str, float]:
    """Set statistics for reports and model cards.

    Args:
        sequences: N sequences; they may differ in length.
        alphabet: their letters.

    Returns:
        ``count``; ``distinct``, the share of different sequences (0 to 1); ``hamming``, the mean
        share of differing positions over all pairs of equal length (NaN without such a pair);
        ``long_runs``, the share with a run of at least 6 equal letters; and ``share_<letter>``,
        each letter's mean share of a sequence. Shares of an empty set are NaN.

    Raises:
        InputError: a letter outside the alphabet.
    """
    count = len(sequences) or float("nan")
    pairs = differing = long_runs = 0.0
    letters = np.zeros(alphabet.size)
    for _, tokens in by_length([alphabet.encode([sequence])[0] for sequence in sequences]):
        long_runs += float((longest_homopolymer(tokens) >= LONG_RUN).sum())
        letters += composition(tokens, alphabet.size).sum(axis=0)
        if tokens.size > tokens.shape[1] > 0:
            here = len(tokens) * (len(tokens) - 1) / 2
            pairs += here
            differing += here * hamming_diversity(tokens, alphabet.size)
    return {
        "count": float(len(sequences)),
        "distinct": len(set(sequences)) / count,
        "hamming": differing / pairs if pairs else float("nan"),
        "long_runs": long_runs / count,
        **{
            f"share_{letter}": float(share / count)
            for letter, share in zip(alphabet.letters, letters, strict=True)
        },
    }
