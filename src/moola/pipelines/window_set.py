"""Bars, windows and the part that each window plays: everything but labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl

from moola.data.bar_store import BarStore
from moola.data.splits.proof import check_fresh, windows_digest
from moola.data.window_index import WindowIndex, WindowSpans
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact

UNLABELLED_FILES: Mapping[str, tuple[str, ...]] = {
    "windows": ("starts.npy", "stretches.npy", "windows.json"),
    "splits": ("splits.parquet", "spans.json"),
}
"""What `WindowSet.open` reads of two artifacts (`moola.pipelines.stage.Stage.reads`): no file of these knows a label,
so what is learned without labels stays valid when labels change."""


@dataclass(frozen=True)
class WindowSet:
    """Windows without their labels.

    Attributes:
        store: the bars.
        windows: where windows start.
        parts: ``train``, ``test`` or ``neither``, String [n_windows] in the order of `windows`.
    """

    store: BarStore
    windows: WindowIndex
    parts: pl.Series

    @classmethod
    def open(cls, inputs: Mapping[str, Artifact]) -> Self:
        """From the artifacts ``bars``, ``windows`` and ``splits``.

        Raises:
            StorageError: the split was made for other bars or other windows.
        """
        return cls(*open_parts(inputs))

    @cached_property
    def spans(self) -> WindowSpans:
        """What every window spans, in the order of `windows`."""
        return self.windows.spans(self.store)

    @cached_property
    def span(self) -> int:
        """Positions on the common calendar that a window spans, the most of any.

        More than its bars where one series has some while another pauses.
        """
        return int((self.spans.last_step - self.spans.first_step).max()) + 1

    def rows_of(self, part: str) -> np.ndarray:
        """Numbers of the windows that play a part, int64 [n]."""
        return np.flatnonzero((self.parts == part).to_numpy())


def open_parts(inputs: Mapping[str, Artifact]) -> tuple[BarStore, WindowIndex, pl.Series]:
    """Bars, windows and parts, which have to belong together.

    Raises:
        StorageError: they do not.
    """
    store = BarStore.open(inputs["bars"].folder)
    windows, splits = open_index(inputs["windows"]), inputs["splits"]
    check_fresh(read_json(splits.path("spans.json")), store.digest, windows_digest(windows))
    return store, windows, pl.read_parquet(splits.path("splits.parquet"))["span"]


def open_index(artifact: Artifact) -> WindowIndex:
    """Window index from the artifact ``windows``."""
    head = read_json(artifact.path("windows.json"))
    starts, stretches = (
        np.load(artifact.path(name), mmap_mode="r", allow_pickle=False) for name in ("starts.npy", "stretches.npy")
    )
    zone = (head["zone"][0], head["zone"][1])
    return WindowIndex(starts, head["length"], head["visible"], zone, stretches, head["horizon_bars"])
