"""What is wrong with bars: counted by reason, with the first places, whatever the chunks were."""

from __future__ import annotations

import datetime
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

Severity = Literal["error", "warning"]

ORIGIN = "__origin"
"""Column of a frame of bars that says where each row stood (`Places`)."""
REASONS = "__reasons"
"""Column of bad rows: everything that is wrong with each."""

SHOWN = 3
"""Places that are named for each fault."""
_SECOND = 1_000_000
_ROW_BITS = 40
"""An origin is the number of the file above these bits and the row in it below: 2^40 rows, 2^23 files."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Attributes:
        reason: short name of it, such as ``high_below_body``, ``late`` or ``unread``.
        severity: an error keeps the row out of the store; a warning is only counted and shown.
        rows: how many rows have it.
        message: the fault in words.
        examples: the first places: file, line, series, time and values.
    """

    reason: str
    severity: Severity
    rows: int
    message: str
    examples: tuple[str, ...] = ()

    def line(self) -> str:
        """One line of an error's list, its examples below it."""
        head = f"- {self.message}: {self.rows:,} row{'s' if self.rows != 1 else ''}"
        return "\n".join([head, *(f"    {example}" for example in self.examples)])


class Places:
    """Numbers the rows of all files, so that one int64 says where a row stood: its origin.

    Origins of one file ascend with its rows; files are numbered in the order in which they first appear.

    Args:
        independent: times count inside each series; they are no moments of a calendar.
    """

    def __init__(self, independent: bool = False) -> None:
        self._files: dict[str, int] = {}
        self._independent = independent

    def first_origin(self, place: str, first_row: int) -> int:
        """Origin of row `first_row` of the file `place`; that of the row after it is one more."""
        number = self._files.setdefault(place, len(self._files))
        return (number << _ROW_BITS) + first_row

    def spoken(self, origin: int) -> str:
        """The file and the row in it: ``prices.csv:17``."""
        return f"{list(self._files)[origin >> _ROW_BITS]}:{origin & ((1 << _ROW_BITS) - 1)}"

    def moment(self, microseconds: int) -> str:
        """The time of a row for people: ``2024-01-05 10:31:00 UTC``.

        In an independent series ``step 17``, or ``754.5 s`` where its time counts seconds rather than steps.
        """
        if not self._independent:
            return spoken_time(microseconds)
        return f"step {microseconds}" if abs(microseconds) < _SECOND else f"{microseconds / _SECOND:.10g} s"

    def columns(self, origins: np.ndarray) -> tuple[pl.Series, pl.Series]:
        """``place`` and ``row`` of many origins."""
        files = np.array(list(self._files), dtype=object)
        place = pl.Series("place", files[origins >> _ROW_BITS].tolist(), dtype=pl.String)
        return place, pl.Series("row", origins & ((1 << _ROW_BITS) - 1), dtype=pl.Int64)


@dataclass
class _Count:
    severity: Severity
    rows: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)


class Tally:
    """Counts faults and keeps the first places of each: those with the smallest origins, however rows were cut."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}

    def add(
        self, reason: str, message: str, severity: Severity, rows: int, examples: Iterable[tuple[int, str]]
    ) -> None:
        """Count `rows` more; `examples` are origin and text of the first of these at least."""
        count = self._counts.setdefault((reason, message), _Count(severity))
        count.rows += rows
        count.first = heapq.nsmallest(SHOWN, [*count.first, *examples])

    def findings(self) -> tuple[Finding, ...]:
        """Errors first, then by reason."""
        found = [
            Finding(reason, count.severity, count.rows, message, tuple(text for _, text in count.first))
            for (reason, message), count in self._counts.items()
            if count.rows
        ]
        return tuple(sorted(found, key=lambda one: (one.severity, one.reason, one.message)))


def describe_rows(places: Places, frame: pl.DataFrame, shown: Mapping[str, str]) -> list[tuple[int, str]]:
    """Origin and text of the first rows of a frame of bars: ``prices.csv:17 series 'a' 2024-01-05 10:31:00 UTC x=1``.

    Args:
        places: where rows stood.
        frame: ``series``, ``timestamp``, the columns shown and `ORIGIN`.
        shown: columns whose values are shown, text in quotes, and what they are called.
    """
    first = frame if len(frame) <= SHOWN else frame.bottom_k(SHOWN, by=ORIGIN)
    told: list[tuple[int, str]] = []
    first = first.with_columns(pl.col("timestamp").to_physical())
    for row in first.select("series", "timestamp", *shown, ORIGIN).iter_rows(named=True):
        series = "no series" if row["series"] is None else f"series '{row['series']}'"
        moment = "no time" if row["timestamp"] is None else places.moment(row["timestamp"])
        values = [f"{name}={_spoken(row[column])}" for column, name in shown.items()]
        told.append((row[ORIGIN], " ".join([places.spoken(row[ORIGIN]), series, moment, *values])))
    return told


def spoken_time(microseconds: int) -> str:
    """A time given since 1970: ``2024-01-05 10:31:00 UTC``, with microseconds where there are some."""
    try:
        return f"{datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=microseconds)} UTC"
    except OverflowError:
        return f"{microseconds} microseconds after 1970"


def _spoken(value: object) -> str:
    if value is None:
        return "(empty)"
    return repr(value) if isinstance(value, str) else f"{value:.10g}"
