"""The log of a run as it grows: every event is read once, whoever watches."""

from __future__ import annotations

import json
import os
from pathlib import Path

from moola.pipelines.events import Event

_MOST_BYTES = 8 * 1024 * 1024
"""Of one look, so that a long log holds nobody up."""


class EventTail:
    """Reads what was appended to a JSONL log since the last look.

    A line without its end waits for the rest of it, a line that is no event is left out, and a log that was replaced or
    cut is read from its beginning.

    Args:
        path: the log, which need not be there yet.

    Attributes:
        restarted: whether the last look began anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarted = False
        self._inode, self._offset, self._rest = 0, 0, b""

    def read(self) -> list[Event]:
        """New events, the earliest first."""
        self.restarted = False
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            state = os.fstat(descriptor)
            if state.st_ino != self._inode or state.st_size < self._offset:
                self.restarted, self._inode, self._offset, self._rest = self._inode != 0, state.st_ino, 0, b""
            content = os.pread(descriptor, _MOST_BYTES, self._offset) if state.st_size > self._offset else b""
        except OSError:
            return []
        finally:
            os.close(descriptor)
        self._offset += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [event for line in lines if (event := _event(line)) is not None]


def _event(line: bytes) -> Event | None:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None  # torn by a crash
    return told if isinstance(told, dict) and isinstance(told.get("event"), str) else None
