"""What the tests of rewards share: examples for the contract, motif files, a known ensemble."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from designkit.alphabet import DNA, Alphabet

if TYPE_CHECKING:
    from designkit.models.base import Predictor


@dataclass(frozen=True)
class Example:
    """A reward that is ready to score, for the tests of the contract.

    ``tests/rewards/test_NAME.py`` of each built-in has ``examples(folder)``, which gives at least
    one; it may write files to the folder.

    Args:
        ref: reference of the reward, with its parameters.
        sequences: at least 20 different ones, all with a score and not all with the same.
        alphabet: of the sequences.
        load_model: where the reward needs models.
        smooth: False where the relaxed score has no finite differences to compare with, such as a
            network in single precision.
    """

    ref: str
    sequences: list[str]
    alphabet: Alphabet = DNA
    load_model: Callable[[str], Any] | None = None
    smooth: bool = True


def random_sequences(
    alphabet: Alphabet = DNA, count: int = 30, length: int = 12, seed: int = 0
) -> list[str]:
    """Different sequences of uniformly random letters."""
    source = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(source.choices(alphabet.letters, k=length))] = None
    return list(found)


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie; a short wait."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return state.stdout.strip()[:1] not in ("", "Z")


# Arnt of JASPAR 2024 (CC BY 4.0), in each format; the second motif of JASPAR_TWO is made up.
JASPAR = """\
>MA0004.1 Arnt
A  [  4  19   0   0   0   0 ]
C  [ 16   0  20   0   0   0 ]
G  [  0   1   0  20   0  20 ]
T  [  0   0   0   0  20   0 ]
"""
JASPAR_TWO = (
    JASPAR
    + """\
>XX0001.1 Second
A  [ 3  0 17 ]
C  [ 1 20  0 ]
G  [16  0  3 ]
T  [ 0  0  0 ]
"""
)
PFM = """\
4 19 0 0 0 0
16 0 20 0 0 0
0 1 0 20 0 20
0 0 0 0 20 0
"""
MEME = """\
MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25

MOTIF MA0004.1 Arnt
letter-probability matrix: alength= 4 w= 6 nsites= 20 E= 0
 0.200000  0.800000  0.000000  0.000000
 0.950000  0.000000  0.050000  0.000000
 0.000000  1.000000  0.000000  0.000000
 0.000000  0.000000  1.000000  0.000000
 0.000000  0.000000  0.000000  1.000000
 0.000000  0.000000  1.000000  0.000000
"""
TRANSFAC = """\
VV  EXAMPLE 1
XX
//
AC  MA0004.1
XX
ID  Arnt
XX
P0      A      C      G      T
01      4     16      0      0      C
02     19      0      1      0      A
03      0     20      0      0      C
04      0      0     20      0      G
05      0      0      0     20      T
06      0      0     20      0      G
XX
//
"""
MOTIF_FILES = {"jaspar": JASPAR, "pfm": PFM, "meme": MEME, "transfac": TRANSFAC}


def linear_predictor(
    slopes: tuple[float, ...] = (1.0, 2.0, 6.0),
    outputs: tuple[dict[str, Any], ...] = ({"name": "te", "unit": "log2"},),
    lengths: tuple[int, ...] = (4, 8),
    **more: Any,
) -> Predictor:
    """Members whose output k is slope * (k + 1) * (number of G) / 10."""
    import torch

    from designkit.alphabet import DNA
    from designkit.models.base import LengthLaw, Predictor

    class Member(torch.nn.Module):
        def __init__(self, slope: float):
            super().__init__()
            self.slope = torch.nn.Parameter(torch.tensor(slope))

        def forward(self, probs: torch.Tensor) -> torch.Tensor:
            each = torch.arange(1, len(outputs) + 1) / 10
            return self.slope * probs[..., DNA.index["G"]].sum(1, keepdim=True) * each

    # Unknown letters right of a short sequence each count as a quarter of a G: one length only
    # where the tests compare numbers.
    return Predictor(
        members=[Member(slope) for slope in slopes],
        alphabet=DNA,
        outputs=outputs,
        mean=torch.zeros(len(outputs)),
        scale=torch.ones(len(outputs)),
        length_law=LengthLaw.fit(lengths),
        **{"name": "mrl", "sha256": "abc123"} | more,
    )
