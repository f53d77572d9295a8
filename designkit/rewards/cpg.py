"""CpG content: how often G follows C, compared with what their numbers let one expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from designkit.errors import RewardError
from designkit.rewards.base import Output, Reward, RewardInfo, Scores

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.alphabet import Alphabet


class CpG(Reward):
    """Observed over expected CpG, ``CpG L / (C G)``, and CpGs per letter, ``CpG / L``.

    C, G and CpG are counts on the written strand, L is the length. CpG islands have a ratio above
    0.6; without C or without G there is no ratio. The relaxed score takes expected counts, of CpG
    those of independent letters.
    """

    template = RewardInfo(
        name="cpg",
        alphabets=("dna", "rna"),
        outputs=(
            Output("cpg", unit="observed/expected"),
            Output("per_letter", unit="CpG per letter", range=(0, 0.5)),
        ),
        differentiable=True,
        citation="Gardiner-Garden and Frommer 1987, J Mol Biol 196:261",
    )

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._tokens: tuple[int, int] | None = None

    def bind(self, alphabet: Alphabet) -> None:
        """Note which tokens are C and G."""
        super().bind(alphabet)
        self._tokens = (alphabet.index["C"], alphabet.index["G"])

    def score(self, sequences: list[str]) -> Scores:
        """(N, 2) ratio and CpGs per letter."""
        import numpy as np

        counts = [(s.count("CG"), s.count("C"), s.count("G"), len(s)) for s in sequences]
        pairs, c, g, length = np.array(counts, dtype=np.float64).reshape(-1, 4).T
        known = c * g > 0
        values = np.full((len(sequences), 2), np.nan)
        values[known, 0] = (pairs * length)[known] / (c * g)[known]
        values[known, 1] = pairs[known] / length[known]
        errors = [None if has_both else "no C or no G" for has_both in known]
        return Scores(values, errors)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """The ratio of expected counts, (B, L, K) to (B,)."""
        import torch

        if self._tokens is None:
            raise RewardError("reward 'cpg': bind an alphabet before scoring probabilities")
        here = torch.ones_like(probs[..., 0]) if valid is None else valid.to(probs)
        c, g = (probs[..., token] * here for token in self._tokens)  # (B, L) each
        pairs = (c[:, :-1] * g[:, 1:]).sum(1)
        return pairs * here.sum(1) / (c.sum(1) * g.sum(1))
