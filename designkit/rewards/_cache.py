"""Scores on disk, shared by runs and by jobs at the same time.

One SQLite file. Its journal is the classic one, which works on network file systems with working
locks; a write-ahead log would not. Only scores are kept: what failed once may work the next time.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from designkit.errors import ArtifactError

T = TypeVar("T")
_SCHEMA = 1
_WAIT_SECONDS = 120
_KEYS_AT_ONCE = 500
_TABLES = (
    "CREATE TABLE rewards (number INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, "
    "described TEXT NOT NULL)",
    "CREATE TABLE scores (reward INTEGER NOT NULL, sequence TEXT NOT NULL, outputs BLOB NOT NULL, "
    "PRIMARY KEY (reward, sequence)) WITHOUT ROWID",
    f"PRAGMA user_version = {_SCHEMA}",
)


class ScoreCache:
    """The scores of many rewards in one file.

    Args:
        path: made if it is not there; its folder must be.

    Raises:
        ArtifactError: it cannot be opened, or is not such a file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._connection = self._try(
            lambda: sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
        )
        self._try(self._prepare)

    def table(self, identity: str, described: str, outputs: int) -> CacheTable:
        """The scores of one reward.

        Args:
            identity: differs between rewards that may give a sequence different values.
            described: the identity in words, for people who look into the file.
            outputs: numbers of each score.
        """

        def number() -> int:
            connection = self._connection
            connection.execute(
                "INSERT OR IGNORE INTO rewards (identity, described) VALUES (?, ?)",
                (identity, described),
            )
            query = "SELECT number FROM rewards WHERE identity = ?"
            return int(connection.execute(query, (identity,)).fetchone()[0])

        return CacheTable(self, self._try(number), outputs)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _prepare(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA synchronous = NORMAL")
        with self._writing():
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            is_empty = not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            if version == 0 and is_empty:
                for statement in _TABLES:
                    connection.execute(statement)
            elif version == 0:
                raise ArtifactError(f"{self.path}: a database of something else; name another file")
            elif version != _SCHEMA:
                raise ArtifactError(
                    f"{self.path}: a score cache of version {version}, this designkit writes "
                    f"{_SCHEMA}; name another file"
                )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """All or nothing, one writer at a time."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _try(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (sqlite3.Error, struct.error, TypeError) as problem:  # the last two: a damaged row
            raise ArtifactError(
                f"score cache {self.path}: {problem}; check the file or give --cache another one"
            ) from problem


class CacheTable:
    """The scores of one reward in the file; see ``ScoreCache.table``."""

    def __init__(self, cache: ScoreCache, number: int, outputs: int):
        self._cache = cache
        self._number = number
        self._packing = struct.Struct(f"<{outputs}d")

    def find(self, sequences: Sequence[str]) -> dict[str, tuple[float, ...]]:
        """Scores of those sequences that are in the file."""

        def select() -> dict[str, tuple[float, ...]]:
            found = {}
            for start in range(0, len(sequences), _KEYS_AT_ONCE):
                keys = sequences[start : start + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(keys))
                query = (
                    "SELECT sequence, outputs FROM scores WHERE reward = ? "
                    f"AND sequence IN ({marks})"
                )
                rows = self._cache._connection.execute(query, (self._number, *keys))
                found.update({key: self._packing.unpack(packed) for key, packed in rows})
            return found

        return self._cache._try(select)

    def add(self, scores: Mapping[str, Iterable[float]]) -> None:
        """Write scores; one that another job has written meanwhile stays."""
        rows = [(self._number, key, self._packing.pack(*values)) for key, values in scores.items()]

        def insert() -> None:
            with self._cache._writing():
                self._cache._connection.executemany(
                    "INSERT OR IGNORE INTO scores VALUES (?, ?, ?)", rows
                )

        if rows:
            self._cache._try(insert)
