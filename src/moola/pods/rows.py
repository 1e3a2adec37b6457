"""How many rows a data file holds, so that a person sees that it is the right one before hours are paid for."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from moola.errors import DataError

_WITH_HEADER = (".csv", ".tsv", ".txt")
_WITHOUT_HEADER = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")
_BLOCK_BYTES = 1 << 20


def count_rows(path: Path, *, header: bool = True) -> int | None:
    """Rows of a table: of Parquet as its footer says, of text its lines less the header; None for other files.

    Args:
        path: the ending says what it is; text may be gzip.
        header: whether the first line of CSV is none of the rows.

    Raises:
        DataError: it is not what its ending says.
        OSError: it cannot be read.
    """
    name = path.name.lower()
    text = name.removesuffix(".gz")
    try:
        if name.endswith(_PARQUET):
            return _count_parquet(path)
        if text.endswith((*_WITH_HEADER, *_WITHOUT_HEADER)):
            with gzip.open(path, "rb") if text != name else path.open("rb") as handle:
                lines = _count_lines(cast("BinaryIO", handle))
            return max(0, lines - (header and text.endswith(_WITH_HEADER)))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is no whole gzip file", str(error), "make or fetch it again") from error
    return None


def _count_lines(handle: BinaryIO) -> int:
    """Line ends, and one for a last line without."""
    lines, last = 0, b"\n"
    while block := handle.read(_BLOCK_BYTES):
        lines += block.count(b"\n")
        last = block[-1:]
    return lines + (last != b"\n")


def _count_parquet(path: Path) -> int:
    import polars as pl

    try:
        return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} is no Parquet file", str(error).splitlines()[0], "make or fetch it again") from error
