"""The sequences that a refinement starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from designkit.errors import InputError, UsageError

if TYPE_CHECKING:
    from designkit.alphabet import Alphabet
    from designkit.recipes._constraints import RunConstraints

FRESH = "prior"
"""Name of the lineage of a run without inputs."""


@dataclass(frozen=True)
class Inputs:
    """The first sequence of each lineage.

    Attributes:
        ids: of the inputs.
        roots: their sequences; None for a lineage that begins with draws of the prior.
        skipped: records that could not be used.
        sha256: of the input, empty without one.
    """

    ids: tuple[str, ...] = (FRESH,)
    roots: tuple[str | None, ...] = (None,)
    skipped: int = 0
    sha256: str = ""


def read_inputs(
    source: str | None,
    alphabet: Alphabet,
    constraints: RunConstraints,
    lengths: tuple[int, int],
    **reading: Any,
) -> Inputs:
    """The sequences to start from, each found to be one that designs may be.

    Args:
        source: a path or ``-``; None for none.
        alphabet: of the prior.
        constraints: that every design keeps.
        lengths: shortest and longest that the prior writes.
        reading: ``input_format``, ``column``, ``convert_t_u``, ``uppercase`` and ``on_invalid``
            (``fail`` or ``skip``).

    Raises:
        InputError: a record that cannot be used; names file and record.
        UsageError: constraints that no design satisfies.
    """
    if source is None:
        return Inputs()
    from designkit.io._letters import BY_FLAGS
    from designkit.io.sequences import read_table

    frame = read_table(source, alphabet=alphabet, ways=BY_FLAGS, **reading)
    name = "standard input" if source == "-" else source
    ids, roots, skipped = [], [], int(frame.attrs["rows_failed"])
    for identifier, sequence in zip(frame["id"], frame["sequence"], strict=True):
        problem = _problem(sequence, alphabet, constraints, lengths)
        if problem is None and str(identifier) in ids:
            problem = "an earlier record has this id too; designs are named by it"
        if problem is None:
            ids.append(str(identifier))
            roots.append(sequence)
        elif reading["on_invalid"] == "skip":
            skipped += 1
        else:
            raise InputError(f"{name}: record {identifier}: {problem}")
    if not roots:
        raise InputError(f"{name}: no sequence in it can be refined")
    return Inputs(tuple(ids), tuple(roots), skipped, frame.attrs["sha256"])


def _problem(
    sequence: str, alphabet: Alphabet, constraints: RunConstraints, lengths: tuple[int, int]
) -> str | None:
    """Why a sequence cannot be refined; None if it can."""
    length, (low, high) = len(alphabet.split(sequence)), lengths
    if not low <= length <= high:
        written = f"{low}" if low == high else f"{low} to {high}"
        return f"{length} letters; the prior writes sequences of {written}"
    try:
        wrong = constraints.violations(sequence, sequence)
    except UsageError as problem:
        return str(problem)
    return f"breaks a constraint: {wrong[0]}" if wrong else None
