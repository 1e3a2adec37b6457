"""Several annotation batches in one: the master index, what people disagree about, and one file of the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from moola.labels.exchange.batch_json import ZONE, Annotation, latest
from moola.layout import replace_atomically, write_json

MERGED, CONFLICTS, INDEX = "merged.json", "conflicts.csv", "master_index.csv"
POINTERS_APART = 3
"""Bars by which two people may differ in where a span begins or ends and still agree."""
_INDEX = {
    "window_id": pl.String,
    "status": pl.String,
    "label": pl.String,
    "start_bar": pl.Int64,
    "end_bar": pl.Int64,
    "window_quality": pl.String,
    "n_expansions": pl.Int64,
    "annotator_id": pl.String,
    "annotation_version": pl.Int64,
    "timestamp": pl.String,
    "file": pl.String,
}


@dataclass(frozen=True)
class MergedBatches:
    """Annotations of several batches.

    Attributes:
        index: one row an annotation, with ``status``: ``merged``, ``rejected``, ``conflict`` or ``superseded`` (by a
            later one of the same person).
        conflicts: one row a window that people disagree about: ``window_id``, ``over`` (``label``, ``span`` or
            ``rejected``) and ``said``, what each of them said.
        merged: of each window without a conflict the annotation that stands: of several people's that of the best
            grade, then the latest.
    """

    index: pl.DataFrame
    conflicts: pl.DataFrame
    merged: tuple[Annotation, ...]

    def write(self, folder: Path) -> None:
        """``merged.json`` (a batch again), ``conflicts.csv`` and ``master_index.csv``."""
        folder.mkdir(parents=True, exist_ok=True)
        zones = [one.zone for one in self.merged] or [ZONE]
        zone = [min(first for first, _ in zones), max(past for _, past in zones)]
        write_json(folder / MERGED, {"zone": zone, "annotations": [_to_json(one) for one in self.merged]})
        for name, table in ((CONFLICTS, self.conflicts), (INDEX, self.index)):
            with replace_atomically(folder / name) as handle:
                table.write_csv(handle)


def merge(annotations: Sequence[Annotation]) -> MergedBatches:
    """Put annotations of one or more batches together; nothing that people disagree about is decided here."""
    by_window: defaultdict[str, list[Annotation]] = defaultdict(list)
    for one in latest(annotations):
        by_window[one.window_id].append(one)
    conflicts = {name: over for name, some in by_window.items() if (over := _disagreement(some))}
    standing = {
        name: min(reversed(some), key=lambda one: one.quality)
        for name, some in ((name, sorted(some, key=lambda one: one.at)) for name, some in by_window.items())
        if name not in conflicts
    }
    counting = {id(one) for some in by_window.values() for one in some}
    rows = [_row(one, _status(one, id(one) in counting, one.window_id in conflicts)) for one in annotations]
    told = [
        {"window_id": name, "over": over, "said": "; ".join(_spoken(one) for one in by_window[name])}
        for name, over in conflicts.items()
    ]
    return MergedBatches(
        pl.DataFrame(rows, schema=_INDEX).sort("window_id", "timestamp", maintain_order=True),
        pl.DataFrame(told, schema={"window_id": pl.String, "over": pl.String, "said": pl.String}).sort("window_id"),
        tuple(standing[name] for name in sorted(standing)),
    )


def _disagreement(some: Sequence[Annotation]) -> str:
    """What people disagree about in one window; empty where they agree."""
    if len({one.rejected for one in some}) > 1:
        return "rejected"
    marked = [one.spans[0] for one in some if one.spans]
    if len({one.label for one in some}) > 1:
        return "label"
    ends = ([span.start for span in marked], [span.end for span in marked])
    return "span" if any(max(bars) - min(bars) > POINTERS_APART for bars in ends if bars) else ""


def _status(one: Annotation, counts: bool, in_conflict: bool) -> str:
    if not counts:
        return "superseded"
    if in_conflict:
        return "conflict"
    return "rejected" if one.rejected else "merged"


def _spoken(one: Annotation) -> str:
    span = f" {one.spans[0].start} to {one.spans[0].end}" if one.spans else ""
    said = "rejected" if one.rejected else f"{one.label or 'nothing'}{span}"
    return f"{one.annotator}: {said} (grade {one.quality})"


def _row(one: Annotation, status: str) -> dict[str, Any]:
    first = one.spans[0] if one.spans else None
    return {
        "window_id": one.window_id,
        "status": status,
        "label": one.label,
        "start_bar": first.start if first else None,
        "end_bar": first.end if first else None,
        "window_quality": one.quality,
        "n_expansions": len(one.spans),
        "annotator_id": one.annotator,
        "annotation_version": one.version,
        "timestamp": one.at,
        "file": one.file.name,
    }


def _to_json(one: Annotation) -> dict[str, Any]:
    spans = [
        {"type": span.kind, "start_bar": span.start, "end_bar": span.end, "quality": span.quality} for span in one.spans
    ]
    return {
        "window_id": one.window_id,
        "annotation_version": one.version,
        "window_quality": one.quality,
        "expansions": spans,
        "notes": one.notes,
        "timestamp": one.at,
        "annotator_id": one.annotator,
    }
