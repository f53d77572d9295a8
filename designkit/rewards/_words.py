"""Words in sequences, with IUPAC codes and on either strand: counted, and expected counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards.base import Reward, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""A parameter with several values: ``a,b`` in a reference, or a list."""


class WordCounter:
    """Counts places where words occur; places may overlap, equal words count once.

    Args:
        words: of letters of the alphabet and its codes, see ``Alphabet.tokens_of``.
        alphabet: of the sequences.
        both_strands: whether a word may also lie on the other strand. A place where it lies on
            both, as a palindrome does, is one place.
        name: of the reward, for messages.

    Raises:
        RewardError: an empty word, a letter that is not in the alphabet, or no other strand.
    """

    def __init__(
        self, words: Iterable[str], alphabet: Alphabet, *, both_strands: bool, name: str
    ) -> None:
        other = alphabet.complement_tokens if both_strands else None
        if both_strands and other is None:
            raise RewardError(f"reward {name!r}: {alphabet.name} has one strand: strand=forward")
        distinct: dict[frozenset[bytes], list[NDArray[np.bool_]]] = {}
        for word in words:
            mask = _mask(word, alphabet, name)
            masks = [mask]
            if other is not None:
                masks.append(mask[::-1, list(other)].copy())
            # The width tells masks of equal bytes apart: all have K columns.
            distinct.setdefault(frozenset(m.tobytes() for m in masks), masks)
        self._words = [masks[:1] if len(key) == 1 else masks for key, masks in distinct.items()]

    def count(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of all words in (N, L) tokens: (N,)."""
        import numpy as np

        total = np.zeros(len(tokens), dtype=np.int64)
        for masks in self._words:
            sites = tokens.shape[1] - len(masks[0]) + 1
            if sites < 1:
                continue
            found = np.zeros((len(tokens), sites), dtype=bool)
            for mask in masks:
                here = np.ones_like(found)
                for offset, allowed in enumerate(mask):
                    here &= allowed[tokens[:, offset : offset + sites]]
                found |= here
            total += found.sum(axis=1)
        return total

    def expect(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Expected places of all words if letters are independent: (B, L, K) to (B,)."""
        total = probs.sum((1, 2)) * 0
        for masks in self._words:
            width = len(masks[0])
            if probs.shape[1] < width:
                continue
            chance = _chance(probs, masks[0])
            if len(masks) == 2:  # a word on both strands of a place is there once
                both = _chance(probs, masks[0] & masks[1])
                chance = chance + _chance(probs, masks[1]) - both
            if valid is not None:
                chance = chance * valid.unfold(1, width, 1).all(-1)
            total = total + chance.sum(1)
        return total


def _mask(word: str, alphabet: Alphabet, name: str) -> NDArray[np.bool_]:
    """Which letters a word allows at each of its positions: (width, K)."""
    import numpy as np

    symbols = alphabet.split(word)
    if not symbols:
        raise RewardError(f"reward {name!r}: an empty word")
    mask = np.zeros((len(symbols), alphabet.size), dtype=bool)
    for place, symbol in enumerate(symbols):
        tokens = alphabet.tokens_of(symbol)
        if not tokens:
            raise RewardError(
                f"reward {name!r}: word {word!r}: {symbol!r} is not in the {alphabet.name} "
                f"alphabet ({alphabet.describe()}, IUPAC codes)"
            )
        mask[place, list(tokens)] = True
    return mask


def _chance(probs: Tensor, mask: NDArray[np.bool_]) -> Tensor:
    """Probability of a (width, K) mask at each place of (B, L, K) probabilities: (B, sites)."""
    import torch

    sites = probs.shape[1] - len(mask) + 1
    allowed = torch.from_numpy(mask).to(probs)
    chance = torch.ones_like(probs[:, :sites, 0])
    for offset in range(len(mask)):
        chance = chance * (probs[:, offset : offset + sites] @ allowed[offset])
    return chance


class WordReward(Reward):
    """Base of rewards that count words; differentiable.

    Attributes:
        words: what is counted, see ``WordCounter``; set by the constructor of a subclass.
        both_strands: whether the other strand counts too.
    """

    words: list[str]
    both_strands: bool
    _bound_to: tuple[Alphabet, WordCounter] | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Read the words in the letters of the alphabet."""
        super().bind(alphabet)
        name = self.info.name
        counter = WordCounter(self.words, alphabet, both_strands=self.both_strands, name=name)
        self._bound_to = alphabet, counter

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1) places; a sequence shorter than all words has none."""
        import numpy as np

        alphabet, counter = self._bound()
        values = np.zeros((len(sequences), 1))
        for rows, tokens in tokens_by_length(alphabet, sequences):
            values[rows, 0] = counter.count(tokens)
        return Scores(values, [None] * len(sequences))

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Expected number of places, (B, L, K) to (B,)."""
        return self._bound()[1].expect(probs, valid)

    def _bound(self) -> tuple[Alphabet, WordCounter]:
        if self._bound_to is None:
            raise RewardError(f"reward {self.info.name!r}: bind an alphabet before scoring")
        return self._bound_to
