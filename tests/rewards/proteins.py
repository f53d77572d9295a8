"""Proteins whose properties are published, and random ones, for the tests of protein rewards."""

from __future__ import annotations

import random
from functools import cache

from designkit.alphabet import PROTEIN

# Hen egg-white lysozyme, P00698 without its signal peptide, and human ubiquitin.
LYSOZYME = (
    "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWWCNDGRTPGSRNLCNIPCSALLSSDITASVN"
    "CAKKIVSDGNGMNAWVAWRNRCKGTDVQAWIRGCRL"
)
UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"


@cache
def random_proteins(count: int = 400, seed: int = 0) -> tuple[str, ...]:
    """Of 2 to 40 residues, mixed lengths, each amino acid at either end somewhere."""
    source = random.Random(seed)
    return tuple(
        "".join(source.choices(PROTEIN.letters, k=source.randint(2, 40))) for _ in range(count)
    )
