"""Bars, windows, spans and labels as the stages left them, opened together."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from moola.data.splits import Fold
from moola.data.window_index import WindowIndex
from moola.features import Fittable, Transform
from moola.features.candles import OHLC
from moola.features.summary import summarise, summary_spans
from moola.labels import POINTER_COLUMNS
from moola.layout import read_json
from moola.models import LabelledWindows
from moola.pipelines.artifacts import Artifact
from moola.pipelines.window_set import WindowSet, open_index, open_parts

REJECTED = "rejected.json"
"""Numbers of the windows that people rejected, where labels are corrected; a file of the artifact ``splits``."""


@dataclass(frozen=True)
class Dataset(WindowSet):
    """Everything the data stages say of the windows.

    Attributes:
        table: windows table, with ``span``, the true label and pointers where there are any, [n_windows] rows in the
            order of `windows`.
        classes: class names in the order of every probability column.
        labels: labels table of the training windows that got one, with ``row`` (window number).
        folds: purged folds over the rows of `labels`.
        rejected: numbers of the windows of which people want nothing to be learned, int64 [n].
    """

    table: pl.DataFrame
    classes: tuple[str, ...]
    labels: pl.DataFrame
    folds: tuple[Fold, ...]
    rejected: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @classmethod
    def open(cls, inputs: Mapping[str, Artifact]) -> Dataset:
        """From the artifacts ``bars``, ``windows`` and ``splits``.

        Raises:
            StorageError: the split was made for other bars or other windows.
        """
        store, windows, parts = open_parts(inputs)
        _, table, classes = open_windows(inputs["windows"])
        splits = inputs["splits"]
        table = table.with_row_index("row").with_columns(parts)
        labels = pl.read_parquet(splits.path("labels.parquet"))
        if POINTER_COLUMNS[0] in labels.columns:
            table, labels = _marked_anew(table, labels), labels.drop(POINTER_COLUMNS)
        labelled = table.filter(pl.col("window_id").is_in(labels["window_id"].implode()))
        labels = labels.join(
            labelled.select("window_id", "row", "step"), on="window_id", how="left", maintain_order="left"
        )
        folds = tuple(Fold(np.array(f["train"]), np.array(f["held_out"])) for f in read_json(splits.path("folds.json")))
        told = read_json(splits.path(REJECTED)) if REJECTED in splits.manifest["files"] else []
        return cls(store, windows, parts, table, classes, labels, folds, np.array(told, dtype=np.int64))

    @cached_property
    def test(self) -> pl.DataFrame:
        """Rows of `table` that are sealed and whose true label is known: what test figures are computed on."""
        return self.table.filter((pl.col("span") == "test") & pl.col("true_label").is_not_null())

    @property
    def every_label_given(self) -> bool:
        """True when the models got every training label that nobody rejected, so that no draw chose among them."""
        labelled = (pl.col("span") == "train") & pl.col("true_label").is_not_null()
        rows = self.table.filter(labelled)["row"].to_numpy()
        return not len(np.setdiff1d(rows, np.union1d(self.labels["row"].to_numpy(), self.rejected)))

    def class_numbers(self, names: pl.Series) -> np.ndarray:
        """int64 [n] class numbers of labels."""
        return np.array([self.classes.index(name) for name in names], dtype=np.int64)

    def gather(self, rows: pl.Series, labels: pl.Series, transform: Transform) -> LabelledWindows:
        """Copy some windows out: bars, transformed inputs, class numbers, and pointers where there are any.

        Inputs are computed from the bars and from nothing else. Where the transform is still to be fitted there are
        none, [n, visible, 0], until `with_inputs` gets the fitted one.
        """
        bars = self.windows.gather(self.store.values, rows.to_numpy())
        numbers, pointers = self.class_numbers(labels), self._pointers(rows)
        windows = LabelledWindows(bars, bars[..., :0], numbers, len(self.classes), pointers)
        return windows if isinstance(transform, Fittable) else self.with_inputs(windows, transform)

    def with_inputs(self, windows: LabelledWindows, transform: Transform) -> LabelledWindows:
        """The same windows, their inputs computed anew from their bars."""
        import torch

        apply = functools.partial(transform.apply, channels=self.store.channels)
        return dataclasses.replace(windows, inputs=apply(torch.from_numpy(windows.bars)).numpy(), transform=apply)

    def _pointers(self, rows: pl.Series) -> np.ndarray | None:
        """First and last marked bar of some windows, int64 [n, 2]; None where no window has any."""
        if POINTER_COLUMNS[0] not in self.table.columns:
            return None
        return self.table[rows.to_list()].select(pl.col(POINTER_COLUMNS).fill_null(-1)).to_numpy()

    def summary(self, transform: Transform, inputs: np.ndarray) -> np.ndarray:
        """Simple features of transformed windows, [n, n_features]; with their moments where bars are no candles."""
        spans = summary_spans(self.windows.visible, self.windows.zone)
        channels = self.store.channels
        return summarise(inputs, transform.summary_channels(channels), spans, moments=not set(OHLC) <= set(channels))


def _marked_anew(table: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """The windows table with the pointers that a review corrected in place of the old ones."""
    absent = [name for name in POINTER_COLUMNS if name not in table.columns]
    table = table.with_columns(pl.lit(None, pl.Int64).alias(name) for name in absent)
    return table.update(labels.select("window_id", *POINTER_COLUMNS), on="window_id", how="left")


def open_windows(artifact: Artifact) -> tuple[WindowIndex, pl.DataFrame, tuple[str, ...]]:
    """Window index, windows table and class names from the artifact ``windows``."""
    classes = read_json(artifact.path("labels.json"))["classes"]
    return open_index(artifact), pl.read_parquet(artifact.path("windows.parquet")), tuple(classes)
