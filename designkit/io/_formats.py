"""The four written formats: names, suffixes, FASTA headers, and how one value is spelt.

FASTA headers are ``>id key=value key=value``. Spaces, control characters and ``%`` in any part,
and ``=`` in a key, are percent-encoded (``two words`` is ``two%20words``); only these escapes are
decoded again, so a foreign ``identity=90%`` stays as it is. A header that is not made of
``key=value`` pairs alone (UniProt's, for instance) becomes one column ``description``, unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from designkit.errors import UsageError

FORMATS = ("fasta", "csv", "tsv", "jsonl")
DELIMITERS = {"csv": ",", "tsv": "\t"}
_SUFFIXES = {
    ".fasta": "fasta",
    ".fa": "fasta",
    ".fas": "fasta",
    ".fna": "fasta",
    ".faa": "fasta",
    ".ffn": "fasta",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_TO_ESCAPE = re.compile(r"[\x00-\x20\x7f%]")
_TO_ESCAPE_IN_KEYS = re.compile(r"[\x00-\x20\x7f%=]")
_ESCAPED = re.compile(r"%([01][0-9A-F]|20|25|3D|7F)")
_SPACES = re.compile(r"[ \t]+")


def is_gzip_name(name: str) -> bool:
    """True for names that end in ``.gz``."""
    return name.lower().endswith(".gz")


def format_of_name(name: str) -> str | None:
    """The format a file name stands for, with or without ``.gz``; None when it says nothing."""
    lowered = name.lower().removesuffix(".gz")
    return next((kind for end, kind in _SUFFIXES.items() if lowered.endswith(end)), None)


def check_format(name: str, option: str) -> str:
    """Return ``name`` if it is one of the four formats.

    Raises:
        UsageError: it is not; names the option.
    """
    if name not in FORMATS:
        raise UsageError(f"{option} {name}: unknown format; choose from {', '.join(FORMATS)}")
    return name


def is_missing(value: Any) -> bool:
    """True for None, NaN, NaT and NA."""
    if isinstance(value, float | np.floating):
        return bool(value != value)
    return value is None or value is pd.NA or value is pd.NaT


def cell_text(value: Any) -> str:
    """How a value is written in FASTA, CSV and TSV; missing values are empty.

    Floats have six significant digits, except whole numbers below 1e15, which stay whole: a
    column of counts with a gap in it is a column of floats in pandas.
    """
    if isinstance(value, str):
        return value
    if is_missing(value):
        return ""
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:.0f}" if _is_whole(number) else f"{number:.6g}"
    if isinstance(value, list | dict | tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def json_value(value: Any) -> Any:
    """How a value is written in JSON Lines: as ``cell_text``, missing as null."""
    if is_missing(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        number = float(cell_text(value))
        if number in (float("inf"), float("-inf")):  # JSON has no word for them
            return str(number)
        return int(number) if _is_whole(number) else number
    if isinstance(value, str | int | list | dict | tuple):
        return value
    return str(value)


def _is_whole(number: float) -> bool:
    return number.is_integer() and abs(number) < 1e15


def table_row(cells: Iterable[str], delimiter: str) -> str:
    """One line of a CSV or TSV table with its line end; fields are quoted where needed."""
    quoted = [
        '"' + cell.replace('"', '""') + '"'
        if delimiter in cell or '"' in cell or "\n" in cell or "\r" in cell
        else cell
        for cell in cells
    ]
    # A lone empty field would be a blank line, which readers skip.
    return ('""' if quoted == [""] else delimiter.join(quoted)) + "\n"


def fasta_header(identifier: str, fields: Iterable[tuple[str, str]]) -> str:
    """The header line of one record, without line end; empty values are left out."""
    words = [_TO_ESCAPE.sub(_escape, identifier)]
    words += [
        f"{_TO_ESCAPE_IN_KEYS.sub(_escape, key)}={_TO_ESCAPE.sub(_escape, value)}"
        for key, value in fields
        if value
    ]
    return ">" + " ".join(words)


def parse_fasta_header(header: str) -> tuple[str, dict[str, str]]:
    """Identifier and columns of a header line without its ``>``; either may be empty."""
    words = _SPACES.split(header.strip(" \t"), maxsplit=1)
    identifier, rest = _unescape(words[0]), "".join(words[1:])
    if not rest:
        return identifier, {}
    pairs = [word.partition("=") for word in _SPACES.split(rest)]
    fields = {_unescape(key): _unescape(value) for key, _, value in pairs}
    made_of_pairs = all(key and equals for key, equals, _ in pairs)
    if not made_of_pairs or len(fields) < len(pairs) or {"id", "sequence"} & fields.keys():
        return identifier, {"description": rest}
    return identifier, fields


def _escape(match: re.Match[str]) -> str:
    return f"%{ord(match.group()):02X}"


def _unescape(text: str) -> str:
    if "%" not in text:
        return text
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), text)
