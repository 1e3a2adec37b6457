"""Parquet files of any size as columns of the types they have, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from moola.data.sources.file_checks import PROBED_ROWS
from moola.data.sources.file_columns import FileColumns, RawRows
from moola.data.sources.file_times import EPOCH_UNITS
from moola.data.sources.problems import Problems
from moola.errors import DataError

MAGIC = b"PAR1"
_BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
_BATCH_ROWS = 1 << 18


@dataclass(frozen=True)
class ParquetTable:
    """One Parquet file, its footer read.

    Attributes:
        path: the file.
        schema: columns and their types.
    """

    path: Path
    schema: pl.Schema

    @classmethod
    def open(cls, path: Path) -> ParquetTable:
        """Read the footer.

        Raises:
            DataError: the file cannot be opened, is cut off or damaged, or has no rows.
        """
        try:
            with path.open("rb") as handle:
                if handle.read(4) != MAGIC:
                    raise DataError(f"{path} is no Parquet file", "", "give the file the name of what it is, e.g. .csv")
            table = cls(path, pl.Schema(pl.read_parquet_schema(path)))
            n_rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        except _BROKEN as error:
            raise _unreadable(path, "is cut off or damaged", error) from error
        if not n_rows:
            raise DataError(f"{path} has no rows", "", "replace the file")
        return table

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.schema)

    def check_types(self, columns: FileColumns, problems: Problems) -> None:
        """Whether wanted columns that are there have types that can hold what is wanted of them."""
        for column in dict.fromkeys(columns.channels.values()):
            kind = self.schema.get(column)
            if kind is not None and not kind.is_numeric():
                says = f"{self.path}: column '{column}' is of type {kind}, not a number"
                problems.say(says, "write it as a number column, or leave it out with data.channels=[...]")
        kind = self.schema.get(columns.timestamp)
        if kind is None:
            return
        says = f"{self.path}: column '{columns.timestamp}' is of type {kind}"
        if isinstance(kind, pl.Date | pl.Datetime) and columns.times.time_format is not None:
            problems.say(f"{says} and needs no format", "leave out data.time_format")
        elif columns.time is not None and isinstance(kind, pl.Datetime) and kind.time_zone is not None:
            problems.say(f"{says} and holds the time of day", "leave out data.time")
        elif columns.time is None and kind.is_numeric() and columns.times.time_format not in (None, *EPOCH_UNITS):
            problems.say(f"{says}, not text", "name its unit, e.g. data.time_format=epoch_s")
        elif not (isinstance(kind, pl.Date | pl.Datetime | pl.String) or kind.is_numeric()):
            problems.say(f"{says}, not a day with a time", "name the column of the times with data.timestamp=")
        clock = self.schema.get(columns.time) if columns.time is not None else None
        if not isinstance(clock, pl.String | pl.Time | None):
            says = f"{self.path}: column '{columns.time}' is of type {clock}, not a time of day or text"
            problems.say(says, "name the column of the time of day with data.time=")
        name = self.schema.get(columns.symbol) if columns.symbol is not None else None
        if name is not None and not (isinstance(name, pl.String | pl.Categorical | pl.Enum) or name.is_integer()):
            says = f"{self.path}: column '{columns.symbol}' is of type {name}, not a name"
            problems.say(says, "name another column with data.symbol=")

    def first_rows(self, wanted: list[str]) -> pl.DataFrame:
        """The first `PROBED_ROWS` rows.

        Raises:
            DataError: as `rows`.
        """
        try:
            return pl.scan_parquet(self.path, glob=False).select(wanted).head(PROBED_ROWS).collect()
        except _BROKEN as error:
            raise _unreadable(self.path, "breaks off near row 1", error) from error

    def rows(self, wanted: list[str]) -> Iterator[RawRows]:
        """All rows, in order.

        Raises:
            DataError: the file is damaged from this point on.
        """
        scan = pl.scan_parquet(self.path, glob=False).select(wanted)
        row = 1
        try:
            for batch in scan.collect_batches(chunk_size=_BATCH_ROWS, engine="streaming"):
                yield RawRows(batch, row)
                row += batch.height
        except _BROKEN as error:
            raise _unreadable(self.path, f"breaks off near row {row}", error) from error


def _unreadable(path: Path, what: str, error: BaseException) -> DataError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{path} {what}", said, "copy or write the file again")
