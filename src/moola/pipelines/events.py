"""One JSONL log a run: everything that happened, in order, appended and never rewritten."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from moola.layout import naming

Event = dict[str, Any]
_NO_FIGURES = {
    *("time", "event", "stage", "study", "seed", "member", "number"),
    *("step", "steps", "epoch", "done", "total", "what"),
}
"""Fields of events that say of what, where or when."""


class EventLog:
    """Appends events to a file and hands them to listeners (the terminal, trackers); threads take turns.

    Args:
        path: the file, or None to keep events to the listeners.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._listeners: list[Callable[[Event], None]] = []
        self._turn = threading.RLock()  # a listener may emit, too
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _end_torn_line(path)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every later event."""
        self._listeners.append(listener)

    def emit(self, event: str, **fields: Any) -> None:
        """Append one event."""
        with self._turn:
            record: Event = {"time": now(), "event": event, **fields}
            try:
                if self.path is not None:
                    with naming(self.path), self.path.open("a") as handle:
                        handle.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
            finally:  # a person hears of it also where the disk is full
                for listener in self._listeners:
                    listener(record)


def read_events(path: Path) -> list[Event]:
    """All whole events of a log; a line torn by a crash is left out."""
    events: list[Event] = []
    for line in path.read_text().splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue  # the writer was killed in the middle of this line
    return events


def figures_of(event: Event) -> dict[str, float]:
    """What an event measured, as curves show it: its numbers by name, those of nested groups by ``group/name``."""
    return dict(_numbers({key: value for key, value in event.items() if key not in _NO_FIGURES}, ""))


def _numbers(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{path}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{path}{key}", float(value)


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _end_torn_line(path: Path) -> None:
    if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with path.open("a") as handle:
            handle.write("\n")
