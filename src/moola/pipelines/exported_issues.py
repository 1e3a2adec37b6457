"""What a run says of labels, as the files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from moola.labels.exchange import cleanlab_csv, label_studio
from moola.labels.queue import QUEUE_FILE, read_queue
from moola.pipelines.dataset import Dataset
from moola.pipelines.run_artifacts import open_artifacts

Layout = Literal["cleanlab", "label_studio"]


def export_issues(run: Path, path: Path, layout: Layout, first: int | None = None) -> int:
    """Write the head of the review queue in the order of review, and return how many windows it is.

    Args:
        run: run folder with ``label_issues.csv`` and ``review_queue.csv``.
        path: the file, replaced if it is there.
        layout: ``cleanlab``: CSV; ``label_studio``: JSON tasks with their bars, and the labeling interface beside them.
        first: windows to write; None: all.

    Raises:
        StorageError: artifacts of the run are not where it left them.
    """
    issues = cleanlab_csv.read_table(run / "label_issues.csv")
    queue = read_queue(run / QUEUE_FILE)
    table = queue.head(len(queue) if first is None else first).join(
        issues.select("window_id", *(name for name in issues.columns if name not in queue.columns)),
        on="window_id",
        how="left",
        maintain_order="left",
    )
    if layout == "cleanlab":
        cleanlab_csv.write(path, table)
    else:
        data = Dataset.open(open_artifacts(run))
        label_studio.write(path, _with_bars(table, data), data.store.channels, data.classes)
    return len(table)


def _with_bars(table: pl.DataFrame, data: Dataset) -> pl.DataFrame:
    """The same with every bar of each window, also those that no model sees: a list a channel."""
    rows = table.join(data.labels, on="window_id", how="left", maintain_order="left")["row"].to_numpy()
    bars = data.windows.gather(data.store.values, rows, data.windows.length)
    return table.with_columns(
        pl.Series(name, bars[..., number].tolist(), dtype=pl.List(pl.Float64))
        for number, name in enumerate(data.store.channels)
    )
