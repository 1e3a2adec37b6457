"""The SQLite file behind the ledger: its schema, and whole transactions or none."""

from __future__ import annotations

import contextlib
import importlib.resources
import secrets
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moola.errors import StorageError, printable

_VERSION = 2
"""2 has the table of sights."""
_BUSY_S = 30.0
"""How long a client waits for another one's write."""
_TELL_S = 2.0
"""After which it says that it waits: a write of moola takes milliseconds."""
_DURABILITY = "FULL"
"""Of SQLite: what was written survives a power cut. Tests, which have none, need not wait for the disk."""


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class LedgerFile:
    """One file; a transaction has a connection of its own, so threads may share it.

    Args:
        path: made where it is missing.
        tell: gets a line where another process keeps the file locked.

    Raises:
        StorageError: it is no ledger, or one of a later moola; or it stays locked.
    """

    def __init__(self, path: Path, tell: Callable[[str], None] = _to_stderr) -> None:
        self.path, self._tell = path, tell
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
            StorageError: the file cannot be used, or stays locked.
        """
        with self._open("BEGIN IMMEDIATE") as book:
            yield book

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """What the file holds at one moment; nobody waits for it to write.

        Raises:
            StorageError: the file cannot be used, or stays locked.
        """
        with self._open("BEGIN", _FIRST_READ) as book:
            yield book

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What one query finds.

        Raises:
            StorageError: the file cannot be used, or stays locked.
        """
        with self.reading() as book:
            return book.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _open(self, *begin: str) -> Iterator[sqlite3.Connection]:
        first_s = min(_TELL_S, _BUSY_S)
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=first_s, isolation_level=None)) as book:
                self._begin(book, f"PRAGMA synchronous = {_DURABILITY}", "PRAGMA foreign_keys = ON", *begin)
                book.execute(f"PRAGMA busy_timeout = {round(1000 * _BUSY_S)}")
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
            if _is_busy(error):
                way_out = "wait until it is done, or end it if it hangs; then the same command again"
                told = f"the ledger of pods {self.path} is locked by {_holders(self.path)}"
                raise StorageError(told, f"it was waited for, {_BUSY_S:g} s long", way_out) from error
            raise StorageError(f"the ledger of pods {self.path} cannot be used", str(error), way_out) from error

    def _begin(self, book: sqlite3.Connection, *statements: str) -> None:
        """Run what takes the locks; where another process has them, wait, tell, and wait once more."""
        told = False
        for statement in statements:
            try:
                book.execute(statement)
            except sqlite3.OperationalError as error:
                if told or not _is_busy(error):
                    raise
                told = True
                left_s = max(_BUSY_S - _TELL_S, 0.0)
                self._tell(f"the ledger {self.path} is locked by {_holders(self.path)}; waiting, {left_s:g} s at most")
                book.execute(f"PRAGMA busy_timeout = {round(1000 * left_s)}")
                book.execute(statement)

    def _version(self, book: sqlite3.Connection) -> int:
        version = int(book.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            why = f"it has version {version}, this moola knows version {_VERSION}"
            raise StorageError(f"the ledger of pods {self.path} was written by a later moola", why, "upgrade moola")
        return version


_FIRST_READ = "SELECT 1 FROM sqlite_schema LIMIT 1"
"""Takes the lock of a reader, which ``BEGIN`` alone leaves to the first query."""
_LOCKS = Path("/proc/locks")


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _holders(path: Path) -> str:
    """Processes that have locks on a file, for people; Linux alone tells them.

    Source: proc_locks(5). The file is not opened, for closing it would give up this process's own locks.
    """
    found: dict[int, None] = {}
    with contextlib.suppress(OSError, ValueError):
        number = path.stat().st_ino
        for words in map(str.split, _LOCKS.read_text().splitlines()):
            if "->" not in words and words[5].rpartition(":")[2] == str(number):
                found[int(words[4])] = None
    return " and ".join(map(_spoken, found)) or "another process"


def _spoken(pid: int) -> str:
    words = ""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return f"process {pid}" + (f" ({printable(words)[:80]})" if words else "")
