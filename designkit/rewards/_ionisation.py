"""Charges of a protein's side chains and ends at a pH, with the pK values of Bjellqvist et al."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CITATION = "Bjellqvist et al. 1993, Electrophoresis 14:1023, and 1994, 15:529 (pK values)"


def charged_share(sign: Any, pk: Any, ph: Any) -> NDArray[np.float64]:
    """Mean charge of groups in water, after Henderson and Hasselbalch; arrays are broadcast.

    Args:
        sign: 1 of bases, -1 of acids, 0 of groups that are never charged.
        pk: pH at which half of them are charged.
        ph: of the water.
    """
    import numpy as np

    shares: NDArray[np.float64] = sign / (1 + np.power(10.0, sign * (ph - pk)))
    return shares


def side_chains(letters: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sign and pK of the side chain of each of K letters: two (K,) arrays."""
    import numpy as np
    from Bio.SeqUtils.IsoelectricPoint import negative_pKs, positive_pKs

    bases = np.array([letter in positive_pKs for letter in letters])
    acids = np.array([letter in negative_pKs for letter in letters])
    both = {**positive_pKs, **negative_pKs}
    return bases * 1.0 - acids, np.array([both.get(letter, 0.0) for letter in letters])


def ends(letters: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pK of the amino and of the carboxyl end, by the letter that is there: two (K,) arrays."""
    import numpy as np
    from Bio.SeqUtils.IsoelectricPoint import negative_pKs, pKcterminal, pKnterminal, positive_pKs

    first = [pKnterminal.get(letter, positive_pKs["Nterm"]) for letter in letters]
    last = [pKcterminal.get(letter, negative_pKs["Cterm"]) for letter in letters]
    return np.array(first), np.array(last)
