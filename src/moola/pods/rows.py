"""How many rows a data file holds, so that a person sees that it is the right one before hours are paid for."""

from __future__ import annotations

from pathlib import Path

from moola.errors import DataError
from moola.pods.remote.rows import PARQUET, TEXT, count_records

_WITHOUT_HEADER = (".jsonl", ".ndjson")


def count_rows(path: Path, *, header: bool = True) -> int | None:
    """Rows of a table: of Parquet as its footer says, of text its lines less the header; None for other files.

    The pod counts by the same rule before it starts anything.

    Args:
        path: the ending says what it is; text may be gzip.
        header: whether the first line of text is none of the rows; JSON lines have none.

    Raises:
        DataError: it is not what its ending says.
    """
    name = path.name.lower()
    text = name.removesuffix(".gz")
    if not name.endswith(PARQUET) and not text.endswith(TEXT):
        return None
    records = count_records(str(path))
    if records is None:
        raise DataError(f"{path} is not what its ending says", "it is cut off, or another format", "fetch it again")
    has_header = header and text.endswith(TEXT) and not text.endswith(_WITHOUT_HEADER)
    return max(0, records - has_header)
