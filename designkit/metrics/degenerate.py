"""Master keys: sequences without content, which only a reward that can be fooled scores high.

The figure of an audit is the share of degenerate sequences (homopolymers, tandem repeats, truncated
designs) that score above the 99th percentile of natural ones. About 1 % of natural ones do, so a
reward is fooled where the share is clearly above theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from designkit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NATURAL = "natural"
DEGENERATE = ("homopolymers", "repeats", "truncated")
"""Classes whose sequences make the figure."""

QUANTILE = 0.99
ALLOWED = 1 - QUANTILE
LARGEST_UPPER_END = 0.05
WORST_SHOWN = 3
LONGEST_NAMED = 6

Verdict = Literal["can be fooled", "passes", "not clear"]


def homopolymers(size: int, length: int) -> NDArray[np.int64]:
    """One letter throughout: (K, L) tokens."""
    return np.repeat(np.arange(size)[:, None], length, axis=1)


def tandem_repeats(
    size: int, length: int, longest: int, limit: int, seed: int
) -> tuple[NDArray[np.int64], int]:
    """Repeats of all units of 2 to ``longest`` letters that are no repeats of a shorter one.

    Units in another phase are units of their own; the last copy is cut where the length says.

    Args:
        size: letters in the alphabet, K.
        length: of the sequences, L.
        longest: letters of the longest units, not counting those longer than half the sequence.
        limit: number of sequences at most; beyond that they are drawn at random.
        seed: of that choice.

    Returns:
        (n, L) tokens, and how many there are in all.
    """
    repeats = []
    for unit in range(2, min(longest, length // 2) + 1):
        units = np.indices((size,) * unit).reshape(unit, -1).T
        shorter = [d for d in range(1, unit) if unit % d == 0]
        is_new = np.ones(len(units), dtype=bool)
        for period in shorter:
            is_new &= (units != np.roll(units, period, axis=1)).any(axis=1)
        repeats.append(units[is_new][:, np.arange(length) % unit])
    everything = np.concatenate([np.zeros((0, length), dtype=np.int64), *repeats])
    if len(everything) <= limit:
        return everything, len(everything)
    chosen = np.random.default_rng(seed).choice(len(everything), limit, replace=False)
    return everything[np.sort(chosen)], len(everything)


def truncated(
    sequences: Sequence[NDArray[np.int64]], size: int, shortest: int
) -> list[NDArray[np.int64]]:
    """A quarter, half or three quarters of each sequence; the rest is one letter, or nothing.

    Row n keeps its left part where n is even, its right part where it is odd, the shares and the
    letters take turns. Every second round of these leaves the rest out, where what is kept is
    not shorter than ``shortest``.

    Args:
        sequences: N rows of letters, of any lengths.
        size: letters in the alphabet, K.
        shortest: length that a sequence has at least.
    """
    result = []
    for number, row in enumerate(sequences):
        kept = len(row) * (1 + number // 2 % 3) // 4
        is_cut = number // (6 * size) % 2 == 1 and kept >= shortest
        filler = np.full(0 if is_cut else len(row) - kept, number // 6 % size, dtype=np.int64)
        left = number % 2 == 0
        parts = (row[:kept], filler) if left else (filler, row[len(row) - kept :])
        result.append(np.concatenate(parts))
    return result


def short_name(sequence: str) -> str:
    """``poly-A``, ``(TATC)n``, or the two ends of a sequence that is no repeat."""
    for period in range(1, min(LONGEST_NAMED, len(sequence) - 1) + 1):
        if sequence[period:] == sequence[:-period]:
            return f"poly-{sequence[0]}" if period == 1 else f"({sequence[:period]})n"
    return sequence if len(sequence) <= 24 else f"{sequence[:12]}...{sequence[-9:]}"


def wilson_interval(hits: int, count: int, deviations: float = 1.959964) -> tuple[float, float]:
    """Interval of a share (Wilson 1927): 95 % by default, (0, 1) for a count of 0."""
    if count == 0:
        return 0.0, 1.0
    share, spread = hits / count, deviations**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    low = 0.0 if hits == 0 else middle - half
    return low, 1.0 if hits == count else middle + half


@dataclass(frozen=True)
class Share:
    """How many of the scored sequences of some classes are above the threshold."""

    count: int
    above: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, better: NDArray[np.float64], threshold: float) -> Share:
        """Of values in which higher is better; NaN counts nowhere."""
        count, above = int((~np.isnan(better)).sum()), int((better > threshold).sum())
        low, high = wilson_interval(above, count)
        return cls(count, above, above / count if count else math.nan, low, high)


@dataclass(frozen=True)
class ClassFigures:
    """What the sequences of one class scored.

    Attributes:
        share: of those with a score that are above the threshold.
        without_score: sequences that got NaN.
        median: of the scores, NaN where there are none.
        best: the best score.
        worst_offenders: sequences above the threshold with their scores, best first.
    """

    share: Share
    without_score: int
    median: float
    best: float
    worst_offenders: list[tuple[str, float]]

    @property
    def tried(self) -> int:
        """Sequences scored, with and without result."""
        return self.share.count + self.without_score


@dataclass(frozen=True)
class Audit:
    """The figures of an audit.

    Attributes:
        sign: 1 where more is better, -1 where less is.
        threshold: the 99th percentile of natural scores; the 1st where less is better.
        classes: figures by class, ``natural`` first.
        degenerate: of homopolymers, repeats and truncated designs together.
        worst: the best scored degenerate sequence and its score, None where none has a score.
        verdict: ``can be fooled`` where the interval of the share is above that of the natural
            sequences; ``passes`` where the share is at most 1 % and its interval ends below 5 %;
            else ``not clear``.
    """

    sign: int
    threshold: float
    classes: dict[str, ClassFigures]
    degenerate: Share
    worst: tuple[str, float] | None
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Plain values; NaN as None."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.worst is None:
            return f"{self.verdict}: no degenerate sequence has a score"
        where = "above the 99th" if self.sign > 0 else "below the 1st"
        found, (sequence, value) = self.degenerate, self.worst
        return (
            f"{self.verdict}: {100 * found.share:.2g} % of {found.count} degenerate sequences "
            f"score {where} percentile of natural ones ({self.threshold:.4g}), 95 % interval "
            f"{100 * found.low:.2g} to {100 * found.high:.2g} %; "
            f"the best scored is {short_name(sequence)} ({value:.4g})"
        )


def audit(
    sequences: Mapping[str, Sequence[str]], values: Mapping[str, NDArray[np.float64]], sign: int
) -> Audit:
    """Judge a reward by what it gave natural and degenerate sequences.

    Args:
        sequences: written sequences of each class; ``natural`` is needed.
        values: their scores, (n,) by class, NaN for no score.
        sign: 1 where more is better, -1 where less is.

    Raises:
        InputError: no natural sequence has a score.
    """
    better = {name: sign * np.asarray(found, dtype=np.float64) for name, found in values.items()}
    if np.isnan(better[NATURAL]).all():
        raise InputError("an audit needs natural sequences with a score, and none has one")
    threshold = float(np.nanquantile(better[NATURAL], QUANTILE))
    classes = {
        name: _figures(sequences[name], found, threshold, sign) for name, found in better.items()
    }
    present = [name for name in DEGENERATE if name in better]
    named = [(name, row) for name in present for row in range(len(better[name]))]
    pooled = np.array([better[name][row] for name, row in named])
    share = Share.of(pooled, threshold)
    worst = None
    if share.count:
        name, row = named[int(np.nanargmax(pooled))]
        worst = (sequences[name][row], float(values[name][row]))
    verdict: Verdict = "not clear"
    # The percentile of few natural sequences is uncertain; their own interval says how much.
    if share.low > max(ALLOWED, classes[NATURAL].share.high):
        verdict = "can be fooled"
    elif share.share <= ALLOWED and share.high <= LARGEST_UPPER_END:
        verdict = "passes"
    return Audit(sign, sign * threshold, classes, share, worst, verdict)


def _figures(
    sequences: Sequence[str], better: NDArray[np.float64], threshold: float, sign: int
) -> ClassFigures:
    scored = better[~np.isnan(better)]
    order = np.argsort(-np.nan_to_num(better, nan=-np.inf), kind="stable")[:WORST_SHOWN]
    return ClassFigures(
        Share.of(better, threshold),
        len(better) - len(scored),
        sign * float(np.median(scored)) if len(scored) else math.nan,
        sign * float(scored.max()) if len(scored) else math.nan,
        [(sequences[row], float(sign * better[row])) for row in order if better[row] > threshold],
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
