"""Which sweep it is, which of its runs are done, and that one process at a time is at it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from moola.config import digest_json
from moola.errors import StorageError
from moola.layout import changed_files, lock_at_once, read_json
from moola.pipelines.sweep_record import LOCK

_DIGITS = 12


def sweep_id(name: str, job: str, words: Sequence[str]) -> str:
    """Name of a sweep: the same job with the same words is the same sweep, whatever launches it."""
    return f"{name}-{digest_json([job, list(words)])[:_DIGITS]}"


def is_whole(run_folder: Path) -> bool:
    """Whether a run is finished, and every file is what its manifest says."""
    try:
        manifest: Mapping[str, Any] = read_json(run_folder / "manifest.json")
        return manifest["status"] == "finished" and not changed_files(run_folder, manifest["files"])
    except (StorageError, KeyError, AttributeError, TypeError):
        return False


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """One process at a time at a sweep.

    Raises:
        StorageError: another process is at it; it is named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as handle:
        if not lock_at_once(handle):
            handle.seek(0)
            raise StorageError(
                f"the sweep {folder.name} is under way in another process",
                f"process {handle.read().strip() or 'unknown'} holds {folder}",
                f"wait for it, or look at it: moola sweep show {folder.name}",
            )
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield
