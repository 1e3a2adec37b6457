"""All runs of a results folder, from an index that is brought up to date by looking at one file of each.

Manifest, configuration and figures of a run are read once and kept in a small SQLite file, which anybody may delete: it
is made again. A run is read again when the size, time or inode of its ``manifest.json`` changes, which a run replaces
whenever a stage of it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moola.dashboard.run_folder import (
    Figure,
    RunEntry,
    RunRecord,
    is_begun,
    is_plain_folder,
    read_run_folder,
    with_life,
)

INDEX_PLACE = "metadata/runs-1.sqlite"
"""Below ``artifacts/``; the number is that of the schema."""
_NO_RUNS = ("sweeps", "searches", "studies", "multirun")
"""Folders of `moola run -m` and `moola search` among those of runs."""
_AT_ONCE = 200
"""Runs that are written in one transaction, so that no other process waits for long."""
_PATIENCE_S = 20.0
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, signature TEXT NOT NULL, {", ".join(RunEntry._fields)});
CREATE UNIQUE INDEX IF NOT EXISTS by_folder ON runs (folder);
CREATE TABLE IF NOT EXISTS keys (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name));
CREATE TABLE IF NOT EXISTS figures (key INTEGER, run INTEGER, value REAL, low REAL, high REAL, n INTEGER, seeds INTEGER,
    PRIMARY KEY (key, run)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (key INTEGER, run INTEGER, value TEXT, PRIMARY KEY (key, run)) WITHOUT ROWID;
"""


class RunIndex:
    """The runs of a results folder.

    Several processes may use the file at the same time, and several threads an index. Where the file cannot be written
    the index is kept in memory; where it is no index it is made anew.

    Args:
        results: the folder of run folders.
        path: of the file, which is not made before there are results; None: in memory.
        tell: called before many runs are read for the first time, with their number.

    Attributes:
        entries: the runs by folder name, as `refresh` found them last.
    """

    def __init__(self, results: Path, path: Path | None, tell: Callable[[int], None] = lambda number: None) -> None:
        self.results, self._path, self._tell = results, path, tell
        self.entries: dict[str, RunEntry] = {}
        self._lock = threading.RLock()
        self._is_early = path is not None and not results.is_dir()
        self._database = _open(None if self._is_early else path)

    def refresh(self) -> bool:
        """Bring the index up to date; whether anything differs from the last time."""
        with self._lock:
            before = self.entries
            self._sound(self._refresh)
            return self.entries != before

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def figures(self, key: str) -> dict[str, Figure]:
        """Folder -> figure of this name, ``model/split/metric``."""
        found = self._of_key("figures", "value, low, high, n, figures.seeds", "figure", key)
        return {folder: Figure(*row) for folder, *row in found}

    def settings(self, key: str) -> dict[str, Any]:
        """Folder -> plain value of this dotted key of the configuration."""
        return {folder: json.loads(value) for folder, value in self._of_key("settings", "value", "setting", key)}

    def keys(self, kind: str) -> list[str]:
        """Every name of a ``figure`` or ``setting`` that any run has had."""
        with self._lock:
            rows = self._database.execute("SELECT name FROM keys WHERE kind = ? ORDER BY name", (kind,))
            return [name for (name,) in rows]

    def _of_key(self, table: str, columns: str, kind: str, key: str) -> list[tuple[Any, ...]]:
        of_key = "key = (SELECT id FROM keys WHERE kind = ? AND name = ?)"
        words = f"SELECT folder, {columns} FROM {table} JOIN runs ON run = runs.id WHERE {of_key}"  # noqa: S608
        with self._lock:
            return self._database.execute(words, (kind, key)).fetchall()

    def _sound(self, work: Callable[[], None]) -> None:
        """Do it, with a new file where the old one is torn, and in memory where it cannot be written."""
        for last in (False, True):
            try:
                return work()
            except sqlite3.DatabaseError as error:
                if last:
                    raise
                self._database.close()
                cannot = isinstance(error, sqlite3.OperationalError)  # locked for too long, read-only, disk full
                self._database = _open(None if cannot else self._path, anew=not cannot)
        return None

    def _refresh(self) -> None:
        if self._is_early and self.results.is_dir():
            self._database.close()
            self._is_early, self._database = False, _open(self._path)
        there = _signatures(self.results)
        rows = self._rows()
        known = {row[2]: row[:2] for row in rows}
        gone = [number for folder, (number, _) in known.items() if folder not in there]
        changed = [name for name, signature in there.items() if known.get(name, (0, ""))[1] != signature]
        if len(changed) >= _AT_ONCE:
            self._tell(len(changed))
        if gone:
            self._write((), {}, gone)
        for first in range(0, len(changed), _AT_ONCE):
            names = changed[first : first + _AT_ONCE]
            records = [read_run_folder(self.results / name) for name in names]
            self._write(records, there, [known[name][0] for name in names if name in known])
        entries = (RunEntry._make(row[2:]) for row in (self._rows() if gone or changed else rows))
        self.entries = {entry.folder: with_life(entry, self.results) for entry in entries}

    def _rows(self) -> list[tuple[Any, ...]]:
        """Id, signature and entry of every run, by folder."""
        columns = ", ".join(RunEntry._fields)
        return self._database.execute(f"SELECT id, signature, {columns} FROM runs ORDER BY folder").fetchall()  # noqa: S608

    def _write(self, records: Sequence[RunRecord], signatures: Mapping[str, str], gone: Iterable[int]) -> None:
        """Take runs out and put others in, in one transaction."""
        with self._database as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            names = [record.entry.folder for record in records]
            others = [
                row for name in names for row in transaction.execute("SELECT id FROM runs WHERE folder=?", (name,))
            ]
            for number in {*gone, *(number for (number,) in others)}:  # another process may have been faster
                for table, kind in (("figures", "figure"), ("settings", "setting")):
                    of_kind = "key IN (SELECT id FROM keys WHERE kind = ?)"  # along the primary key, not all rows
                    transaction.execute(f"DELETE FROM {table} WHERE {of_kind} AND run = ?", (kind, number))  # noqa: S608
                transaction.execute("DELETE FROM runs WHERE id = ?", (number,))
            for record in records:
                _insert(transaction, record, "" if is_begun(record) else signatures[record.entry.folder])


def _insert(transaction: sqlite3.Connection, record: RunRecord, signature: str) -> None:
    entry = record.entry
    places = ", ".join("?" * (len(entry) + 1))
    columns = ", ".join(("signature", *RunEntry._fields))
    done = transaction.execute(f"INSERT INTO runs ({columns}) VALUES ({places})", (signature, *entry))  # noqa: S608
    for kind, names in (("figure", record.figures), ("setting", record.settings)):
        rows = ((kind, name) for name in names)
        transaction.executemany("INSERT OR IGNORE INTO keys (kind, name) VALUES (?, ?)", rows)
    of_key = "(SELECT id FROM keys WHERE kind = ? AND name = ?)"
    transaction.executemany(
        f"INSERT INTO figures VALUES ({of_key}, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        [("figure", name, done.lastrowid, *found) for name, found in record.figures.items()],
    )
    transaction.executemany(
        f"INSERT INTO settings VALUES ({of_key}, ?, ?)",  # noqa: S608
        [("setting", name, done.lastrowid, json.dumps(value, default=str)) for name, value in record.settings.items()],
    )


def open_index(artifacts: Path, tell: Callable[[int], None] = lambda number: None) -> RunIndex:
    """The index of the runs below ``artifacts/``, up to date."""
    index = RunIndex(artifacts / "results", artifacts / INDEX_PLACE, tell)
    index.refresh()
    return index


def _open(path: Path | None, *, anew: bool = False) -> sqlite3.Connection:
    """The file with its tables; one in memory where no file can be had."""
    if path is not None:
        for attempt in (anew, True):
            with contextlib.suppress(OSError):
                if attempt:
                    path.unlink(missing_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _connected(str(path))
            except sqlite3.OperationalError:  # no room, no permission
                break
            except sqlite3.DatabaseError:  # no index, or a torn one
                continue
    return _connected(":memory:")


def _connected(name: str) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
    try:
        database.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _signatures(results: Path) -> dict[str, str]:
    """Folder -> what changes when its manifest does, or what its machine costs."""
    try:
        with os.scandir(results) as found:
            names = [item.name for item in found if not item.name.startswith(".") and item.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    signatures: dict[str, str] = {}
    for name in names:
        folder = f"{results}/{name}"
        manifest = _signature(f"{folder}/manifest.json")
        if manifest:
            signatures[name] = f"{manifest} {_signature(f'{folder}/pod.json')}"
        elif name not in _NO_RUNS and not is_plain_folder(results / name):
            signatures[name] = f"none {os.path.exists(f'{folder}/.lock')}"
    return signatures


def _signature(path: str) -> str:
    try:
        state = os.stat(path)
    except OSError:
        return ""
    return f"{state.st_mtime_ns}-{state.st_size}-{state.st_ino}"
