"""Alphabets by name or from a YAML file."""

from __future__ import annotations

import difflib
import os

from designkit.alphabet import BUILTIN_ALPHABETS, Alphabet
from designkit.errors import ConfigurationError, UsageError


def load_alphabet(ref: str) -> Alphabet:
    """Find an alphabet.

    Args:
        ref: ``dna``, ``rna`` or ``protein``, or the path of a YAML file such as::

            name: hydrophobic-polar
            letters: [H, P]

    Raises:
        UsageError: neither a known name nor a file.
        ConfigurationError: the file does not describe an alphabet; names file and line.
    """
    if ref.lower() in BUILTIN_ALPHABETS:
        return BUILTIN_ALPHABETS[ref.lower()]
    if not os.path.isfile(ref):
        if os.sep in ref or ref.endswith((".yaml", ".yml", ".json")):
            raise UsageError(f"alphabet file {ref}: no such file")
        close = difflib.get_close_matches(ref.lower(), BUILTIN_ALPHABETS, n=1)
        guess = f" did you mean {close[0]!r}?" if close else ""
        known = ", ".join(BUILTIN_ALPHABETS)
        raise UsageError(f"unknown alphabet {ref!r};{guess} known: {known}, or a YAML file's path")
    return _from_file(ref)


def _from_file(path: str) -> Alphabet:
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            fields = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"alphabet file {path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "not YAML"
        raise ConfigurationError([f"{path}{where}: {reason}"]) from error
    if not isinstance(fields, dict):
        raise ConfigurationError([f"{path}: expected 'letters: ...' and, if wanted, 'name: ...'"])
    try:
        return Alphabet.from_dict(fields)
    except ConfigurationError as error:
        raise ConfigurationError([f"{path}: {problem}" for problem in error.problems]) from error
