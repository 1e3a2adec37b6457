"""Who is at a trial, so that one whose worker died can be told from one that takes long."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moola.layout import write_text
from moola.sweeps.search.locks import is_locked, locked

LEASE_S = 120.0
"""After so many seconds without a beat a worker in another folder counts as dead."""
BEAT_EVERY_S = 20.0


class Owner:
    """A worker, alive as long as it holds the lock on a file of its own.

    The system lets go of the lock however the process ends, so workers that share the folder know at once. Others, on
    another machine, watch its beats: no clocks are compared, only whether the count still rises.

    Args:
        folder: of the lock files; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, f"{uuid.uuid4().hex}.lock"
        self._held = (folder / self._name).open("w")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self._beats: dict[int, tuple[int, float]] = {}

    def close(self) -> None:
        """Be gone."""
        (self._folder / self._name).unlink(missing_ok=True)
        self._held.close()

    def to_json(self) -> dict[str, Any]:
        """What a trial keeps of its worker."""
        return {"folder": self._folder_id(), "lock": self._name, "host": socket.gethostname(), "pid": os.getpid()}

    def is_dead(self, trial: int, owner: Mapping[str, Any] | None, beat: int) -> bool:
        """Whether the worker of a trial is gone.

        Args:
            trial: its id.
            owner: what `to_json` gave; None: the trial was begun, and nobody wrote that it is his.
            beat: how often it has said that it lives.
        """
        if owner is not None and owner["folder"] == self._folder_id():
            return _is_over(self._folder / owner["lock"])
        seen, since = self._beats.setdefault(trial, (beat, time.monotonic()))
        if seen != beat:
            self._beats[trial] = (beat, time.monotonic())
        return seen == beat and time.monotonic() - since > LEASE_S

    def _folder_id(self) -> str:
        """A name of the folder that no other has, on whichever machine it is seen."""
        path = self._folder / "id"
        with contextlib.suppress(FileNotFoundError):
            return path.read_text()
        with locked(self._folder / "id.lock"):
            if not path.exists():
                write_text(path, uuid.uuid4().hex)
        return path.read_text()


def _is_over(path: Path) -> bool:
    """Whether nobody holds the lock of a worker any more; its file goes with it."""
    if is_locked(path):
        return False
    path.unlink(missing_ok=True)
    return True
