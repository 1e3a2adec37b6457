"""What child processes of `data.py` do, each in fresh memory; a task prints one JSON object of its figures.

``python data_tasks.py TASK ARGUMENT...`` where TASK is the name of a function below.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

LENGTH, BATCH = 105, 512


def synthetic_chunks(n_bars: int) -> Iterator[pl.DataFrame]:
    """Open, high, low, close of a market that never closes, so that 100 million minutes end before the year 2200."""
    from moola.data.calendars import SessionCalendar
    from moola.data.sources.synthetic_market import SyntheticMarket

    for chunk in SyntheticMarket(n_bars=n_bars, sessions=SessionCalendar()).scan().chunks:
        yield chunk.frame.drop("volume")


def make_store(folder: str, n_bars: str) -> None:
    """A store of synthetic minute bars: open, high, low, close."""
    from moola.data.bar_writer import BarWriter
    from moola.schemas import OHLC

    with BarWriter(Path(folder), OHLC) as writer:
        for frame in synthetic_chunks(int(n_bars)):
            writer.append(frame)
        writer.finish()


def make_parquet(file: str, n_bars: str) -> None:
    """The same market as a Parquet file with float32 prices, in polars' own compression and row groups."""
    import pyarrow.parquet as parquet

    writer = None
    for frame in synthetic_chunks(int(n_bars)):
        table = frame.drop("series").to_arrow()
        writer = writer or parquet.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def first_batch(folder: str) -> None:
    """From a store on disk to the first shuffled batch of all its windows."""
    from moola.data.bar_store import BarStore
    from moola.data.device_batches import DeviceBatches
    from moola.data.gathering import place_bars
    from moola.data.window_index import WindowConfig, WindowIndex

    before = anonymous_bytes()
    started = time.perf_counter()
    store = BarStore.open(Path(folder))
    windows = WindowIndex.build(store, WindowConfig(length=LENGTH))
    batches = DeviceBatches(place_bars(store.values, "cpu"), windows.starts, LENGTH, lambda bars: bars, BATCH, seed=0)
    batch = next(iter(batches))
    wall_s = time.perf_counter() - started
    tell(wall_s, before, windows=len(windows), batch=list(batch.inputs.shape))


def ingest_and_window(file: str, folder: str) -> None:
    """A Parquet file through the audit into a store, and every window of it."""
    from moola.data.bar_store import BarStore
    from moola.data.ingestion import ingest
    from moola.data.sources.files import Files
    from moola.data.window_index import WindowConfig, WindowIndex

    before = anonymous_bytes()
    started = time.perf_counter()
    ingest(Files(file).scan(), Path(folder))
    store = BarStore.open(Path(folder))
    windows = WindowIndex.build(store, WindowConfig(length=LENGTH, max_gap="8d"))
    wall_s = time.perf_counter() - started
    tell(wall_s, before, bars=store.n_bars, windows=len(windows))


def validate_bars(file: str, quarantine: str) -> None:
    """A Parquet file through the audit; nothing is stored."""
    from moola.data.ingestion import validate
    from moola.data.sources.files import Files

    before = anonymous_bytes()
    started = time.perf_counter()
    report = validate(Files(file).scan(), None, Path(quarantine))
    tell(time.perf_counter() - started, before, bars=report.kept)


def scan_with_polars(file: str) -> None:
    """Every cell of the file read and summed by polars' streaming engine; nothing judged, nothing written."""
    import polars as pl

    before = anonymous_bytes()
    started = time.perf_counter()
    sums = pl.scan_parquet(file).select(pl.len(), pl.all().to_physical().sum()).collect(engine="streaming")
    tell(time.perf_counter() - started, before, bars=sums["len"].item())


def read_with_polars(file: str) -> None:
    """The whole file read into memory by polars."""
    import polars as pl

    before = anonymous_bytes()
    started = time.perf_counter()
    frame = pl.read_parquet(file)
    tell(time.perf_counter() - started, before, bars=frame.height)


def copy_with_polars(file: str, copy: str) -> None:
    """The same file as an Arrow file on disk, uncompressed: what has to be written is about as much as a store."""
    import polars as pl

    before = anonymous_bytes()
    started = time.perf_counter()
    pl.scan_parquet(file).sink_ipc(copy, compression="uncompressed", sync_on_close="all")
    tell(time.perf_counter() - started, before)


def anonymous_bytes() -> int:
    """Resident memory of this process that no file stands behind (Linux)."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def tell(wall_s: float, before: int, **figures: object) -> None:
    """Print what was measured; `before` is the anonymous memory once everything was imported."""
    print(json.dumps({"wall_s": wall_s, "anonymous_bytes_before": before, **figures}))


TASKS = (
    make_store,
    make_parquet,
    first_batch,
    ingest_and_window,
    validate_bars,
    scan_with_polars,
    read_with_polars,
    copy_with_polars,
)

if __name__ == "__main__":
    {task.__name__: task for task in TASKS}[sys.argv[1]](*sys.argv[2:])
