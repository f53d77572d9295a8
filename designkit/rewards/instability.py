"""How likely a protein is to be degraded quickly, told from its pairs of neighbouring residues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from designkit.alphabet import PROTEIN
from designkit.errors import RewardError
from designkit.rewards._lengths import tokens_by_length
from designkit.rewards.base import Output, Reward, RewardInfo, Scores

if TYPE_CHECKING:
    from torch import Tensor

    from designkit.alphabet import Alphabet


class Instability(Reward):
    """Instability index, ``10 / length * sum of w(residue, next residue)``.

    The weights were fitted to proteins with short and long half-lives in the cell; above 40 a
    protein is called unstable.
    """

    template = RewardInfo(
        name="instability",
        alphabets=("protein",),
        outputs=(Output("instability", direction="minimize", range=(-159.1, 582.8)),),
        differentiable=True,
        citation="Guruprasad, Reddy and Pandit 1990, Protein Eng 4:155",
    )

    def __init__(self, **parameters: Any):
        super().__init__(**parameters)
        self._lay_out(PROTEIN)

    def bind(self, alphabet: Alphabet) -> None:
        """Lay the weights out in the order of the alphabet's tokens."""
        super().bind(alphabet)
        self._lay_out(alphabet)

    def score(self, sequences: list[str]) -> Scores:
        """(N, 1); a sequence without a pair of neighbours has no score."""
        import numpy as np

        values = np.full((len(sequences), 1), np.nan)
        errors: list[str | None] = [None] * len(sequences)
        for rows, tokens in tokens_by_length(self._alphabet, sequences):
            length = tokens.shape[1]
            if length < 2:
                for row in rows:
                    errors[row] = f"no pair of neighbours (length {length})"
                continue
            total = self._weights[tokens[:, :-1], tokens[:, 1:]].sum(axis=1)
            values[rows, 0] = 10 / length * total
        return Scores(values, errors)

    def score_relaxed(self, probs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Expected index of independent positions, (B, L, K) to (B,)."""
        import torch

        weights = torch.from_numpy(self._weights).to(probs)
        pairs = (probs[:, :-1] @ weights * probs[:, 1:]).sum(-1)  # (B, L - 1)
        if valid is None:
            return 10 / probs.shape[1] * pairs.sum(1)
        return 10 / valid.sum(1) * (pairs * (valid[:, :-1] & valid[:, 1:])).sum(1)

    def _lay_out(self, alphabet: Alphabet) -> None:
        import numpy as np
        from Bio.SeqUtils.ProtParamData import DIWV

        unknown = [letter for letter in alphabet.letters if letter not in DIWV]
        if unknown:
            raise RewardError(
                f"reward 'instability' has no weights for the letter {unknown[0]!r}; "
                f"it knows the {PROTEIN.size} amino acids"
            )
        self._alphabet = alphabet
        letters = alphabet.letters
        self._weights = np.array([[DIWV[one][two] for two in letters] for one in letters])
