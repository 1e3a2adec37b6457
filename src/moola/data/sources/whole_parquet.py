"""Small Parquet files, read whole: labels, and windows that were cut before."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import polars as pl

from moola.data.sources.problems import Problems


def read_whole_parquet(path: Path, problems: Problems) -> pl.DataFrame | None:
    """The table; None, and the reason told, where the file is cut off, damaged or no Parquet at all.

    pyarrow reads it, because polars answers some damaged files with a Rust panic and its trace on the terminal.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)
        table = table.replace_schema_metadata(None)
        table.validate(full=True)
        str(table.schema)  # ValueError where a name in it, however deep, is no text: polars would panic
        return cast("pl.DataFrame", pl.from_arrow(table))
    except (pyarrow.ArrowException, pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        problems.say(f"it is no whole Parquet file ({reason[:160]})", "copy or write the file again")
        return None
