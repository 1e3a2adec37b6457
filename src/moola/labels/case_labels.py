"""Labels that come with the data: one a series."""

from __future__ import annotations

from collections import Counter
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
        """Classes in alphabetical order.

        Raises:
            DataError: a series without a label, or a class with one series only, which cannot both train and be tested.
        """
        if None in store.series_label:
            raise DataError(
                "task.labels=case_labels needs data whose series carry labels",
                f"{store.series_label.count(None)} of {len(store.series)} series have none, "
                f"the first is '{store.series[store.series_label.index(None)]}'",
                "use task.labels=label_file task.path=FILE, or task.labels=structure_rule on candles",
            )
        counts = Counter(label for label in store.series_label if label is not None)
        alone = sorted(label for label, n in counts.items() if n == 1)
        if alone:
            named = (f"- '{label}' ({store.series[store.series_label.index(label)]})" for label in alone)
            raise DataError(
                "the labels of the series hold classes with one series only",
                "\n".join(named),
                "add cases of these classes to the data, or leave them out",
            )
        number = np.searchsorted(store.offsets, windows.starts, side="right") - 1
        values = pl.Series(np.asarray(store.series_label, dtype=object)[number].tolist(), dtype=pl.String)
        return WindowLabels(values, tuple(sorted(counts)), from_rule=False)
