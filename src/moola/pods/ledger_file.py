"""The SQLite file behind the ledger: its schema, and whole transactions or none."""

from __future__ import annotations

import contextlib
import importlib.resources
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moola.errors import StorageError

_VERSION = 2
"""2 has the table of sights."""
_BUSY_S = 30.0
"""How long a client waits for another one's write."""
_DURABILITY = "FULL"
"""Of SQLite: what was written survives a power cut. Tests, which have none, need not wait for the disk."""


class LedgerFile:
    """One file; a transaction has a connection of its own, so threads may share it.

    Args:
        path: made where it is missing.

    Raises:
        StorageError: it is no ledger, or one of a later moola.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.writing() as book:
            if self._version(book) < _VERSION:
                schema = importlib.resources.files("moola.pods").joinpath("ledger.sql").read_text()
                for statement in schema.split(";\n"):
                    book.execute(statement)
                book.execute(f"PRAGMA user_version = {_VERSION}")
                book.execute("INSERT OR IGNORE INTO facts VALUES ('owner', ?)", [secrets.token_hex(4)])

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, whole and on disk or not at all; nobody else writes between its reads and its writes.

        Raises:
            StorageError: the file cannot be used.
        """
        with self._open("BEGIN IMMEDIATE") as book:
            yield book

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """What the file holds at one moment; nobody waits for it to write.

        Raises:
            StorageError: the file cannot be used.
        """
        with self._open("BEGIN") as book:
            yield book

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What one query finds.

        Raises:
            StorageError: the file cannot be used.
        """
        with self.reading() as book:
            return book.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _open(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)) as book:
                book.execute(f"PRAGMA synchronous = {_DURABILITY}")
                book.execute("PRAGMA foreign_keys = ON")
                book.execute(begin)
                try:
                    yield book
                except BaseException:
                    book.execute("ROLLBACK")
                    raise
                book.execute("COMMIT")
        except sqlite3.Error as error:
            way_out = (
                "free space, mend permissions, or move the file away: `moola pod reap` then tells what still runs at "
                "RunPod, and the `moola pod run` of a run that is in a folder here or on a host goes on with it there"
            )
            raise StorageError(f"the ledger of pods {self.path} cannot be used", str(error), way_out) from error

    def _version(self, book: sqlite3.Connection) -> int:
        version = int(book.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            why = f"it has version {version}, this moola knows version {_VERSION}"
            raise StorageError(f"the ledger of pods {self.path} was written by a later moola", why, "upgrade moola")
        return version
