"""Labels that come with the data: one a series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.errors import DataError
from moola.labels import WindowLabels


@dataclass(frozen=True)
class CaseLabels:
    """Every window has the label of its series."""

    def fingerprint(self) -> str:
        """Nothing is read from outside."""
        return ""

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        """Classes in alphabetical order."""
        if None in store.series_label:
            raise DataError(
                "task.labels=case_labels needs data whose series carry labels",
                f"series '{store.series[store.series_label.index(None)]}' has none",
                "use task.labels=label_file task.path=FILE, or task.labels=structure_rule on candles",
            )
        number = np.searchsorted(store.offsets, windows.starts, side="right") - 1
        values = pl.Series(np.asarray(store.series_label, dtype=object)[number].tolist(), dtype=pl.String)
        return WindowLabels(
            values, tuple(sorted({label for label in store.series_label if label is not None})), from_rule=False
        )
