"""Where bars come from. A source is a frozen dataclass that knows its fingerprint and streams its rows, good and bad.

A source reads; it does not judge. A cell that cannot be read becomes null and is listed in `Chunk.unread`; what the
values mean (candle order, time going forward, outliers) is judged in one place, `moola.data.quality`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from moola.registry import Registry

UNREAD = {"row": pl.UInt32, "column": pl.String, "value": pl.String, "reason": pl.String}
"""Columns of `Chunk.unread`: position in the chunk's frame, column of the file, what stood there, why it is unread."""


def nothing_unread() -> pl.DataFrame:
    """An empty table of unread cells."""
    return pl.DataFrame(schema=UNREAD)


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one file.

    Attributes:
        frame: ``series`` (String), ``timestamp`` (UTC, microseconds), one Float64 or Float32 column a channel, in the
            order of the file; null where a cell could not be read.
        place: the file, for people.
        first_row: number of the first row in `place` as an editor shows it (the line in a text file; from 1 elsewhere).
        unread: one row a cell that could not be read, see `UNREAD`.
    """

    frame: pl.DataFrame
    place: str
    first_row: int = 1
    unread: pl.DataFrame = field(default_factory=nothing_unread)


@dataclass(frozen=True)
class BarScan:
    """One pass over the rows of a source.

    Attributes:
        channels: names of the value columns, in order.
        chunks: the rows. A series may be spread over chunks and series may alternate; inside a series the file's
            order is kept. The iterator raises DataError where a file breaks off.
        independent: True when series are separate cases, not stretches of one calendar.
        series: one row a series where the source knows more of them than their name: ``series``, ``split`` ("train",
            "test" or null where time decides), ``label`` (of the whole series, or null); None otherwise.
        notes: what the source left out or changed on the way, with counts, one sentence each.
    """

    channels: tuple[str, ...]
    chunks: Iterator[Chunk]
    independent: bool = False
    series: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """What `moola.testing.check_source` checks."""

    def fingerprint(self) -> str:
        """Digest of what would be read, without reading it where that is possible.

        Raises:
            DataError: it is not there.
        """
        ...

    def scan(self) -> BarScan:
        """Open everything and begin to stream.

        Raises:
            DataError: files are missing, cannot be opened or lack columns; every problem of every file in one go.
        """
        ...


SOURCES: Registry[Source] = Registry(
    "source",
    {
        "arch_indices": "moola.data.sources.arch_indices:ArchIndices",
        "fetch": "moola.data.sources.fetch:Fetch",
        "files": "moola.data.sources.files:Files",
        "series_files": "moola.data.sources.series_files:SeriesFiles",
        "synthetic_market": "moola.data.sources.synthetic_market:SyntheticMarket",
        "ucr": "moola.data.sources.ucr:Ucr",
        "window_table": "moola.data.sources.window_table:WindowTable",
    },
)


def series_table(
    names: list[str], split: list[str | None] | None = None, label: list[str | None] | None = None
) -> pl.DataFrame:
    """The series table of `BarScan` with nulls where a source knows nothing."""
    empty = [None] * len(names)
    return pl.DataFrame(
        {"series": names, "split": split or empty, "label": label or empty},
        schema={"series": pl.String, "split": pl.String, "label": pl.String},
    )
