"""No labels: windows to look at, to describe and to pretrain on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.labels import WindowLabels


@dataclass(frozen=True)
class Unlabelled:
    """No window has a label, and there are no classes."""

    labels_windows: ClassVar[bool] = False

    def fingerprint(self) -> str:
        """Nothing is read from outside."""
        return ""

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        """Null for every window."""
        nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(windows))
        return WindowLabels(nothing, (), from_rule=False)
