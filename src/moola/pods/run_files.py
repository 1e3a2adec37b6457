"""The JSON files of a run's folder on the pod: read as far as they make sense, written whole or not at all.

Standard library only, Python 3.8 or newer: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

_BALLAST_BYTES = 1 << 20


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none, or none that can be read."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_object(path: Path, value: dict[str, Any]) -> None:
    """Write a whole file or none, on disk when this returns.

    Raises:
        OSError: the disk takes no more, or is gone; what had the name stays.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("w") as handle:
            json.dump(value, handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(str(temporary), str(path))
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class Ballast:
    """Room that is held free for the last words on a disk that is full.

    Args:
        folder: on that disk.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".ballast"

    def take(self) -> None:
        """Hold it; on a disk that is full already there is none to hold."""
        with contextlib.suppress(OSError):
            self._path.write_bytes(b"\0" * _BALLAST_BYTES)

    def drop(self) -> None:
        """Give it back; once it is given back, nothing happens."""
        with contextlib.suppress(OSError):
            self._path.unlink()
