"""Bars, windows, spans and labels as the stages left them, opened together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from moola.data.bar_store import BarStore
from moola.data.splits import Fold
from moola.data.window_index import WindowIndex
from moola.features import Transform
from moola.features.summary import summarise, summary_spans
from moola.layout import read_json
from moola.models import LabelledWindows
from moola.pipelines.artifacts import Artifact


@dataclass(frozen=True)
class Dataset:
    """Everything the data stages say of the windows.

    Attributes:
        store: the bars.
        windows: where windows start.
        table: windows table, with ``span`` and the true label, [n_windows] rows in the order of `windows`.
        classes: class names in the order of every probability column.
        labels: labels table of the training windows that got one, with ``row`` (window number).
        folds: purged folds over the rows of `labels`.
    """

    store: BarStore
    windows: WindowIndex
    table: pl.DataFrame
    classes: tuple[str, ...]
    labels: pl.DataFrame
    folds: tuple[Fold, ...]

    @classmethod
    def open(cls, inputs: Mapping[str, Artifact]) -> Dataset:
        """From the artifacts ``bars``, ``windows`` and ``splits``."""
        store = BarStore.open(inputs["bars"].folder)
        windows, table, classes = open_windows(inputs["windows"])
        splits = inputs["splits"]
        spans = pl.read_parquet(splits.path("splits.parquet"))
        table = table.with_row_index("row").join(spans, on="window_id", how="left", maintain_order="left")
        labels = pl.read_parquet(splits.path("labels.parquet"))
        labels = labels.join(
            table.select("window_id", "row", "step"), on="window_id", how="left", maintain_order="left"
        )
        folds = tuple(Fold(np.array(f["train"]), np.array(f["held_out"])) for f in read_json(splits.path("folds.json")))
        return cls(store, windows, table, classes, labels, folds)

    @cached_property
    def test(self) -> pl.DataFrame:
        """Rows of `table` that are sealed and whose true label is known: what test figures are computed on."""
        return self.table.filter((pl.col("span") == "test") & pl.col("true_label").is_not_null())

    @cached_property
    def span(self) -> int:
        """Positions on the common calendar that a window spans, the most of any; what purging has to count with."""
        return self.windows.calendar_length(self.store)

    @property
    def every_label_given(self) -> bool:
        """True when the models got every training label there is, so that no draw chose among them."""
        labelled = (pl.col("span") == "train") & pl.col("true_label").is_not_null()
        return self.table.filter(labelled).height == len(self.labels)

    def class_numbers(self, names: pl.Series) -> np.ndarray:
        """int64 [n] class numbers of labels."""
        return np.array([self.classes.index(name) for name in names], dtype=np.int64)

    def gather(self, rows: pl.Series, labels: pl.Series, transform: Transform) -> LabelledWindows:
        """Copy some windows out: bars, transformed inputs and class numbers."""
        import torch

        bars = self.windows.gather(self.store.values, rows.to_numpy())
        inputs = transform.apply(torch.from_numpy(bars), self.store.channels).numpy()
        return LabelledWindows(bars, inputs, self.class_numbers(labels), len(self.classes))

    def summary(self, transform: Transform, inputs: np.ndarray) -> np.ndarray:
        """Simple features of transformed windows, [n, n_features]."""
        spans = summary_spans(self.windows.visible, self.windows.zone)
        return summarise(inputs, transform.summary_channels(self.store.channels), spans)


def open_windows(artifact: Artifact) -> tuple[WindowIndex, pl.DataFrame, tuple[str, ...]]:
    """Window index, windows table and class names from the artifact ``windows``."""
    head = read_json(artifact.path("windows.json"))
    starts = np.load(artifact.path("starts.npy"), mmap_mode="r", allow_pickle=False)
    windows = WindowIndex(starts, head["length"], head["visible"], (head["zone"][0], head["zone"][1]))
    return windows, pl.read_parquet(artifact.path("windows.parquet")), tuple(head["classes"])
