"""Files of sequences that are named in a reward's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from designkit.errors import InputError, RewardError

if TYPE_CHECKING:
    import pandas as pd


def read_records(name: str, path: Path, column: str) -> Iterator[pd.DataFrame]:
    """Chunks of a FASTA file or table; see ``designkit.io.sequences.read_sequences``.

    Args:
        name: of the reward.
        path: the file.
        column: of the sequences, in a table.

    Raises:
        RewardError: the file cannot be read, lacks the column, or has a damaged record.
    """
    from designkit.io.sequences import read_sequences

    try:
        with read_sequences(str(path), column=column) as reader:
            yield from reader
    except InputError as problem:
        # The advice names options of the command line; here they are parameters, or missing.
        advice = str(problem).replace("--column chooses", "column=NAME chooses")
        raise RewardError(f"reward {name!r}: {advice}") from problem
