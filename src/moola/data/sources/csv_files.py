"""Bars from CSV files: one file or a glob, one symbol a file or a symbol column."""

from __future__ import annotations

import glob
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from moola import schemas
from moola.config import reject
from moola.data.sources import Bars, series_table
from moola.errors import DataError, did_you_mean
from moola.layout import digest_file
from moola.schemas import OHLC, TIMESTAMP, check


@dataclass(frozen=True)
class CsvFiles:
    """CSV files with a header, gzip allowed.

    Attributes:
        path: a file or a glob (``data/raw/unlabeled/*.csv.gz``).
        timestamp: name of the time column; read as text by polars, naive times are in `timezone`.
        timezone: of naive times; stored times are UTC.
        channels: value columns to keep, in this order.
        symbol: name of the symbol column; without one, each file is one series named after it.
    """

    path: str
    timestamp: str = "timestamp"
    timezone: str = "UTC"
    channels: tuple[str, ...] = OHLC
    symbol: str | None = None

    def __post_init__(self) -> None:
        reserved = [name for name in self.channels if name in ("series", "timestamp")]
        reject(
            (not self.channels, "channels: needs at least one"),
            (len(set(self.channels)) < len(self.channels), f"channels: {list(self.channels)} holds one twice"),
            (bool(reserved), f"channels: {reserved} are names that moola gives; rename these columns"),
            (not _is_timezone(self.timezone), f"timezone: '{self.timezone}' is none, such as America/New_York"),
        )

    def fingerprint(self) -> str:
        """Digest of names and contents of the files, in order."""
        parts = (f"{file.name}:{digest_file(file)}" for file in self._files())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def load(self) -> Bars:
        """Read, normalise times to UTC, check; rows must be in time order."""
        files = self._files()
        names = [_series_name(file) for file in files]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice and self.symbol is None:
            raise DataError(
                "two files would become one series",
                "\n".join(f"- {name}" for name in twice),
                "rename the files, or name a symbol column with data.symbol=",
            )
        frame = pl.concat([self._read(file) for file in files])
        frame = frame.sort("series", maintain_order=True)
        _check_time(frame)
        way_out = f"mend these rows in {self.path} (rows counted from 0 within all files, in order of series)"
        checked = check(frame, schemas.bars(self.channels), f"the bars in {self.path}", way_out)
        names = checked["series"].unique(maintain_order=True).to_list()
        return Bars(checked, series_table(names), independent=False)

    def _files(self) -> list[Path]:
        files = sorted(path for name in glob.glob(self.path) if (path := Path(name)).is_file())
        if not files and Path(self.path).is_dir():
            raise DataError(f"data.path={self.path} is a folder", "", f"name its files: data.path='{self.path}/*.csv'")
        if not files:
            folder = Path(self.path).parent
            near = (
                did_you_mean(Path(self.path).name, [item.name for item in folder.iterdir()]) if folder.is_dir() else ""
            )
            raise DataError(
                f"no file matches data.path={self.path}",
                near or f"there is no folder {folder}",
                "give an existing file or glob",
            )
        return files

    def _read(self, file: Path) -> pl.DataFrame:
        try:
            raw = pl.read_csv(file, try_parse_dates=True, infer_schema_length=None)
        except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
            raise DataError(
                f"{file} is not a readable CSV file", str(error).splitlines()[0], "mend or replace the file"
            ) from error
        wanted = [self.timestamp, *self.channels, *([self.symbol] if self.symbol else [])]
        missing = [name for name in wanted if name not in raw.columns]
        if missing:
            problems = [f"- column '{name}' is missing; {did_you_mean(name, raw.columns)}" for name in missing]
            raise DataError(
                f"{file} lacks columns",
                "\n".join(problems),
                "name them with data.timestamp=, data.channels=[...], data.symbol=",
            )
        if raw.is_empty():
            raise DataError(f"{file} has a header and no rows", "", "replace the file")
        if isinstance(raw.schema[self.timestamp], pl.Date | pl.Datetime):
            self._refuse_ambiguous_dates(file)
        text = [name for name in self.channels if not raw.schema[name].is_numeric()]
        if text:
            problems = [f"- column '{name}': {_first_text(raw, name)}" for name in text]
            raise DataError(f"{file} holds values that are not numbers", "\n".join(problems), "mend these rows")
        name = pl.col(self.symbol).cast(pl.String) if self.symbol else pl.lit(_series_name(file))
        values = [pl.col(channel).cast(pl.Float64) for channel in self.channels]
        try:
            return raw.select(name.alias("series"), self._utc(raw, file), *values)
        except pl.exceptions.ComputeError as error:
            raise DataError(
                f"{file} holds times that do not exist in {self.timezone}",
                str(error).splitlines()[0],
                "check data.timezone, or mend these rows",
            ) from error

    def _refuse_ambiguous_dates(self, file: Path) -> None:
        """Dates that do not begin with the year can be read in two ways, and a wrong guess shifts every split."""
        first = str(pl.read_csv(file, columns=[self.timestamp], infer_schema=False, n_rows=1)[self.timestamp][0])
        if not re.match(r"\s*\d{4}", first):
            raise DataError(
                f"{file}: times such as '{first}' can be read in two ways",
                "the day and the month cannot be told apart",
                "write them as ISO 8601, e.g. 2024-01-31 15:45:00",
            )

    def _utc(self, raw: pl.DataFrame, file: Path) -> pl.Expr:
        kind = raw.schema[self.timestamp]
        column = pl.col(self.timestamp)
        if kind == pl.Date:
            column = column.cast(pl.Datetime("us"))
        elif not isinstance(kind, pl.Datetime):
            row = _first_without_time(raw[self.timestamp])
            raise DataError(
                f"{file}: column '{self.timestamp}' does not read as times",
                f"row {row}: {raw[self.timestamp][row]!r}",
                "use ISO 8601 times such as 2024-01-31 15:45:00",
            )
        if getattr(kind, "time_zone", None) is None:
            column = column.dt.replace_time_zone(self.timezone, ambiguous="earliest")
        return column.dt.convert_time_zone("UTC").cast(TIMESTAMP).alias("timestamp")


def _is_timezone(name: str) -> bool:
    """Whether polars, which brings its own table of time zones, knows this one."""
    try:
        pl.Series([], dtype=pl.Datetime("us")).dt.replace_time_zone(name)
    except pl.exceptions.ComputeError:
        return False
    return bool(name)


def _series_name(file: Path) -> str:
    """A file's name without ``.csv`` or ``.csv.gz``."""
    return file.name.removesuffix(".gz").removesuffix(".csv")


def _first_text(raw: pl.DataFrame, name: str) -> str:
    bad = raw[name].cast(pl.Float64, strict=False).is_null().arg_true()
    return f"{len(bad)} rows, the first at row {bad[0]}: {raw[name][bad[0]]!r}" if len(bad) else "no number in it"


def _first_without_time(column: pl.Series) -> int:
    """Row of the first text that is no time like the one in the first row, which is taken for a time if it can be."""
    if column.dtype != pl.String:
        return 0
    try:
        bad = column.str.to_datetime(strict=False).is_null().arg_true()
    except pl.exceptions.ComputeError:  # no row gives away a format
        return 0
    return bad[0] if len(bad) else 0


def _check_time(frame: pl.DataFrame) -> None:
    step = pl.col("timestamp").diff().over("series").dt.total_microseconds()
    late = frame.select((step <= 0).arg_true()).to_series()
    if len(late):
        series, time = frame.row(late[0])[:2]
        raise DataError(
            "time does not go forward",
            f"{len(late)} rows are not later than the row before; the first is row {late[0]} "
            f"of series '{series}' at {time}",
            "sort the file by time and remove duplicate times",
        )
