"""Where bars come from. A source is a frozen dataclass that knows its own fingerprint and loads checked bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from moola.registry import Registry


@dataclass(frozen=True)
class Bars:
    """Bars of one or more series, series after series, time ascending inside each.

    Attributes:
        frame: one row a bar, as `moola.schemas.bars` says: series, timestamp (UTC), one column a channel.
        series: one row a series: ``series``, ``split`` ("train", "test" or null where time decides), ``label``
            (a label that belongs to the whole series, or null).
        independent: True when series are separate cases, not stretches of one calendar.
    """

    frame: pl.DataFrame
    series: pl.DataFrame
    independent: bool

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names, in column order."""
        return tuple(self.frame.columns[2:])


class Source(Protocol):
    """What `moola.testing.check_source` checks."""

    def fingerprint(self) -> str:
        """Digest of what would be loaded, without loading it where that is possible.

        Raises:
            DataError: it is not there.
        """
        ...

    def load(self) -> Bars:
        """Read and check everything.

        Raises:
            DataError: it is missing or broken; every problem in one go.
        """
        ...


SOURCES: Registry[Source] = Registry(
    "source",
    {
        "arch_indices": "moola.data.sources.arch_indices:ArchIndices",
        "csv_files": "moola.data.sources.csv_files:CsvFiles",
        "ucr": "moola.data.sources.ucr:Ucr",
    },
)


def series_table(names: list[str], split: list[str] | None = None, label: list[str] | None = None) -> pl.DataFrame:
    """The series table of `Bars` with nulls where a source knows nothing."""
    empty = [None] * len(names)
    return pl.DataFrame(
        {"series": names, "split": split or empty, "label": label or empty},
        schema={"series": pl.String, "split": pl.String, "label": pl.String},
    )
