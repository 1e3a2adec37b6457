"""A tracker that keeps what it is told in a file, and fails, refuses or blocks where a test wants it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from moola.tracking.journal import Journal
from moola.tracking.tracker import RefusedError, TrackedRun, Tracker


@dataclass
class FileTracker(Tracker):
    """Appends what it was told when it is flushed, as a server keeps what a client sends."""

    path: Path
    wait_s: float = 5.0
    fails: Callable[[str, dict[str, Any]], bool] = lambda method, arguments: False
    refuses: Callable[[str, dict[str, Any]], bool] = lambda method, arguments: False
    words: str = "a name of 300 letters"
    blocks: threading.Event | None = None
    tries: int = 0
    _waiting: list[list[Any]] = field(default_factory=list, init=False)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("log_") and name not in ("start", "finish"):
            return super().__getattribute__(name)

        def take(*positional: Any, **arguments: Any) -> None:
            self.tries += 1
            if self.blocks is not None:
                self.blocks.wait()
            if self.fails(name, arguments):
                raise ConnectionError("the server is away")
            if name == "start":
                self._waiting.clear()
            self._waiting.append([name, arguments or str(positional[0])])

        return take

    def flush(self) -> None:
        for name, arguments in self._waiting:
            if self.refuses(name, arguments):
                raise RefusedError(self.words)
        with self.path.open("a") as handle:
            handle.writelines(json.dumps(told, default=str) + "\n" for told in self._waiting)
        self._waiting.clear()

    def told(self) -> list[list[Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def steps(self) -> list[int]:
        return [arguments["step"] for name, arguments in self.told() if name == "log_figures"]


@pytest.fixture
def file_tracker(tmp_path: Path) -> Callable[..., FileTracker]:
    return lambda **options: FileTracker(tmp_path / "server.jsonl", **options)


@pytest.fixture
def tracked_run(tmp_path: Path) -> TrackedRun:
    folder = tmp_path / "results" / "tiny-0123456789ab"
    folder.mkdir(parents=True)
    return TrackedRun(folder.name, "tiny", folder, {"name": "tiny", "tracker": {}})


@pytest.fixture
def journal(tracked_run: TrackedRun) -> Iterator[Journal]:
    opened = Journal(tracked_run.folder)
    opened.append("start", run=tracked_run)
    yield opened
    opened.close()


@pytest.fixture
def log(journal: Journal) -> Callable[[int], None]:
    """Journals points of one series up to a step."""

    def points(up_to: int) -> None:
        for step in range(1, up_to + 1):
            journal.append("log_figures", series="pretrain/seed0", step=step, figures={"loss": 1 / step}, time_s=step)

    return points
