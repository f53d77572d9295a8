"""Upstream start codons of a 5' untranslated region, which take ribosomes from the main one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards._words import WordCounter
from designkit.rewards.base import Output, Reward, RewardInfo, Scores
from designkit.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from designkit.alphabet import Alphabet


class UorfSettings(Settings):
    """What follows the sequence.

    Args:
        flank: the letters between the sequence and the coding sequence, with the main start codon
            at their end: ``GCCACCATG``. By default the main ATG follows the sequence directly.
    """

    flank: str = "ATG"

    @field_validator("flank")
    @classmethod
    def _ends_in_start(cls, flank: str) -> str:
        flank = flank.upper().replace("U", "T")
        if set(flank) - set("ACGT") or not flank.endswith("ATG"):
            raise ValueError(f"must be letters A, C, G, T that end in ATG, not {flank!r}")
        return flank


class Uorf(Reward):
    """Number of start codons (ATG, or AUG) before the main one, and what becomes of them.

    The leader is the sequence and its flank, up to the main start codon. Each upstream start codon
    is one of three: ``terminated`` (a stop codon follows in its frame before the main start codon;
    the open reading frame ends upstream), ``in_frame`` (none does, and it is in the frame of the
    main start codon: a longer protein) or ``out_of_frame`` (none does, and it is not: the frame
    overlaps the main one). ``kozak`` is the best context of an upstream start codon: 3 strong (A or
    G at -3, and G at +4, where A of ATG is +1), 2 one of the two, 1 none, 0 no start codon. A
    position beyond the leader's 5' end does not count.

    The relaxed score is the expected number of start codons if the letters are independent.
    """

    template = RewardInfo(
        name="uorf",
        alphabets=("dna", "rna"),
        outputs=(
            Output("uorf", unit="start codons", direction="minimize"),
            Output("in_frame", unit="start codons", direction="minimize"),
            Output("out_of_frame", unit="start codons", direction="minimize"),
            Output("terminated", unit="start codons", direction="minimize"),
            Output("kozak", direction="minimize", range=(0, 3)),
        ),
        differentiable=True,
        citation="Kozak 1986, Cell 44:283; Kozak 1987, Nucleic Acids Res 15:8125",
    )
    settings_type = UorfSettings
    settings: UorfSettings

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._alphabet: Alphabet | None = None
        self._starts: WordCounter | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Note how the letters are numbered."""
        super().bind(alphabet)
        self._alphabet = alphabet
        self._starts = WordCounter(["ATG"], alphabet, both_strands=False, name="uorf")

    def score(self, sequences: list[str]) -> Scores:
        """(N, 5) start codons in all, in frame, out of frame, terminated; the best context."""
        import numpy as np

        alphabet, _ = self._bound()
        values = np.zeros((len(sequences), 5))
        follows = self._between(alphabet)
        for rows, tokens in tokens_by_length(alphabet, [s + follows for s in sequences]):
            values[rows] = _upstream_starts(tokens, alphabet)
        return Scores(values, [None] * len(sequences))

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Expected number of upstream start codons, (B, L, K) to (B,)."""
        import torch

        alphabet, starts = self._bound()
        here = torch.ones_like(probs[..., 0], dtype=torch.bool) if valid is None else valid
        flank = torch.from_numpy(alphabet.encode([self._between(alphabet)])[0])
        ends = here.sum(1)[:, None] + torch.arange(len(flank), device=probs.device)
        letters = torch.nn.functional.one_hot(flank.to(probs.device), alphabet.size).to(probs)
        rows = torch.arange(len(probs), device=probs.device)[:, None]
        room = probs.new_zeros(len(probs), len(flank), alphabet.size)
        leader = torch.cat([probs * here[..., None], room], 1)
        return starts.expect(leader.index_put((rows, ends), letters.expand(len(probs), -1, -1)))

    def _between(self, alphabet: Alphabet) -> str:
        """The flank without the main start codon, in the letters of the alphabet."""
        flank = self.settings.flank[:-3]
        return flank.replace("T", "U") if "U" in alphabet.index else flank

    def _bound(self) -> tuple[Alphabet, WordCounter]:
        if self._alphabet is None or self._starts is None:
            raise RewardError("reward 'uorf': bind an alphabet before scoring")
        return self._alphabet, self._starts


def _upstream_starts(tokens: NDArray[np.int64], alphabet: Alphabet) -> NDArray[np.float64]:
    """The five outputs for (n, L) leaders, whose last letter is before the main start codon."""
    import numpy as np

    rows, length = tokens.shape
    places = length - 2  # where a codon may begin
    if places < 1:
        return np.zeros((rows, 5))
    a, g = alphabet.index["A"], alphabet.index["G"]
    t = alphabet.index["U" if "U" in alphabet.index else "T"]
    first, second, third = (tokens[:, offset : offset + places] for offset in range(3))
    start = (first == a) & (second == t) & (third == g)
    stop = (first == t) & (
        ((second == a) & ((third == a) | (third == g))) | ((second == g) & (third == a))
    )
    # Whether a stop codon lies downstream in the frame: from the 3' end, a codon at a time.
    codons = np.pad(stop, ((0, 0), (0, -places % 3))).reshape(rows, -1, 3)
    ended = np.logical_or.accumulate(codons[:, ::-1], axis=1)[:, ::-1].reshape(rows, -1)
    terminated = start & ended[:, :places]
    in_frame = (length - np.arange(places)) % 3 == 0
    purine_before, g_after = np.zeros((2, rows, places), dtype=bool)
    purine_before[:, 3:] = ((first == a) | (first == g))[:, :-3]
    g_after[:, :-1] = third[:, 1:] == g
    context = start * (1 + purine_before.astype(np.int64) + g_after)
    counts = [start, start & ~terminated & in_frame, start & ~terminated & ~in_frame, terminated]
    return np.column_stack([*(one.sum(axis=1) for one in counts), context.max(axis=1)]).astype(
        np.float64
    )
