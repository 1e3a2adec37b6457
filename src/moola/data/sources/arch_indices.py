"""S&P 500 and Nasdaq daily bars, 1999 to 2018, read from the `arch` package and never copied into moola."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from moola.config import reject
from moola.data.sources import BarScan, Chunk
from moola.errors import MissingPackageError
from moola.layout import digest_file
from moola.schemas import OHLC

_CHANNELS = (*OHLC, "volume")


@dataclass(frozen=True)
class ArchIndices:
    """5,031 daily bars a symbol: open, high, low, close, volume (arch 8.0.0, `arch.data.sp500` and `.nasdaq`).

    The two series share their dates and move together (daily returns correlate .89): they are one sample in time.
    """

    symbols: tuple[Literal["sp500", "nasdaq"], ...] = ("sp500", "nasdaq")

    def __post_init__(self) -> None:
        reject(
            (not self.symbols, "symbols: needs at least one"),
            (len(set(self.symbols)) < len(self.symbols), f"symbols: {list(self.symbols)} holds one twice"),
        )

    def fingerprint(self) -> str:
        """Digest of the files inside the installed package."""
        return hashlib.sha256("".join(digest_file(self._file(name)) for name in self.symbols).encode()).hexdigest()

    def scan(self) -> BarScan:
        """One chunk a symbol; the dates become midnight UTC.

        Raises:
            MissingPackageError: arch is not installed.
        """
        files = {symbol: self._file(symbol) for symbol in self.symbols}
        return BarScan(_CHANNELS, (_chunk(symbol, file) for symbol, file in files.items()))

    @staticmethod
    def _file(symbol: str) -> Path:
        # The package's own loader imports all of arch and pandas (a second); its data file needs neither.
        found = importlib.util.find_spec("arch")
        if found is None or found.origin is None:
            raise MissingPackageError(
                "the default data needs the arch package",
                "it ships the S&P 500 and Nasdaq daily bars",
                "pip install 'moola[data]'",
            )
        return Path(found.origin).parent / "data" / symbol / f"{symbol}.csv.gz"


def _chunk(symbol: str, file: Path) -> Chunk:
    days = pl.col("Date").str.to_datetime("%m/%d/%Y", time_unit="us").dt.replace_time_zone("UTC")
    frame = pl.read_csv(file).select(
        pl.lit(symbol).alias("series"),
        days.alias("timestamp"),
        *(pl.col(name.capitalize()).cast(pl.Float64).alias(name) for name in _CHANNELS),
    )
    return Chunk(frame, str(file), first_row=2)
