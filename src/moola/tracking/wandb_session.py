"""What is told W&B from one start of a run to the next, and what is remembered of it in the run folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moola.layout import read_json, write_json
from moola.tracking.tracker import TrackedRun

NAME = "wandb"
RECORD = "record.json"


@dataclass
class Session:
    """What is told of a run from one `start` to the next.

    Attributes:
        run: it.
        folder: for everything that W&B's client keeps.
        online: whether a server is told.
        there: number of the last call whose row W&B has from before.
        failed: there was an outage, so that nobody knows what became of what was told.
        defined: metrics whose axis is known.
    """

    run: TrackedRun
    folder: Path
    online: bool
    there: int = 0
    failed: bool = False
    defined: set[str] = field(default_factory=set[str])

    @property
    def wandb_id(self) -> str:
        """An agent's sweep knows its run by the id that the agent gave; any other run has ours."""
        given = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        return given or read_record(self.run.folder).get("id") or self.run.run_id

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Add to what is remembered of the run at W&B."""
        write_json(self.folder / RECORD, {**read_record(self.run.folder), **facts})

    def forget_older(self, own: Path) -> None:
        """Delete what W&B's client kept of earlier attempts: all of it was told again."""
        for folder in (self.folder / "wandb").glob("*run-*-*"):
            if folder.is_dir() and not folder.is_symlink() and folder.resolve() != own.resolve():
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """W&B's client keeps its files in the run folder, reports to nobody else, and says nothing."""
        own = {
            "WANDB_CACHE_DIR": str(self.folder / "cache"),
            "WANDB_DATA_DIR": str(self.folder / "data"),
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with environment(own):
            yield


@contextlib.contextmanager
def environment(own: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for as long as the block runs."""
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def read_record(folder: Path) -> dict[str, Any]:
    """What is remembered of a run at W&B: ``id``, ``project``, ``entity``, ``url`` and ``sent``, its last call there.

    Args:
        folder: of the run.
    """
    path = folder / "tracking" / NAME / RECORD
    return read_json(path) if path.is_file() else {}


@contextlib.contextmanager
def kept_hooks() -> Iterator[None]:
    """W&B's client wants to hear of every exit and error; a run tells its own end."""
    exit_before, hook_before = sys.exit, sys.excepthook
    try:
        yield
    finally:
        sys.exit, sys.excepthook = exit_before, hook_before
