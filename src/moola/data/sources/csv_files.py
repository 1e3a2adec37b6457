"""Bars from CSV files: one file or a glob, one symbol a file or a symbol column."""

from __future__ import annotations

import glob
import hashlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from moola import schemas
from moola.config import reject
from moola.data.sources import Bars, series_table
from moola.errors import DataError, did_you_mean
from moola.layout import digest_file
from moola.schemas.tables import OHLC, TIMESTAMP, check


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
        reject((not self.channels, "channels: needs at least one"))

    def fingerprint(self) -> str:
        """Digest of names and contents of the files, in order."""
        parts = (f"{file.name}:{digest_file(file)}" for file in self._files())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def load(self) -> Bars:
        """Read, normalise times to UTC, check; rows must be in time order."""
        frame = pl.concat([self._read(file) for file in self._files()])
        frame = frame.sort("series", maintain_order=True)
        _check_time(frame)
        way_out = f"mend these rows in {self.path} (rows counted from 0 within all files, in order of series)"
        checked = check(frame, schemas.bars(self.channels), f"the bars in {self.path}", way_out)
        names = checked["series"].unique(maintain_order=True).to_list()
        return Bars(checked, series_table(names), independent=False)

    def _files(self) -> list[Path]:
        files = sorted(Path(name) for name in glob.glob(self.path))
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
        text = [name for name in self.channels if not raw.schema[name].is_numeric()]
        if text:
            problems = [f"- column '{name}': {_first_text(raw, name)}" for name in text]
            raise DataError(f"{file} holds values that are not numbers", "\n".join(problems), "mend these rows")
        name = pl.col(self.symbol).cast(pl.String) if self.symbol else pl.lit(file.name.split(".")[0])
        return raw.select(
            name.alias("series"), self._utc(raw, file), *(pl.col(c).cast(pl.Float64) for c in self.channels)
        )

    def _utc(self, raw: pl.DataFrame, file: Path) -> pl.Expr:
        kind = raw.schema[self.timestamp]
        column = pl.col(self.timestamp)
        if kind == pl.Date:
            column = column.cast(pl.Datetime("us"))
        elif not isinstance(kind, pl.Datetime):
            raise DataError(
                f"{file}: column '{self.timestamp}' does not read as times",
                f"the first value is {raw[self.timestamp][0]!r}",
                "use ISO 8601 times such as 2024-01-31 15:45:00",
            )
        if getattr(kind, "time_zone", None) is None:
            column = column.dt.replace_time_zone(self.timezone, ambiguous="earliest")
        return column.dt.convert_time_zone("UTC").cast(TIMESTAMP).alias("timestamp")


def _first_text(raw: pl.DataFrame, name: str) -> str:
    bad = raw.with_row_index("row").filter(pl.col(name).cast(pl.Float64, strict=False).is_null())
    return f"{bad.height} rows, the first at row {bad['row'][0]}: {bad[name][0]!r}" if bad.height else "no number in it"


def _check_time(frame: pl.DataFrame) -> None:
    late = frame.with_row_index("row").filter(pl.col("timestamp").diff().over("series").dt.total_microseconds() <= 0)
    if late.height:
        raise DataError(
            "time does not go forward",
            f"{late.height} rows are not later than the row before; the first is row {late['row'][0]} "
            f"of series '{late['series'][0]}' at {late['timestamp'][0]}",
            "sort the file by time and remove duplicate times",
        )
