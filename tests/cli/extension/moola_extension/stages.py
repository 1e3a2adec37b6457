"""A stage that counts windows; its import is relative on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moola.layout import write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.stage import Stage, Workspace

from .counting import count


@dataclass(frozen=True)
class CountWindows(Stage):
    """Counts windows, times a factor."""

    factor: int = 1
    name: ClassVar[str] = "count_windows"
    provides: ClassVar[str] = "window_count"
    requires: ClassVar[tuple[str, ...]] = ("windows",)
    publishes: ClassVar[tuple[str, ...]] = ("count.json",)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        starts = np.load(inputs["windows"].path("starts.npy"), allow_pickle=False)
        write_json(workspace.folder / "count.json", {"count": count(starts) * self.factor})
