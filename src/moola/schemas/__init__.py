"""One pandera definition for each table that moola reads or writes.

Each function returns a strict schema; `check` collects every offence before it raises. pandera looks at a LazyFrame's
names but not at its values, so only collected frames are accepted.
"""

from moola.schemas.annotations import annotations
from moola.schemas.bars import OHLC, TIMESTAMP, bars
from moola.schemas.batches import annotation_batch
from moola.schemas.checking import check
from moola.schemas.labels import label_issues, labels, model_opinions, review_queue
from moola.schemas.predictions import nested, oof, predictions
from moola.schemas.splits import splits
from moola.schemas.windows import windows

__all__ = [
    "OHLC",
    "TIMESTAMP",
    "annotation_batch",
    "annotations",
    "bars",
    "check",
    "label_issues",
    "labels",
    "model_opinions",
    "nested",
    "oof",
    "predictions",
    "review_queue",
    "splits",
    "windows",
]
