"""Labels of a run as people corrected them, written as the next version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from moola.errors import DataError
from moola.labels import POINTER_COLUMNS
from moola.labels.blacklist import BLACKLIST_PLACE, listed_windows, write_blacklist
from moola.labels.corrections import CorrectionCounts, Corrector
from moola.labels.events import LabelEvent, LabelLog
from moola.labels.folding import WindowState, fold
from moola.labels.versions import ROOM, LabelVersion, blacklistings, table_of_states, version_names, write_version
from moola.layout import Layout
from moola.pipelines.dataset import Dataset
from moola.pipelines.run_artifacts import open_artifacts


@dataclass(frozen=True)
class LabelExport:
    """What `export_labels` wrote.

    Attributes:
        version: the new version.
        counts: what the corrections did; None without a run.
        torn: what a crash left unfinished at the end of the log.
        unlisted: windows in the blacklist of the data folder that the log knows nothing of; where there are some, that
            file is left as it is.
        classes: labels that were allowed; none without a run.
        unknown: label that is none of them -> windows of the run that somebody gave it, without effect.
    """

    version: LabelVersion
    counts: CorrectionCounts | None
    torn: str
    unlisted: tuple[str, ...]
    classes: tuple[str, ...]
    unknown: dict[str, list[str]]


def export_labels(layout: Layout, log: Path, run: Path | None, new_classes: Sequence[str] = ()) -> LabelExport:
    """Write the next version, and the blacklist in the data folder.

    With a run there are the labels of its training windows with the corrections in them, and those of all other
    labelled windows as they are, so that the file is a whole set of labels (``task=label_file task.path=...``).
    Without one there are the windows that people decided about and no others.

    Args:
        layout: where versions and the blacklist go.
        log: of decisions; it need not be there where a run is given.
        run: folder of the run whose labels were reviewed.
        new_classes: labels there may be besides those of the run; where it has none there may be any.

    Raises:
        DataError: no window has a label.
        StorageError: the log or the run cannot be read.
    """
    content = LabelLog(log).read()
    states, room = fold(content.events), layout.data / ROOM
    labels, counts, windows, classes = _decided(states), None, None, tuple[str, ...]()
    unknown: dict[str, list[str]] = {}
    if run is not None:
        data = Dataset.open(open_artifacts(run))
        said = sorted({one.label for one in states.values() if one.label is not None})
        classes = (*dict.fromkeys((*data.classes, *(new_classes if data.classes else said))),)
        unknown = _of_no_class(data, states, classes)
        labels, counts = _corrected(data, states, classes)
        windows = _spans(data, states)
    if labels.is_empty():
        why = f"{len(content.events)} events in {log}" if log.exists() else f"there is no log {log}"
        raise DataError(
            "no window has a label to export", why, "name the run that was reviewed: moola labels export RUN"
        )
    made_from: dict[str, Any] = {
        "run_id": run.name if run else None,
        "source": str(log),
        "previous": (version_names(room) or [None])[-1],
        "corrections": counts.to_json() if counts else None,
    }
    version = write_version(room, table_of_states(states, labels), content.events, made_from, windows)
    unlisted = _list_rejected(layout.data / BLACKLIST_PLACE, content.events, windows)
    return LabelExport(version, counts, content.torn, unlisted, classes, unknown)


def _of_no_class(data: Dataset, states: Mapping[str, WindowState], classes: Sequence[str]) -> dict[str, list[str]]:
    """Label -> windows of the run that should have it and cannot."""
    named = {name: one.label for name, one in states.items() if one.label is not None and one.label not in classes}
    there = data.table.filter(pl.col("window_id").is_in(list(named)))["window_id"]
    found: dict[str, list[str]] = {}
    for name in there:
        found.setdefault(named[name], []).append(name)
    return found


def _decided(states: dict[str, WindowState]) -> pl.DataFrame:
    """Windows that have a label by decision."""
    rows = [(name, one.label, one.start, one.end) for name, one in states.items() if one.label is not None]
    kinds = {"window_id": pl.String, "label": pl.String, **dict.fromkeys(POINTER_COLUMNS, pl.Int64)}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def _corrected(
    data: Dataset, states: dict[str, WindowState], classes: tuple[str, ...]
) -> tuple[pl.DataFrame, CorrectionCounts]:
    """Every labelled window of a run, its training windows corrected."""
    corrector = Corrector(data.store, data.windows, data.spans, classes)
    given = data.labels.select("window_id", "label", "true_label", "planted")
    corrected, counts = corrector.apply(given, data.table, states)
    marks = [name for name in POINTER_COLUMNS if name in data.table.columns]
    absent = [pl.lit(None, pl.Int64).alias(name) for name in POINTER_COLUMNS if name not in marks]
    table = data.table.select("window_id", "row", "span", "true_label", *marks).with_columns(absent)
    if POINTER_COLUMNS[0] in corrected.columns:
        table = table.update(corrected.select("window_id", *POINTER_COLUMNS), on="window_id", how="left")
    others = table.filter((pl.col("span") != "train") & pl.col("true_label").is_not_null())
    labels = pl.concat(
        [
            corrected.select("window_id", "label"),
            others.select("window_id", label="true_label"),
        ]
    )
    before = pl.concat(
        [given.select("window_id", given_label="label"), others.select("window_id", given_label="true_label")]
    )
    joined = labels.join(before, on="window_id", how="left").join(table.drop("true_label"), on="window_id")
    return joined.sort("row").drop("row"), counts


def _spans(data: Dataset, states: dict[str, WindowState]) -> pl.DataFrame:
    """Where rejected windows lie, as the blacklist tells it."""
    rejected = [name for name, one in states.items() if one.decision == "blacklist"]
    found = data.table.filter(pl.col("window_id").is_in(rejected))
    first = found["start"].to_numpy() - data.store.offsets[data.spans.series[found["row"].to_numpy()]]
    times = (
        []
        if data.store.independent
        else [pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") for name in ("first_time", "last_time")]
    )
    return found.select(
        "window_id",
        "series",
        pl.Series("raw_start_idx", first, dtype=pl.Int64),
        pl.Series("raw_end_idx", first + data.windows.reach - 1, dtype=pl.Int64),
        *times,
    )


def _list_rejected(path: Path, events: tuple[LabelEvent, ...], windows: pl.DataFrame | None) -> tuple[str, ...]:
    """Bring the list in the data folder up to date, unless somebody wrote windows there that the log does not know."""
    known = {event.window_id for event in events if event.decision == "blacklist"}
    unlisted = tuple(name for name in listed_windows(path) if name not in known)
    if not unlisted and (known or path.exists()):
        write_blacklist(path, blacklistings(events), windows)
    return unlisted
