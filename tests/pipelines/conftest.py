"""Two small stages with real files: one writes letters, one reads them and writes them large."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from moola.layout import Layout, digest_file, write_text
from moola.pipelines.artifacts import Artifact
from moola.pipelines.context import Context
from moola.pipelines.events import EventLog
from moola.pipelines.stage import Stage, Workspace

CALLS: list[str] = []


@dataclass(frozen=True)
class Letters(Stage):
    """Writes its text, or that of a file outside."""

    text: str = "abc"
    outside_file: str = ""
    name: ClassVar[str] = "letters"
    provides: ClassVar[str] = "letters"
    room: ClassVar[str] = "data/processed/unlabeled"

    def outside(self) -> str:
        return digest_file(Path(self.outside_file)) if self.outside_file else ""

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        CALLS.append(self.name)
        text = Path(self.outside_file).read_text() if self.outside_file else self.text
        write_text(workspace.folder / "letters.txt", text)


@dataclass(frozen=True)
class Large(Stage):
    """Writes the letters in capitals."""

    ending: str = "!"
    name: ClassVar[str] = "large"
    provides: ClassVar[str] = "large"
    requires: ClassVar[tuple[str, ...]] = ("letters",)
    uses: ClassVar[tuple[str, ...]] = ("extra",)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        CALLS.append(self.name)
        text = inputs["letters"].path("letters.txt").read_text()
        write_text(workspace.folder / "large.txt", text.upper() + self.ending)


@pytest.fixture
def fakes() -> SimpleNamespace:
    """The stages, and the list of those whose `run` was called."""
    CALLS.clear()
    return SimpleNamespace(Letters=Letters, Large=Large, calls=CALLS)


@pytest.fixture
def fresh_context(tmp_path: Path) -> Callable[..., Context]:
    """A context as a new command would make it; its events are kept in ``context.events.seen``."""

    def make(**fields: object) -> Context:
        events = EventLog()
        events.seen = []  # type: ignore[attr-defined]
        events.listen(events.seen.append)  # type: ignore[attr-defined]
        return Context("run-1", Layout(tmp_path / "data", tmp_path / "artifacts"), events, **fields)  # type: ignore[arg-type]

    return make
