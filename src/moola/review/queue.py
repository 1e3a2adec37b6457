"""The windows to review, in the order in which a reviewer should see them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from moola.errors import DataError, StorageError
from moola.labels.queue import QUEUE_FILE, read_queue

ModelFilter = Literal["", "against", "split"]
MODEL_FILTERS: tuple[str, ...] = get_args(ModelFilter)
SPLIT_BELOW = 0.75
"""Share of models and seeds that agree, below which they count as split."""
_SCHEMA: Mapping[str, Any] = {
    "window_id": pl.String,
    "row": pl.Int64,
    "given_label": pl.String,
    "pred_label": pl.String,
    "label_quality": pl.Float64,
    "is_label_issue": pl.Boolean,
    "priority": pl.Int64,
    "reason": pl.String,
    "agreement": pl.Float64,
    "near_duplicate_of": pl.String,
}
_DEFAULTS: Mapping[str, Any] = {"is_label_issue": False, "priority": 0, "reason": ""}


@dataclass(frozen=True)
class QueueRow:
    """One window of the queue.

    Attributes:
        window_id: its name.
        row: its number in the window index.
        given_label: label as it was given; None where it has none yet.
        pred_label: label that the models would give; None where they were not asked.
        label_quality: of the given label, 0 to 1 (`moola.labels.issues`); None where nobody judged it.
        is_label_issue: flagged by confident learning.
        priority: 3 most urgent, 0 where nothing speaks against the label.
        reason: for the priority; may be empty.
        agreement: share of models and seeds that say `pred_label`; None where not known.
        near_duplicate_of: a window that looks the same and has another label; None where there is none.
    """

    window_id: str
    row: int
    given_label: str | None
    pred_label: str | None
    label_quality: float | None
    is_label_issue: bool
    priority: int
    reason: str
    agreement: float | None
    near_duplicate_of: str | None


@dataclass(frozen=True)
class QueueFilter:
    """Which windows of the queue are shown.

    Attributes:
        label: as given; empty for all.
        priority: this one or a more urgent one.
        models: ``against`` the given label, or ``split`` among themselves; empty for all.
        undecided: only those that this annotator has not decided.
    """

    label: str = ""
    priority: int = 0
    models: ModelFilter = ""
    undecided: bool = False

    @property
    def tells_opinions(self) -> bool:
        """Whether to pass it says something of the label or of what models say."""
        return bool(self.label or self.priority or self.models)

    def query(self) -> dict[str, str]:
        """The filter as it stands in a URL; what is not set is left out."""
        told = {
            "label": self.label,
            "priority": str(self.priority) if self.priority else "",
            "models": self.models,
            "undecided": "1" if self.undecided else "",
        }
        return {name: value for name, value in told.items() if value}


class ReviewQueue:
    """Windows in the order of review; every look-up takes the same time in a long queue as in a short one.

    Args:
        table: ``window_id`` and ``row``, and what else of the columns of `QueueRow` there is.

    Raises:
        DataError: a window stands in the queue twice.
    """

    def __init__(self, table: pl.DataFrame) -> None:
        for name, dtype in _SCHEMA.items():
            if name not in table.columns:
                table = table.with_columns(pl.lit(_DEFAULTS.get(name), dtype=dtype).alias(name))
        table = table.select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())
        self.table = table.with_columns(pl.col(name).fill_null(value) for name, value in _DEFAULTS.items())
        self.positions = {name: place for place, name in enumerate(self.table["window_id"])}
        if len(self.positions) < len(self.table):
            twice = self.table.filter(pl.col("window_id").is_duplicated())["window_id"].unique(maintain_order=True)
            raise DataError(
                "a window stands in the review queue more than once",
                ", ".join(twice.head(5)),
                "find the label issues again with --force=label_issues",
            )
        self._matching = functools.lru_cache(maxsize=64)(self._match)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, position: int) -> QueueRow:
        return QueueRow(**self.table.row(position, named=True))

    def matching(self, wanted: QueueFilter) -> np.ndarray:
        """Mask, bool [n_queue]: what `wanted` lets through, whatever was decided."""
        return self._matching(QueueFilter(wanted.label, wanted.priority, wanted.models))

    def _match(self, wanted: QueueFilter) -> np.ndarray:
        conditions = [pl.lit(value=True), pl.col("priority") >= wanted.priority]
        if wanted.label:
            conditions.append(pl.col("given_label") == wanted.label)
        if wanted.models == "against":
            conditions.append(pl.col("given_label") != pl.col("pred_label"))
        if wanted.models == "split":
            conditions.append(pl.col("agreement") < SPLIT_BELOW)
        found = self.table.select(pl.all_horizontal(conditions).fill_null(value=False).alias("found"))["found"]
        return found.to_numpy()


def open_queue(run: Path, rows: pl.DataFrame) -> ReviewQueue:
    """The queue of a run: ``review_queue.csv``, else ``label_issues.csv``, the most doubtful first.

    Args:
        run: the run folder.
        rows: labelled windows, with ``window_id``, ``label`` and ``row``, in case the run looked for no issues.

    Raises:
        DataError: the queue names windows that the run does not have.
        StorageError: its file is damaged.
    """
    path = next((run / name for name in (QUEUE_FILE, "label_issues.csv") if (run / name).exists()), None)
    if path is None:
        return ReviewQueue(rows.select("window_id", "row", given_label="label"))
    with readable(path):
        table = read_queue(path) if path.name == QUEUE_FILE else _by_quality(path)
        table = table.join(rows.select("window_id", "row"), on="window_id", how="left", maintain_order="left")
        queue = ReviewQueue(table)
    unknown = table.filter(pl.col("row").is_null())["window_id"]
    if len(unknown):
        raise DataError(
            f"{path} names {len(unknown)} windows that have no label in this run",
            ", ".join(unknown.head(5)),
            "find the label issues again with --force=label_issues",
        )
    return queue


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """While a published file of a run is read and understood.

    Raises:
        StorageError: it is damaged.
    """
    way_out = f"copy it anew, what is finished is not computed again: moola run --config-path {path.parent}"
    try:
        yield
    except StorageError as error:
        raise StorageError(error.what, error.why, way_out) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(f"{path} is damaged", str(error).partition("\n")[0], way_out) from error


def _by_quality(path: Path) -> pl.DataFrame:
    """Label issues of a run that made no queue of them."""
    texts: dict[str, Any] = dict.fromkeys(("window_id", "given_label", "pred_label"), pl.String)
    issue = pl.col("is_label_issue")
    return (
        pl.read_csv(path, schema_overrides=texts)
        .sort("label_quality", "window_id")
        .with_columns(
            priority=pl.when(issue).then(3).otherwise(0),
            reason=pl.when(issue).then(pl.lit("issue")).otherwise(pl.lit("")),
        )
    )
