"""Constraints of one alphabet and one length, in the forms that drawing and checking need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from designkit.alphabet import Alphabet
from designkit.constraints._automaton import Automaton
from designkit.constraints._check import Forbidden, Share, as_character, span
from designkit.errors import UsageError


@dataclass(frozen=True)
class Constraints:
    """What every design of one length must satisfy.

    Attributes:
        alphabet: of the designs.
        length: L.
        allowed: (L,) tokens of each position, never none.
        words: that may not occur.
        shares: bounds of the share of letters in windows.
        automaton: dies exactly at ``words``; None where there are none.
        frames: (L,) which of the automaton's tables holds at each position.
    """

    alphabet: Alphabet
    length: int
    allowed: tuple[frozenset[int], ...]
    words: tuple[Forbidden, ...] = ()
    shares: tuple[Share, ...] = ()
    automaton: Automaton | None = None
    frames: tuple[int, ...] = ()

    @cached_property
    def fixed(self) -> tuple[int | None, ...]:
        """(L,) the token of positions that have only one, None for those to be designed."""
        return tuple(next(iter(some)) if len(some) == 1 else None for some in self.allowed)

    @cached_property
    def free(self) -> int:
        """Number of positions to be designed."""
        return self.fixed.count(None)

    def check_satisfiable(self) -> None:
        """Refuse constraints that no sequence satisfies.

        Bounds of a share are compared with what each window's positions allow on their own; that
        they may contradict the forbidden words shows only while drawing.

        Raises:
            UsageError: no sequence satisfies them.
        """
        if self.automaton is not None:
            reached = self.automaton.reach(self.frames, self.allowed)
            empty = next((place for place, states in enumerate(reached) if not states), None)
            if empty is not None:
                raise UsageError(f"no sequence satisfies the constraints: {self._contradiction()}")
        for share in self.shares:
            width = share.window(self.length)
            if width > self.length:
                raise UsageError(f"--gc in windows of {width}: designs have {self.length} letters")
            least, most = share.counts(self.length)
            may = [bool(share.tokens & some) for some in self.allowed]
            must = [some <= share.tokens for some in self.allowed]
            for start in range(self.length - width + 1):
                window = slice(start, start + width)
                low, high = max(least, sum(must[window])), min(most, sum(may[window]))
                if low > high:
                    raise UsageError(
                        f"no sequence satisfies the constraints: {span(start, width)} can hold "
                        f"{sum(must[window])} to {sum(may[window])} of G and C, --gc asks for "
                        f"{least} to {most}"
                    )

    def _contradiction(self) -> str:
        """Why the automaton finds nothing: a word in letters that are fixed, or all together."""
        unfixed = len(self.alphabet.letters)  # stands for a letter that no word holds
        written = "".join(as_character(unfixed if token is None else token) for token in self.fixed)
        for word in self.words:
            for start in word.find(written):
                return f"{word.name} is at {span(start, len(word.word))}, which are fixed"
        return "the forbidden words leave no letter somewhere; forbid less"

    def violations(self, sequence: str) -> list[str]:
        """What is wrong with a finished sequence, in words; empty where all constraints hold."""
        alphabet = self.alphabet
        symbols = alphabet.split(sequence)
        if len(symbols) != self.length:
            return [f"{len(symbols)} letters, must be {self.length}"]
        found = alphabet.find_invalid(sequence)
        if found is not None:
            return [f"position {found[0]}: {found[1]!r} is not a letter"]
        tokens = [alphabet.index[symbol] for symbol in symbols]
        wrong = []
        for place, (token, some) in enumerate(zip(tokens, self.allowed, strict=True)):
            if token not in some:
                wanted = " or ".join(alphabet.letters[other] for other in sorted(some))
                wrong.append(f"position {place + 1}: {alphabet.letters[token]}, must be {wanted}")
        written = "".join(map(as_character, tokens))
        for word in self.words:
            width = len(word.word)
            wrong += [f"{word.name} at {span(start, width)}" for start in word.find(written)]
        for share in self.shares:
            width = share.window(self.length)
            for start in share.find(tokens):
                counted = sum(token in share.tokens for token in tokens[start : start + width])
                wrong.append(
                    f"GC {counted / width:.3g} at {span(start, width)}, must be "
                    f"{share.low:g} to {share.high:g}"
                )
        return wrong
