"""Read bars from their source, check them, and store them for memory mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from moola.config import RunConfig
from moola.data.bar_store import save_bars
from moola.data.sources import SOURCES, Source
from moola.pipelines.artifacts import Artifact
from moola.pipelines.stage import Stage, Workspace


@dataclass(frozen=True)
class Ingest(Stage):
    """Bars from the source, checked and stored."""

    source: Source
    name: ClassVar[str] = "ingest"
    provides: ClassVar[str] = "bars"
    room: ClassVar[str] = "data/processed/unlabeled"
    packages: ClassVar[Mapping[str, str]] = {"polars": "data", "pandera": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """The section ``data`` without its windows."""
        section = {key: value for key, value in config.data.items() if key != "window"}
        return cls(SOURCES.build_section(section, "data", key="source"))

    def outside(self) -> str:
        """The source's files."""
        return self.source.fingerprint()

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``values.npy``, ``timestamps.npy``, ``bars.json``."""
        save_bars(self.source.load(), workspace.folder)
