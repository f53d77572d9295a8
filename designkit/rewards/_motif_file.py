"""One motif out of a JASPAR, MEME or TRANSFAC file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from designkit.errors import RewardError, did_you_mean

MotifFormat = Literal["jaspar", "pfm", "meme", "transfac"]
BIOPYTHON_FORMATS = {"jaspar": "jaspar", "pfm": "pfm", "meme": "minimal", "transfac": "transfac"}


def read_motif(path: Path, file_format: MotifFormat | None, wanted: str | None) -> Any:
    """The wanted ``Bio.motifs.Motif`` of a file, or the only one it holds.

    Args:
        path: the file.
        file_format: ``jaspar`` (with ``>`` headers), ``pfm`` (four bare rows), ``meme`` (minimal),
            ``transfac``; None tells it from the first line.
        wanted: its identifier or name.

    Raises:
        RewardError: the file cannot be read, holds no motif of that name, or several and none was
            asked for.
    """
    from io import StringIO

    from Bio import motifs

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not a text file"
        raise RewardError(f"motif file {path}: {reason}") from problem
    file_format = file_format or _sniff(text)
    try:
        parsed = motifs.parse(StringIO(text), BIOPYTHON_FORMATS[file_format])  # type: ignore[no-untyped-call]
        found = list(parsed)
        widths = {motif.counts.length for motif in found}
    except Exception as problem:
        raise RewardError(f"motif file {path}: not in {file_format} format: {problem}") from problem
    if not found or 0 in widths:
        raise RewardError(f"motif file {path}: no motif in {file_format} format")
    if wanted is None:
        if len(found) > 1:
            raise RewardError(
                f"motif file {path} holds {len(found)} motifs; choose one with "
                f"motif=NAME: {_list(found)}"
            )
        return found[0]
    chosen = [motif for motif in found if wanted in _names(motif)]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise RewardError(f"motif file {path}: {len(chosen)} motifs are called {wanted!r}")
    known = [name for motif in found for name in _names(motif)]
    raise RewardError(
        f"motif file {path} has no motif {wanted!r}{did_you_mean(wanted, known)} "
        f"(it holds {_list(found)})"
    )


def _sniff(text: str) -> MotifFormat:
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if first.startswith("MEME version"):
        return "meme"
    if first.startswith(">"):
        return "jaspar"
    return "transfac" if first[:1].isalpha() else "pfm"


def _names(motif: Any) -> list[str]:
    """Identifiers and names, as each format calls them."""
    names = [getattr(motif, key, None) for key in ("matrix_id", "name")]
    if isinstance(motif, dict):
        names += [motif.get(key) for key in ("AC", "ID", "NA")]
    return list(dict.fromkeys(str(name) for name in names if name))


def _list(found: list[Any]) -> str:
    names = ["/".join(_names(motif)) or "unnamed" for motif in found]
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
