"""Bars, windows, spans and labels as the stages left them, opened together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from moola.data.bar_store import BarStore
from moola.data.splits import Fold
from moola.data.splits.proof import check_fresh, windows_digest
from moola.data.window_index import WindowIndex, WindowSpans
from moola.features import Fittable, Transform
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
        """From the artifacts ``bars``, ``windows`` and ``splits``.

        Raises:
            StorageError: the split was made for other bars or other windows.
        """
        store = BarStore.open(inputs["bars"].folder)
        windows, table, classes = open_windows(inputs["windows"])
        splits = inputs["splits"]
        check_fresh(read_json(splits.path("proof.json")), store.digest, windows_digest(windows))
        spans = pl.read_parquet(splits.path("splits.parquet"))
        table = table.with_row_index("row").hstack(spans.drop("window_id"))
        labels = pl.read_parquet(splits.path("labels.parquet"))
        labelled = table.filter(pl.col("window_id").is_in(labels["window_id"].implode()))
        labels = labels.join(
            labelled.select("window_id", "row", "step"), on="window_id", how="left", maintain_order="left"
        )
        folds = tuple(Fold(np.array(f["train"]), np.array(f["held_out"])) for f in read_json(splits.path("folds.json")))
        return cls(store, windows, table, classes, labels, folds)

    @cached_property
    def test(self) -> pl.DataFrame:
        """Rows of `table` that are sealed and whose true label is known: what test figures are computed on."""
        return self.table.filter((pl.col("span") == "test") & pl.col("true_label").is_not_null())

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

    @property
    def every_label_given(self) -> bool:
        """True when the models got every training label there is, so that no draw chose among them."""
        labelled = (pl.col("span") == "train") & pl.col("true_label").is_not_null()
        return self.table.filter(labelled).height == len(self.labels)

    def class_numbers(self, names: pl.Series) -> np.ndarray:
        """int64 [n] class numbers of labels."""
        return np.array([self.classes.index(name) for name in names], dtype=np.int64)

    def gather(self, rows: pl.Series, labels: pl.Series, transform: Transform) -> LabelledWindows:
        """Copy some windows out: bars, transformed inputs and class numbers.

        Inputs are computed from the bars and from nothing else. Where the transform is still to be fitted there are
        none, [n, visible, 0], until `with_inputs` gets the fitted one.
        """
        bars = self.windows.gather(self.store.values, rows.to_numpy())
        windows = LabelledWindows(bars, bars[..., :0], self.class_numbers(labels), len(self.classes))
        return windows if isinstance(transform, Fittable) else self.with_inputs(windows, transform)

    def with_inputs(self, windows: LabelledWindows, transform: Transform) -> LabelledWindows:
        """The same windows, their inputs computed anew from their bars."""
        import torch

        inputs = transform.apply(torch.from_numpy(windows.bars), self.store.channels).numpy()
        return dataclasses.replace(windows, inputs=inputs)

    def summary(self, transform: Transform, inputs: np.ndarray) -> np.ndarray:
        """Simple features of transformed windows, [n, n_features]."""
        spans = summary_spans(self.windows.visible, self.windows.zone)
        return summarise(inputs, transform.summary_channels(self.store.channels), spans)


def open_windows(artifact: Artifact) -> tuple[WindowIndex, pl.DataFrame, tuple[str, ...]]:
    """Window index, windows table and class names from the artifact ``windows``."""
    head = read_json(artifact.path("windows.json"))
    starts, stretches = (
        np.load(artifact.path(name), mmap_mode="r", allow_pickle=False) for name in ("starts.npy", "stretches.npy")
    )
    zone = (head["zone"][0], head["zone"][1])
    windows = WindowIndex(starts, head["length"], head["visible"], zone, stretches, head["horizon_bars"])
    return windows, pl.read_parquet(artifact.path("windows.parquet")), tuple(head["classes"])
