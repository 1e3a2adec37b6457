"""Locks that end with the process that holds them, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock in the block; whether it is held, which is certain where one waits for it.

    Args:
        path: of its file, made where it is missing.
        shared: with all who share it, too.
        wait: until others let go of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            is_held = True
        except BlockingIOError:
            is_held = False
        yield is_held


def is_locked(path: Path) -> bool:
    """Whether somebody holds it."""
    if not path.exists():
        return False
    with locked(path, wait=False) as is_free:
        return not is_free
