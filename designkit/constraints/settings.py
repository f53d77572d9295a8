"""What a user writes about constraints, and what it means for one alphabet and one length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from designkit.alphabet import Alphabet
from designkit.constraints._automaton import Automaton, Word, build
from designkit.constraints._check import Forbidden, Share
from designkit.constraints.compiled import Constraints
from designkit.errors import UsageError
from designkit.settings import Settings

STOP_CODONS = ("TAA", "TAG", "TGA")
"""Of the standard genetic code."""


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _readable_ranges(text: str) -> str:
    read_ranges(text)
    return text


def _readable_shares(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        read_share(text)
    return texts


Positions = Annotated[str, BeforeValidator(_as_text), AfterValidator(_readable_ranges)]
"""Positions counted from 1: ``1-10,25``."""


class ConstraintSettings(Settings):
    """Hard constraints, as they are written.

    Attributes:
        template: letter or IUPAC code of every position; sets the length.
        fix: positions that keep their letter; all others are free to change.
        design: positions that are free to change; all others keep their letter.
        forbid: words that may not occur; IUPAC codes may be used. In DNA the reverse complement
            may not occur either, unless the word ends in ``:forward``.
        forbid_letters: letters that may not occur, except where they are kept.
        max_homopolymer: longest run of one letter.
        coding: ranges that are read as codons from their first position on: no stop codon.
        gc: bounds of the share of G and C, ``0.4-0.6`` of the whole sequence, or
            ``0.3-0.7:50`` of every 50 letters in a row.
    """

    template: str | None = None
    fix: Positions | None = None
    design: Positions | None = None
    forbid: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    forbid_letters: str | None = None
    max_homopolymer: int | None = Field(default=None, ge=1)
    coding: Positions | None = None
    gc: Annotated[tuple[str, ...], BeforeValidator(_several), AfterValidator(_readable_shares)] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not self.model_dump(exclude_defaults=True)

    def template_length(self, alphabet: Alphabet) -> int | None:
        """Letters that the template asks for; None without one."""
        return None if self.template is None else len(_symbols(self.template, alphabet))

    def compile(
        self, alphabet: Alphabet, length: int, parent: str | None = None
    ) -> Constraints | None:
        """Constraints of sequences of one length.

        Args:
            alphabet: of the sequences.
            length: L.
            parent: the sequence that ``fix`` and ``design`` keep letters of; without one they keep
                those of the template.

        Returns:
            None where nothing is asked for.

        Raises:
            UsageError: they do not fit the alphabet or the length, or no sequence satisfies them.
        """
        if self.is_empty:
            return None
        words, automaton = _words_of(self, alphabet)
        in_frame = self._codon_starts(length)
        compiled = Constraints(
            alphabet,
            length,
            self._allowed(alphabet, length, parent),
            words,
            self._shares(alphabet),
            automaton,
            tuple(int(place in in_frame) for place in range(length)),
        )
        compiled.check_satisfiable()
        return compiled

    def describe(self, alphabet: Alphabet) -> str:
        """The forbidden words, those of the other strand too, for messages.

        Raises:
            UsageError: as ``compile``.
        """
        names = [word.name for word in _words_of(self, alphabet)[0] if word.starts is None]
        return ", ".join(names)

    def _allowed(
        self, alphabet: Alphabet, length: int, parent: str | None
    ) -> tuple[frozenset[int], ...]:
        """Tokens of each position: template, kept letters, forbidden letters."""
        anything = frozenset(range(alphabet.size))
        template = [anything] * length
        if self.template is not None:
            template = _pattern(_symbols(self.template, alphabet), alphabet, "--template")
        own = template if parent is None else _pattern(alphabet.split(parent), alphabet, "parent")
        for name, tokens in (("--template", template), ("the parent", own)):
            if len(tokens) != length:
                raise UsageError(f"{name} has {len(tokens)} letters, designs have {length}")
        kept = self.kept(length)
        if kept is not None and parent is None and self.template is None:
            flag = "--fix" if self.fix is not None else "--design"
            raise UsageError(f"{flag} keeps letters of a template: add --template")
        banned = _banned(self.forbid_letters, alphabet)
        allowed = []
        for place, code in enumerate(template):
            if kept is not None and place in kept:
                allowed.append(_kept_letter(alphabet, place, own[place], code))
                continue
            # Of a sequence to be changed, a letter says what was there; a code, what must be there.
            is_changed = kept is not None and parent is None
            asked = anything if is_changed and len(code) == 1 else code
            if banned == anything:
                raise UsageError(f"--forbid-letters {self.forbid_letters}: these are all letters")
            if not asked - banned:
                raise UsageError(
                    f"position {place + 1}: the template asks for {_named(alphabet, asked)}, "
                    "--forbid-letters forbids that"
                )
            allowed.append(asked - banned)
        return tuple(allowed)

    def kept(self, length: int) -> frozenset[int] | None:
        """0-based positions that keep their letter; None where neither option was given."""
        if self.fix is None and self.design is None:
            return None
        fixed = _places(self.fix, length, "--fix")
        if self.design is None:
            return fixed
        designed = _places(self.design, length, "--design")
        both = min(fixed & designed, default=None)
        if both is not None:
            raise UsageError(f"position {both + 1} is in --fix and in --design")
        return frozenset(range(length)) - designed

    def _codon_starts(self, length: int | None = None) -> frozenset[int]:
        """0-based first positions of the codons of ``coding``."""
        starts: set[int] = set()
        if self.coding is not None:
            _places(self.coding, length, "--coding")
            for first, last in read_ranges(self.coding):
                if (last - first + 1) % 3:
                    raise UsageError(
                        f"--coding {first}-{last}: {last - first + 1} letters are not whole codons"
                    )
                starts.update(range(first - 1, last, 3))
        return frozenset(starts)

    def _forbidden(self, alphabet: Alphabet) -> Iterator[Forbidden]:
        for text in self.forbid:
            yield from _strands(text, alphabet)
        if self.max_homopolymer is not None:
            for token, letter in enumerate(alphabet.letters):
                run = self.max_homopolymer + 1
                yield Forbidden(
                    (frozenset([token]),) * run, alphabet.separator.join([letter] * run)
                )
        if self.coding is not None:
            _need_nucleotides(alphabet, "--coding")
            starts = self._codon_starts()
            for codon in STOP_CODONS:
                word = tuple(frozenset(alphabet.tokens_of(letter)) for letter in codon)
                name = "".join(alphabet.letters[token] for some in word for token in some)
                yield Forbidden(word, f"stop codon {name}", starts)

    def _shares(self, alphabet: Alphabet) -> tuple[Share, ...]:
        if self.gc:
            _need_nucleotides(alphabet, "--gc")
        strong = frozenset(alphabet.tokens_of("S"))
        return tuple(Share(strong, *read_share(text)) for text in self.gc)


@lru_cache(maxsize=16)
def _words_of(
    settings: ConstraintSettings, alphabet: Alphabet
) -> tuple[tuple[Forbidden, ...], Automaton | None]:
    """The forbidden words and their automaton, the same for all lengths."""
    words = tuple(settings._forbidden(alphabet))
    if not words:
        return (), None
    anywhere = [word.word for word in words if word.starts is None]
    in_frame = [word.word for word in words if word.starts is not None]
    return words, build(anywhere, in_frame, alphabet.size)


def read_ranges(text: str) -> list[tuple[int, int]]:
    """First and last positions of ``1-10,25``, counted from 1.

    Raises:
        ValueError: in one line.
    """
    ranges = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not found or not 1 <= first <= last:
            raise ValueError(f"{text!r} must be positions from 1 on, like 1-10,25")
        ranges.append((first, last))
    return ranges


def read_share(text: str) -> tuple[float, float, int | None]:
    """Low, high and width of ``0.4-0.6:50``; None for the whole sequence.

    Raises:
        ValueError: in one line.
    """
    number = r"\s*(\d*\.?\d+)\s*"
    found = re.fullmatch(rf"{number}-{number}(?::\s*(\d+)\s*)?", text)
    low, high = (float(found[1]), float(found[2])) if found else (1.0, 0.0)
    width = int(found[3]) if found and found[3] else None
    if not 0 <= low <= high <= 1 or width == 0:
        raise ValueError(f"{text!r} must be shares from 0 to 1, like 0.4-0.6 or 0.3-0.7:50")
    return low, high, width


def _places(text: str | None, length: int | None, flag: str) -> frozenset[int]:
    """0-based positions; with a length, none may lie beyond it."""
    places: set[int] = set()
    for first, last in read_ranges(text) if text is not None else ():
        if length is not None and last > length:
            raise UsageError(f"{flag} {text}: position {last}, but designs have {length} letters")
        places.update(range(first - 1, last))
    return frozenset(places)


def _symbols(text: str, alphabet: Alphabet) -> list[str]:
    """The symbols of a pattern; spaces that separate nothing may group letters."""
    return alphabet.split(text if alphabet.separator else "".join(text.split()))


def _pattern(symbols: Sequence[str], alphabet: Alphabet, flag: str) -> list[frozenset[int]]:
    """Tokens that each symbol stands for."""
    pattern = [frozenset(alphabet.tokens_of(symbol)) for symbol in symbols]
    for place, (symbol, tokens) in enumerate(zip(symbols, pattern, strict=True)):
        if not tokens:
            raise UsageError(
                f"{flag}: {symbol!r} at position {place + 1} is neither in the {alphabet.name} "
                f"alphabet ({alphabet.describe()}) nor a code for several letters"
            )
    return pattern


def _strands(text: str, alphabet: Alphabet) -> Iterator[Forbidden]:
    """A word as it is written, and its reverse complement where the alphabet has two strands."""
    written, _, strand = text.partition(":")
    if strand not in ("", "forward", "both"):
        raise UsageError(f"--forbid {text}: {strand!r} is no strand: forward or both")
    symbols = _symbols(written, alphabet)
    if not symbols:
        raise UsageError(f"--forbid {text!r}: an empty word")
    word = tuple(_pattern(symbols, alphabet, f"--forbid {text}"))
    name = alphabet.separator.join(symbols)
    yield Forbidden(word, name)
    other = alphabet.complement_tokens
    if strand == "both" and other is None:
        raise UsageError(f"--forbid {text}: {alphabet.name} has one strand")
    # RNA has complements too, but a molecule of RNA is one strand.
    if other is None or strand == "forward" or (strand == "" and "U" in alphabet.index):
        return
    reverse = tuple(frozenset(other[token] for token in some) for some in reversed(word))
    if reverse != word:
        yield Forbidden(reverse, f"{_written(alphabet, reverse)} (reverse complement of {name})")


def _written(alphabet: Alphabet, word: Word) -> str:
    """A word in letters and codes."""
    codes = {frozenset(alphabet.tokens_of(code)): code for code in "?NVHDBMKWSYR"}
    codes |= {frozenset([token]): letter for token, letter in enumerate(alphabet.letters)}
    return alphabet.separator.join(codes[tokens] for tokens in word)


def _banned(text: str | None, alphabet: Alphabet) -> frozenset[int]:
    symbols = _symbols((text or "").replace(",", alphabet.separator), alphabet)
    banned: frozenset[int] = frozenset()
    return banned.union(*_pattern(symbols, alphabet, "--forbid-letters"))


def _kept_letter(
    alphabet: Alphabet, place: int, own: frozenset[int], code: frozenset[int]
) -> frozenset[int]:
    """The letter of a position that keeps it, if there is one and the template agrees."""
    if len(own) != 1:
        raise UsageError(
            f"position {place + 1} is to be kept, but the template leaves it open "
            f"({_named(alphabet, own)})"
        )
    if not own <= code:
        raise UsageError(
            f"position {place + 1}: {_named(alphabet, own)} is to be kept, the template asks for "
            f"{_named(alphabet, code)}"
        )
    return own


def _named(alphabet: Alphabet, tokens: frozenset[int]) -> str:
    return " or ".join(alphabet.letters[token] for token in sorted(tokens))


def _need_nucleotides(alphabet: Alphabet, flag: str) -> None:
    if len(alphabet.tokens_of("N")) != 4:
        raise UsageError(f"{flag} is for DNA and RNA, not for {alphabet.name}")
