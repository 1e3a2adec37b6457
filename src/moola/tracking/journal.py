"""Every call to trackers, appended to one file of the run folder before it is made: the mirror of what they were told.

A line of ``tracking.jsonl`` is one call: its number, the time, the method of `Tracker` and its arguments as plain
values. It is what goes on after a crash, waits while a server is away, and can be sent again to a server that lost it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moola.layout import Layout, artifacts_above, digest_file, is_search_folder, naming
from moola.tracking.tracker import RefusedError, TrackedArtifact, TrackedRun, Tracker

JOURNAL = "tracking.jsonl"
_FILE_ARGUMENTS = ("svg", "html")
_SAME_EACH_ATTEMPT = ("log_summary", "log_table", "log_picture", "log_page", "log_artifact")
"""Calls that an attempt makes anew for results that are there already."""
_METHODS = {"start", "log_figures", *_SAME_EACH_ATTEMPT, "finish"}
"""All that a journal can hold: it may come from a machine that nobody trusts."""


@dataclass(frozen=True)
class Call:
    """One line of the journal.

    Attributes:
        number: from 1, rising.
        time_s: when it was made, in seconds since 1970.
        method: of `Tracker`.
        arguments: plain values by the method's own names; paths relative to the run folder. A figure that is not finite
            is ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``. Those of ``start`` are `TrackedRun`'s but for the folder.
        files: path as in the arguments -> SHA-256 when the call was made.
    """

    number: int
    time_s: float
    method: str
    arguments: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)

    def tell(self, tracker: Tracker, folder: Path) -> None:
        """Make the call; `folder` is where the run's is now."""
        tracker.number = self.number
        known: dict[str, Any] = dict(self.arguments)
        if self.method == "start":
            tracker.start(self.run(folder))
        elif self.method == "log_figures":
            known["figures"] = {name: float(value) for name, value in known["figures"].items()}
            tracker.log_figures(**known)
        elif self.method == "log_artifact":
            known["files"] = tuple(_within(folder, name) for name in known["files"])
            tracker.log_artifact(TrackedArtifact(**known))
        else:
            known |= {key: _within(folder, known[key]) for key in _FILE_ARGUMENTS if key in known}
            getattr(tracker, self.method)(**known)

    def run(self, folder: Path) -> TrackedRun:
        """The run that a call of ``start`` speaks of."""
        known: dict[str, Any] = {**self.arguments, "folder": folder, "tags": tuple(self.arguments["tags"])}
        return TrackedRun(**known)

    def missing(self, folder: Path) -> list[Path]:
        """Files that it speaks of and that are not there any more."""
        return [path for name in self.files if not (path := _within(folder, name)).is_file()]


def read_calls(folder: Path, after: int = 0) -> Iterator[Call]:
    """Calls that the journal of a run holds, but for the first `after`; lines torn by a crash are left out."""
    path = folder / JOURNAL
    if not path.exists():
        return
    with path.open("rb") as handle:
        yield from (call for line in handle if (call := parse_line(line)) is not None and call.number > after)


def told_folders(results: Path) -> list[Path]:
    """Folders of runs, then of searches, that have a journal.

    Args:
        results: folder of all run folders.
    """
    rooms = (results, Layout(results.parent, results.parent).searches)
    return [path.parent for room in rooms for path in sorted(room.glob(f"*/{JOURNAL}"))]


def found_search(word: str, results: Path) -> Path | None:
    """The folder of a search that is named: by its name, as ``searches/NAME``, or by its folder; None: it is none.

    Args:
        word: as typed.
        results: folder of all run folders.
    """
    searches = Layout(results.parent, results.parent).searches
    if (results / word / "manifest.json").exists():
        return None
    places = (searches / word, results / word, Path(word).absolute())
    return next((place for place in places if is_search_folder(place) and place.is_dir()), None)


def damaged_lines(folder: Path) -> list[int]:
    """Numbers, from 1, of lines of a run's journal that are none of its calls; no tracker is told of these."""
    path = folder / JOURNAL
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [number for number, line in enumerate(lines, start=1) if parse_line(line) is None]


def parse_line(line: bytes) -> Call | None:
    """The call of a line; None where a crash or a full disk tore it."""
    try:
        known = json.loads(line)
        call = Call(known["call"], known["time_s"], known["method"], known["arguments"], known.get("files", {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return call if call.method in _METHODS else None


class Journal:
    """Appends calls, and leaves out what an attempt before this one has told already.

    A point whose series and step were journaled is dropped: a run that goes on after a crash repeats the steps since
    its checkpoint. So are tables, pictures, pages, artifacts and figures of the whole run that are as they were.

    Args:
        folder: of the run.

    Raises:
        OSError: the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / JOURNAL
        self._number = 0
        self._steps: dict[str, set[int]] = {}
        self._latest: dict[tuple[str, str], str] = {}
        for call in read_calls(folder):
            self._remember(call)
        with naming(self.path):
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._is_torn = not _ends_whole(self.path)
        self._lock = threading.Lock()

    def append(self, method: str, **arguments: Any) -> bool:
        """Write one call.

        Args:
            method: of `Tracker`.
            arguments: its own, with `TrackedRun` for ``start`` and `TrackedArtifact` for ``log_artifact``.

        Returns:
            Whether it was new; False: it is in the journal already, and nothing was written.

        Raises:
            OSError: the disk takes no more; the next call is tried all the same.
        """
        plain, files = self._plain(method, arguments)
        with self._lock:
            call = Call(self._number + 1, round(time.time(), 3), method, plain, files)
            if self._is_known(call):
                return False
            self._number += 1
            self._write(call)
            self._remember(call)
            return True

    def last_step(self, series: str) -> int:
        """The highest step of a series that any attempt has told; 0 before the first."""
        return max(self._steps.get(series, ()), default=0)

    def close(self) -> None:
        """Bring it to disk; a later call is an error."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1  # its number may soon be another file's
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _write(self, call: Call) -> None:
        known = {"call": call.number, "time_s": call.time_s, "method": call.method, "arguments": call.arguments}
        line = json.dumps(known | ({"files": call.files} if call.files else {}), ensure_ascii=False, allow_nan=False)
        content = (b"\n" if self._is_torn else b"") + line.encode() + b"\n"
        with naming(self.path):
            self._is_torn = True  # until all of it is written
            written = os.write(self._descriptor, content)
            if written < len(content) - 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_torn = written < len(content)  # but for its end the line is whole

    def _plain(self, method: str, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Arguments as JSON values, and the digests of the files they name."""
        if method == "start":
            run: TrackedRun = arguments["run"]
            known = {key: value for key, value in vars(run).items() if key != "folder"}
            return known | {"config": dict(run.config), "tags": list(run.tags)}, {}
        if method == "log_artifact":
            artifact: TrackedArtifact = arguments["artifact"]
            paths = [self._relative(path) for path in artifact.files]
            known = {**vars(artifact), "files": paths}
            return _finite(known), {name: digest_file(_within(self.folder, name)) for name in paths}
        if method == "log_figures":
            return {**arguments, "figures": {name: _written(x) for name, x in arguments["figures"].items()}}, {}
        named = {key: self._relative(arguments[key]) for key in _FILE_ARGUMENTS if key in arguments}
        digests = {name: digest_file(_within(self.folder, name)) for name in named.values()}
        return _finite({**arguments, **named}), digests

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def _is_known(self, call: Call) -> bool:
        if call.method == "log_figures":
            return call.arguments["step"] in self._steps.get(call.arguments["series"], ())
        return call.method in _SAME_EACH_ATTEMPT and self._latest.get(_subject(call)) == _digest(call)

    def _remember(self, call: Call) -> None:
        self._number = call.number
        if call.method == "log_figures":
            self._steps.setdefault(call.arguments["series"], set()).add(call.arguments["step"])
        elif call.method in _SAME_EACH_ATTEMPT:
            self._latest[_subject(call)] = _digest(call)


def _subject(call: Call) -> tuple[str, str]:
    """What a later call of the same kind replaces."""
    return call.method, call.arguments.get("name", "") or ",".join(sorted(call.arguments.get("figures", ())))


def _digest(call: Call) -> str:
    return hashlib.sha256(json.dumps([call.arguments, call.files], sort_keys=True).encode()).hexdigest()


def _within(folder: Path, name: str) -> Path:
    """A file that the journal of a run names.

    Raises:
        RefusedError: it is not below the folder that holds all results, encoders among them: a pod may have written
            the journal, and no file of this machine's own is sent on its word.
    """
    path, top = Path(os.path.normpath(folder / name)), artifacts_above(folder)
    if not path.resolve().is_relative_to(top.resolve()):
        raise RefusedError(f"{path} is not below {top}")
    return path


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as handle:
        if handle.seek(0, os.SEEK_END) == 0:
            return True
        handle.seek(-1, os.SEEK_END)
        return handle.read() == b"\n"


def _written(value: float) -> float | str:
    """A figure as JSON can hold it; `float` reads the words back."""
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _finite(value: Any) -> Any:
    """Plain values with null for what is no number."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
