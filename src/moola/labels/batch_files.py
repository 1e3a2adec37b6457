"""Batches of windows that were handed out to be annotated: ``data/batches/NAME.parquet`` and what lies beside it.

- ``NAME.parquet``: a row a window in the order in which to look at them (`moola.schemas.annotation_batch`).
- ``NAME.json``: the template of the candlestick annotation tools, which `moola.labels.exchange.batch_json` reads back.
- ``NAME.manifest.json``: how the windows were chosen.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from moola.errors import DataError, StorageError, did_you_mean
from moola.layout import replace_atomically, write_json

BATCH_PLACE = "batches"
"""Where batches lie in the data folder."""
_MANIFEST = ".manifest.json"


@contextlib.contextmanager
def batches_locked(folder: Path) -> Iterator[None]:
    """One process at a time chooses windows, so that none is handed out twice."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def batch_names(folder: Path) -> list[str]:
    """Names of the batches in a folder, alphabetically."""
    return sorted(path.stem for path in folder.glob("*.parquet"))


def next_name(folder: Path) -> str:
    """``batch_0001`` and so on: the number after the highest that is there."""
    numbers = [name.removeprefix("batch_") for name in batch_names(folder)]
    return f"batch_{max((int(number) for number in numbers if number.isdecimal()), default=0) + 1:04d}"


def find_batch(name: str, folder: Path) -> Path:
    """The table of a batch.

    Args:
        name: of the batch, or the path of a table that lies elsewhere.
        folder: of the batches.

    Raises:
        DataError: there is no batch of that name; near names are suggested.
    """
    for path in (folder / f"{name}.parquet", Path(name)):
        if path.suffix == ".parquet" and path.is_file():
            return path
    known = did_you_mean(name, batch_names(folder))
    raise DataError(f"there is no batch '{name}' in {folder}", known, "make one with `moola labels batch`")


def read_batch(folder: Path, name: str) -> pl.DataFrame:
    """The windows of a batch, in the order in which to look at them.

    Args:
        folder: of the batches.
        name: as `find_batch` takes it.

    Raises:
        DataError: there is no batch of that name; near names are suggested.
        StorageError: its file cannot be read.
    """
    path = find_batch(name, folder)
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"{path} cannot be read", str(error), "put the file back, or delete it") from error


def handed_out(folder: Path) -> pl.DataFrame:
    """Of the windows of all batches: ``series``, ``raw_start_idx``, ``raw_end_idx``, ``first_time``, ``last_time``."""
    columns = {
        "series": pl.String,
        "raw_start_idx": pl.Int64,
        "raw_end_idx": pl.Int64,
        "first_time": pl.Datetime("us", "UTC"),
        "last_time": pl.Datetime("us", "UTC"),
    }
    parts = [read_batch(folder, name).select(list(columns)).cast(columns) for name in batch_names(folder)]  # pyright: ignore[reportArgumentType]
    return pl.concat([pl.DataFrame(schema=columns), *parts])


def write_batch(folder: Path, name: str, table: pl.DataFrame, told: Mapping[str, Any], zone: tuple[int, int]) -> Path:
    """Write the three files, the table last: while it is missing, there is no batch.

    Returns:
        The path of the table.

    Raises:
        StorageError: there is a batch of that name.
    """
    path = folder / f"{name}.parquet"
    if path.exists():
        raise StorageError(
            f"{path} is there already", "a batch that was handed out stays as it is", "choose a new name"
        )
    template = [
        {
            "window_id": window_id,
            "annotation_version": 1,
            "window_quality": None,
            "expansions": [],
            "notes": "",
            "timestamp": None,
            "annotator_id": None,
        }
        for window_id in table["window_id"]
    ]
    write_json(folder / f"{name}.json", {"batch": name, "zone": list(zone), "annotations": template})
    write_json(folder / f"{name}{_MANIFEST}", {"batch": name, "windows": len(table), **told})
    with replace_atomically(path) as handle:
        table.write_parquet(handle)
    return path
