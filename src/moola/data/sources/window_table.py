"""Windows that somebody cut and labelled before: one row a window in Parquet or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moola.config import reject
from moola.data.annotation_rows import JUDGED, RowRules
from moola.data.sources import BarScan, Chunk, series_table
from moola.data.sources.channel_names import refuse_annotation_channels
from moola.data.sources.problems import Problems, refuse
from moola.data.sources.window_rows import Layout, WindowShape, read_rows
from moola.errors import DataError, did_you_mean
from moola.layout import digest_file
from moola.schemas import OHLC, TIMESTAMP
from moola.schemas.annotations import ANNOTATION_COLUMNS

_CHUNK_WINDOWS = 1024
_SPLITS = (None, "train", "test")


@dataclass(frozen=True)
class WindowTable:
    """Labelled windows, each an independent case named by its ``window_id``; time is the bar's number in the window.

    Two layouts are read. Nested: one list column of `length` lists, each with one value a channel. Flat: one list
    column of `length` x n_channels values, bar after bar, or as many columns ``open_0, high_0, low_0, close_0, open_1,
    ...``. What a person marked in a window (`moola.schemas.annotations.ANNOTATION_COLUMNS`) is checked and never
    becomes a channel; `left_out` names every column that is not read as bars. A column ``split`` (``train``,
    ``test`` or null) is taken over.

    Attributes:
        path: ``.parquet``, or ``.jsonl``, ``.ndjson``, ``.json`` with one object a line (gzip allowed).
        layout: ``nested``, ``flat``, or ``auto`` for whichever a row has.
        features: name of the list column; null: one column a value.
        channels: what the values of a bar are, in the order of the file.
        length: bars a window.
        zone: first and past-the-end bar that pointers may name, [30, 75] allows 30 to 74.
        label: name of the label column; null: windows without labels.
        classes: labels there may be; null: any.
    """

    path: str
    layout: Layout = "auto"
    features: str | None = "features"
    channels: tuple[str, ...] = OHLC
    length: int = 105
    zone: tuple[int, int] = (30, 75)
    label: str | None = "label"
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        reserved = [name for name in self.channels if name in ("series", self.label)]
        reject(
            (not self.channels, "channels: needs at least one"),
            (len(set(self.channels)) < len(self.channels), f"channels: {list(self.channels)} holds one twice"),
            *((True, problem) for problem in refuse_annotation_channels(self.channels)),
            (bool(reserved), f"channels: {reserved} name or label a window, and no model may see it"),
            (self.length < 2, f"length: {self.length} must be at least 2"),
            (
                not 0 <= self.zone[0] < self.zone[1] <= self.length,
                f"zone: {list(self.zone)} must be [first, past-the-end] inside the window",
            ),
            (self.features in ANNOTATION_COLUMNS, f"features: '{self.features}' says something about a window"),
            (
                self.layout == "nested" and self.features is None,
                "features: layout=nested needs the name of the list column",
            ),
        )

    def fingerprint(self) -> str:
        """Digest of the file."""
        return digest_file(self._file())

    def scan(self) -> BarScan:
        """Read and check every window, then stream them.

        Raises:
            DataError: everything wrong with bars, labels and pointers, with row and window.
        """
        file = self._file()
        problems = Problems(file.name)
        windows: list[np.ndarray] = []
        rows: list[dict[str, str | None]] = []
        columns: set[str] = set()
        for place, record in read_rows(file, problems):
            columns |= record.keys()
            rows.append(self._row(record, place, problems))
            values = self._shape.read(record, f"{place} ({rows[-1]['window_id']})", problems)
            if values is not None:
                windows.append(values)
        if rows:
            self._judge(rows, columns, problems)
        elif not problems:
            problems.say("it holds no windows", "replace the file")
        refuse(f"the windows in {self.path} cannot be used", problems)
        names = [str(row["window_id"]) for row in rows]
        series = series_table(names, [row["split"] for row in rows], [row["label"] for row in rows])
        others = sorted(name for name in columns if name != self.features and not self._shape.is_wide_column(name))
        notes = (f"columns that are not bars: {', '.join(others)}",) if others else ()
        return BarScan(self.channels, self._chunks(names, windows), independent=True, series=series, notes=notes)

    @property
    def _shape(self) -> WindowShape:
        return WindowShape(self.length, self.channels, self.features, self.layout)

    def _file(self) -> Path:
        path = Path(self.path)
        if path.is_file():
            return path
        near = did_you_mean(path.name, [item.name for item in path.parent.iterdir()]) if path.parent.is_dir() else ""
        why = near if near.startswith("did") else ""
        raise DataError(f"there is no file {path}", why, "give an existing file with data.path=FILE")

    def _row(self, record: dict[str, Any], place: str, problems: Problems) -> dict[str, str | None]:
        """What the row says of its window, as text."""
        names = {name: name for name in JUDGED if name in record} | {"window_id": "window_id", "split": "split"}
        names["label"] = self.label or ""
        row: dict[str, str | None] = {"place": place}
        for key, column in names.items():
            value = record.get(column)
            counted = isinstance(value, float) and value == value and key in ("window_id", "label")
            if counted or isinstance(value, bool | list | dict | bytes):
                problems.count(f"cells in {column} that are no text", f"{place}: {value!r:.40}", "write plain text")
            row[key] = None if value is None or value != value else str(value).strip() or None
        if row["split"] not in _SPLITS:
            kind = "splits that are neither train nor test"
            problems.count(kind, f"{place} ({row['window_id']}): '{row['split']}'", "write train, test or nothing")
        return row

    def _judge(self, rows: list[dict[str, str | None]], columns: set[str], problems: Problems) -> None:
        for key, column in (("window_id", "window_id"), ("label", self.label)):
            if column is not None and column not in columns:
                way_out = "rename the column" if key == "window_id" else "give data.label=COLUMN, or data.label=null"
                problems.say(f"there is no column '{column}'; {did_you_mean(column, columns)}", way_out)
        named = dict.fromkeys(name for row in rows for name in row)
        table = pl.DataFrame(rows, schema=dict.fromkeys(named, pl.String))
        RowRules(self.zone, self.classes, labelled=self.label is not None).judge(table, problems)

    def _chunks(self, names: list[str], windows: list[np.ndarray]) -> Iterator[Chunk]:
        """Whole windows; bars are numbered through all windows of the file."""
        bars = np.arange(self.length)
        for first in range(0, len(names), _CHUNK_WINDOWS):
            some = names[first : first + _CHUNK_WINDOWS]
            values = np.concatenate(windows[first : first + _CHUNK_WINDOWS]).T
            frame = pl.DataFrame(
                {
                    "series": pl.Series(some).gather(np.repeat(np.arange(len(some)), self.length)),
                    "timestamp": pl.Series(np.tile(bars, len(some))).cast(TIMESTAMP),
                    **dict(zip(self.channels, values, strict=True)),
                }
            )
            yield Chunk(frame, f"{self.path}, bar", first_row=first * self.length + 1)
