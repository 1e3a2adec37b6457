"""Decisions about labels, one event each, in a log that only grows.

A label is never overwritten: what labels are now is computed from the log (`moola.labels.folding`), so that undo,
audit and the merge of two logs need nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import math
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from moola.errors import DataError, StorageError, did_you_mean
from moola.layout import naming, sync_folder

Decision = Literal["accept", "relabel", "blacklist", "skip", "note", "undo"]
DECISIONS: tuple[str, ...] = get_args(Decision)
LOG_PLACE = "corrections/review_corrections/events.jsonl"
"""Where the log lies in the data folder."""
VERSION = 1
"""Of a line of the log."""
_DIGEST_SIGNS = 16
_JSON_NAMES = {"given": "from", "label": "to"}
_ALWAYS = ("event_id", "decision", "window_id", "window_digest", "given", "label", "annotator", "at", "source")
"""Fields that every line says; others only where they are not what they are by default."""
_NEEDED = ("event_id", "decision", "window_id", "annotator", "at", "source")


def now() -> str:
    """The time in UTC, ISO 8601, to the microsecond."""
    return _moment_text(datetime.datetime.now(datetime.UTC))


@dataclass(frozen=True, kw_only=True)
class LabelEvent:
    """One decision of one person about one window.

    Attributes:
        decision: ``accept`` the given label; ``relabel`` to another; ``skip``: leave the window out of training;
            ``blacklist``: leave it out with every window that overlaps it, whatever the stride and what others say;
            ``note`` decides nothing; ``undo`` takes another event back.
        window_id: name of the window; of an undo, that of the event it undoes.
        annotator: who decided.
        event_id: its name for good: an event that comes twice counts once.
        at: when, UTC, ISO 8601; later decisions of the same person win.
        source: ``review``; ``import:FILE``; ``command line`` of `moola labels undo`.
        window_digest: `window_digest` of the bars that were looked at; empty where these are not known.
        given: label that the window had; None where it had none. ``from`` in the log.
        label: label that it should have; None where none is decided. ``to`` in the log.
        start: first bar of what was marked, counted within the window; None where nothing was.
        end: last bar of it.
        note: free text.
        undoes: ``event_id`` of what an undo takes back.
        seconds: from when the window was shown to the decision.
        blind: whether label and predictions were hidden.
        blind_share: of the windows of this sitting whose labels were hidden by lot; 0 where nothing was drawn.
        run_id: of the run whose window was looked at.
        first_time: of the window's first bar, UTC, ISO 8601; empty where not known.
        last_time: of its last bar.
        series: name of the series that the window lies in; empty where not known.

    Raises:
        DataError: the fields do not go together; every problem in one go.
    """

    decision: Decision
    window_id: str
    annotator: str
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    at: str = field(default_factory=now)
    source: str = "review"
    window_digest: str = ""
    given: str | None = None
    label: str | None = None
    start: int | None = None
    end: int | None = None
    note: str = ""
    undoes: str = ""
    seconds: float | None = None
    blind: bool = False
    blind_share: float = 0.0
    run_id: str = ""
    first_time: str = ""
    last_time: str = ""
    series: str = ""

    def __post_init__(self) -> None:
        problems = list(self._broken_rules())
        for name in ("at", "first_time", "last_time"):
            text = getattr(self, name)
            if not text and name != "at":
                continue
            try:
                object.__setattr__(self, name, _canonical(text))  # equal moments are equal texts, so that they sort
            except (ValueError, OverflowError):
                problems.append(f"{name}: '{text}' is no time in ISO 8601 with a zone, as in 2026-01-31T12:00:00Z")
        if problems:
            lines = "\n".join(f"- {problem}" for problem in problems)
            raise DataError(f"a decision about {self.window_id or 'a window'} makes no sense", lines, "mend it")

    def _broken_rules(self) -> Iterator[str]:
        if self.decision not in DECISIONS:
            yield f"decision: '{self.decision}'; {did_you_mean(str(self.decision), DECISIONS)}"
        for name in ("event_id", "window_id", "annotator"):
            if not getattr(self, name):
                yield f"{name}: is empty"
        if self.decision == "relabel" and not self.label:
            yield "to: a window is relabelled to nothing"
        if self.decision == "accept" and not (self.label or self.given):
            yield "from: nothing is there to accept"
        if self.decision == "accept" and self.label and self.given and self.label != self.given:
            yield f"to: '{self.label}' is not the given '{self.given}'; another label is a relabel"
        if (self.decision == "undo") != bool(self.undoes):
            yield "undoes: an undo names the event it takes back, and nothing else does"
        if (self.start is None) != (self.end is None):
            yield "start, end: one is there without the other"
        elif self.start is not None and self.end is not None and not 0 <= self.start < self.end:
            yield f"start, end: {self.start} to {self.end} is no span of bars"
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds >= 0):
            yield f"seconds: {self.seconds} is no duration"
        if not 0 <= self.blind_share <= 1:
            yield f"blind_share: {self.blind_share} is no share"
        if bool(self.first_time) != bool(self.last_time):
            yield "first_time, last_time: one is there without the other"

    @property
    def verdict(self) -> str | None:
        """The label that the decision is for; None where it is for none (skip, blacklist, note, undo)."""
        return (self.label or self.given) if self.decision in ("accept", "relabel") else None

    def to_json(self) -> dict[str, Any]:
        """A line of the log."""
        told: dict[str, Any] = {"version": VERSION}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name in _ALWAYS or value != item.default:
                told[_JSON_NAMES.get(item.name, item.name)] = value
        return told

    @classmethod
    def from_json(cls, values: Any) -> LabelEvent:
        """An event as `to_json` tells it.

        Raises:
            DataError: it is not one; every problem in one go.
        """
        problems = list(_json_problems(values))
        if problems:
            raise DataError("this is no event of a label", "\n".join(f"- {problem}" for problem in problems))
        names = {json_name: name for name, json_name in _JSON_NAMES.items()}
        return cls(**{names.get(key, str(key)): value for key, value in values.items() if key != "version"})


def window_digest(bars: np.ndarray) -> str:
    """First 16 hex signs of the SHA-256 of a window's bars: another digest, other bars than those decided about.

    Args:
        bars: [length, n_channels], all of them, also those that no model sees; compared as float32.
    """
    return hashlib.sha256(np.ascontiguousarray(bars, dtype="<f4").data).hexdigest()[:_DIGEST_SIGNS]


@dataclass(frozen=True)
class LogContent:
    """What a log holds.

    Attributes:
        events: in the order in which they were written, each once.
        torn: end of the file that a crash left without its rest, as far as this process met one; empty where all is
            whole. It was never confirmed to anybody, and the next `LabelLog.append` cuts it off. An event that lacks
            nothing but the end of its line counts.
    """

    events: tuple[LabelEvent, ...]
    torn: str


class LabelLog:
    """An append-only file of events, a line of JSON each, that several processes and threads may append to at once.

    Reading goes on where it ended, so that a server can look at the file before each answer.

    Args:
        path: the file; made by the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.Lock()
        self._forget()
        self._torn = ""

    def append(self, *events: LabelEvent) -> None:
        """Write events that are not in the log yet; they are on disk (fsync) when this returns.

        Raises:
            StorageError: the log is not what was written, or cannot be made there.
            OSError: the disk takes no more; the log then holds the events that it held.
        """
        with self._mutex, self._open("a+b", fcntl.LOCK_EX) as descriptor:
            self._catch_up(descriptor)
            known = {*self._events, *([self._unended.event_id] if self._unended else [])}
            fresh = {event.event_id: event for event in reversed(events)}
            lines = b"".join(_line(fresh[name]) for name in reversed(fresh) if name not in known)
            if not lines and not self._unended:
                return
            with naming(self.path):
                self._write(descriptor, lines)
            self._catch_up(descriptor)

    def read(self) -> LogContent:
        """Everything in the log; nothing where there is no file.

        Raises:
            StorageError: the log is not what was written; the first bad line is named.
        """
        with self._mutex:
            try:
                with self._open("rb", fcntl.LOCK_SH) as descriptor:
                    self._catch_up(descriptor)
            except FileNotFoundError:
                self._forget()
            unended = (self._unended,) if self._unended else ()
            return LogContent((*self._events.values(), *unended), self._torn)

    @contextlib.contextmanager
    def _open(self, mode: Literal["rb", "a+b"], lock: int) -> Iterator[int]:
        try:
            if mode == "a+b":
                self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = self.path.open(mode, buffering=0)
        except IsADirectoryError as error:
            raise StorageError(f"{self.path} is a folder, not a log of decisions", "", "give a file") from error
        except FileNotFoundError as error:
            if mode == "rb":
                raise
            why = error.strerror or str(error)  # some file systems take no new files
            raise StorageError(f"no log can be made at {self.path}", why, "choose another place") from error
        with handle:
            fcntl.flock(handle, lock)  # given back with the file
            yield handle.fileno()

    def _forget(self) -> None:
        self._events: dict[str, LabelEvent] = {}
        self._offset = self._n_lines = 0
        self._file = (0, 0)
        self._unended: LabelEvent | None = None

    def _catch_up(self, descriptor: int) -> None:
        """Read what was written since the last time; the lock is held."""
        state = os.fstat(descriptor)
        if (state.st_dev, state.st_ino) != self._file or state.st_size < self._offset:
            self._forget()  # another file has the name now
            self._file = (state.st_dev, state.st_ino)
        content = os.pread(descriptor, state.st_size - self._offset, self._offset)
        while len(content) < state.st_size - self._offset:  # one read gives 2 GB at most
            content += os.pread(descriptor, state.st_size, self._offset + len(content))
        *lines, rest = content.split(b"\n")
        for line in lines:
            self._take(line)
        self._unended = None
        if rest.strip():
            try:
                self._unended = self._event(rest)
            except (ValueError, DataError):
                self._torn = rest.decode(errors="replace")

    def _take(self, line: bytes) -> None:
        try:
            event = self._event(line) if line.strip() else None
        except (ValueError, DataError) as error:
            why = error.why if isinstance(error, DataError) else str(error)
            number = self._n_lines + 1
            self._forget()
            raise StorageError(
                f"{self.path}, line {number}, is no decision about a label",
                why,
                "bring back a copy of the file from before, or delete this line: what it decided is then lost",
            ) from error
        if event is not None:
            self._events.setdefault(event.event_id, event)
        self._offset += len(line) + 1
        self._n_lines += 1

    def _event(self, line: bytes) -> LabelEvent:
        """What a line says.

        Raises:
            StorageError: a newer moola wrote it.
            ValueError, DataError: it says nothing.
        """
        told = json.loads(line)
        version = told.get("version") if isinstance(told, dict) else None
        if isinstance(version, int) and version > VERSION:
            number = self._n_lines + 1
            self._forget()
            why = f"line {number} is of version {version}, and this moola knows version {VERSION}"
            raise StorageError(f"a newer moola wrote {self.path}", why, "update moola: pip install -U moola")
        return LabelEvent.from_json(told)

    def _write(self, descriptor: int, lines: bytes) -> None:
        """Put whole lines after the last event, in place of what a crash left there.

        An event that lacks the end of its line was read by somebody, perhaps: it is given that end and is never cut.
        """
        is_new, kept = not self._offset, self._offset
        if self._unended:
            kept, lines = os.fstat(descriptor).st_size, b"\n" + lines
        os.ftruncate(descriptor, kept)
        try:
            written = 0
            while written < len(lines):
                written += os.write(descriptor, lines[written:])
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, kept)
            raise
        if is_new:
            sync_folder(self.path.parent)


def _line(event: LabelEvent) -> bytes:
    text = json.dumps(event.to_json(), ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="surrogatepass")  # half a sign that a browser cut in two must not stop the log


def _moment_text(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _canonical(text: str) -> str:
    """A time as `now` writes it.

    Raises:
        ValueError: it is none, or has no zone.
    """
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return _moment_text(moment.astimezone(datetime.UTC))


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(_NEEDED, ((str,), "text")),
    **dict.fromkeys(
        ("window_digest", "note", "undoes", "run_id", "first_time", "last_time", "series"), ((str,), "text")
    ),
    **dict.fromkeys(("from", "to"), ((str, type(None)), "text or null")),
    **dict.fromkeys(("start", "end"), ((int, type(None)), "a whole number or null")),
    "seconds": ((int, float, type(None)), "a number or null"),
    "blind_share": ((int, float), "a number"),
    "blind": ((bool,), "true or false"),
    "version": ((int,), "a whole number"),
}
"""Keys of a line and what they hold."""


def _json_problems(values: Any) -> Iterator[str]:
    if not isinstance(values, dict):
        yield "it is no JSON object"
        return
    version = values.get("version")
    if version != VERSION:
        yield f"version: {version!r}; this moola knows version {VERSION}"
        return
    for key in _NEEDED:
        if key not in values:
            yield f"{key}: is missing"
    for key, value in values.items():
        if key not in _KINDS:
            yield f"{key}: unknown key; {did_you_mean(str(key), _KINDS)}"
        elif not isinstance(value, _KINDS[key][0]) or (isinstance(value, bool) and key != "blind"):
            yield f"{key}: {value!r} must be {_KINDS[key][1]}"
