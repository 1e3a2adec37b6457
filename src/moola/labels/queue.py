"""All labelled windows in the order in which a reviewer should see them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from moola.errors import StorageError
from moola.labels.priority import Doubts

QUEUE_FILE = "review_queue.csv"
_COLUMNS = (
    "window_id",
    "rank",
    "priority",
    "reason",
    "given_label",
    "pred_label",
    "label_quality",
    "is_label_issue",
    "agreement",
    "near_duplicate_of",
)
_WAY_OUT = "make it again: repeat the command of the run"
_KINDS: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("window_id", "reason", "given_label", "pred_label", "near_duplicate_of"), pl.String),
    **dict.fromkeys(("label_quality", "agreement"), pl.Float64),
}


def review_queue(issues: pl.DataFrame, doubts: Doubts) -> pl.DataFrame:
    """The table of `moola.schemas.review_queue`: priority 3, then 2, then all others; each by the lowest quality.

    Outliers are not moved up: where noise was planted their labels were no more often wrong than others.

    Args:
        issues: of `moola.labels.issues.find_label_issues`.
        doubts: in the order of `issues`.
    """
    queue = issues.select("window_id", "given_label", "pred_label", "label_quality", "is_label_issue").with_columns(
        priority=pl.Series(doubts.priorities(), dtype=pl.Int64),
        reason=pl.Series(doubts.reasons(), dtype=pl.String),
        agreement=pl.Series(doubts.agreement, dtype=pl.Float64),
        near_duplicate_of=pl.Series(doubts.duplicate_of, dtype=pl.String),
    )
    urgency = pl.max_horizontal("priority", 1)
    queue = queue.sort(urgency, "label_quality", "window_id", descending=[True, False, False])
    return queue.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)).select(_COLUMNS)


def read_queue(path: Path) -> pl.DataFrame:
    """What was written as ``review_queue.csv``; classes such as 1 and 2 stay text, no reason is an empty one.

    Raises:
        StorageError: it cannot be read, or is no such table any more.
    """
    try:
        queue = pl.read_csv(path, schema_overrides=_KINDS)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"{path} is no review queue", str(error).splitlines()[0], _WAY_OUT) from error
    missing = [name for name in _COLUMNS if name not in queue.columns]
    if missing:
        raise StorageError(f"{path} is no review queue", f"it has no {', '.join(missing)}", _WAY_OUT)
    return queue.with_columns(pl.col("reason").fill_null(""))
