"""Writing a bar store as bars arrive, in memory bounded by what is appended at once."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import polars as pl

from moola.data.bar_store import BarStore, StoreDigest
from moola.data.series_runs import pieces, runs_of
from moola.errors import DataError
from moola.layout import PendingFile, write_text

_ROWS_AT_ONCE = 1 << 16
"""Rows that are copied, hashed and written together: a megabyte of candles, which stays in the processor's cache."""
_ROWS_SYNCED_AT_ONCE = 1 << 22
_COPIED_AT_ONCE = 1 << 24


class BarWriter:
    """Appends bars to ``values.npy`` and ``timestamps.npy``; `finish` adds ``bars.json`` and makes it a store.

    Series may alternate; inside a series rows come in time order. Copying, hashing and writing happen in one thread
    of their own while the caller reads and judges the next rows. Use it as a context manager: leaving the block
    before `finish` deletes what was written, and a store that was in the folder before stays as it was.

    Args:
        folder: where the store will be.
        channels: value columns of the frames, in order.
    """

    def __init__(self, folder: Path, channels: Sequence[str]) -> None:
        self._folder = folder
        self._channels = tuple(channels)
        self._digest = StoreDigest()
        self._runs: list[tuple[str, int, int]] = []
        self._last_time: dict[str, int] = {}
        self._values = _GrowingArray(folder / "values.npy", np.dtype(np.float32), (len(self._channels),))
        self._times = _GrowingArray(folder / "timestamps.npy", np.dtype(np.int64), ())
        self._block = np.empty((_ROWS_AT_ONCE, len(self._channels)), dtype=np.float32)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="bar-writer")
        self._writing: Future[None] | None = None
        self._syncing: Future[None] | None = None
        self._synced_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        self._values.discard()
        self._times.discard()

    @property
    def rows(self) -> int:
        """Bars appended so far."""
        self._wait()
        return self._times.rows

    def series(self) -> tuple[str, ...]:
        """Series that came so far, in the order in which they did."""
        self._wait()
        return tuple(dict.fromkeys(name for name, _, _ in self._runs))

    def append(self, frame: pl.DataFrame) -> None:
        """Add rows: ``series``, ``timestamp`` (UTC, microseconds) and one float column a channel, without nulls.

        Raises:
            DataError: a value is too large for float32; it may be raised by the next `append` or by `finish`.
            ValueError: time does not go forward inside a series, or a cell is empty. `BarAudit` keeps such rows out.
        """
        self._wait()
        self._writing = self._pool.submit(self._write, frame)

    def finish(self, series: pl.DataFrame | None = None, independent: bool = False) -> BarStore:
        """Bring everything to disk and open the store.

        Args:
            series: ``series``, ``split``, ``label``, in the order that the store will have; None: the order in which
                series came, with nothing known of them.
            independent: series are separate cases, not stretches of one calendar.

        Raises:
            DataError: as `append`.
            ValueError: a series came that `series` does not name, or one of these has no bar.
        """
        came = self.series()
        names = came if series is None else tuple(series["series"].to_list())
        if set(names) != set(came) or len(set(names)) < len(names):
            raise ValueError(f"the table of series and the bars differ: {sorted(set(names) ^ set(came))[:5]}")
        nothing = (None,) * len(names)
        split = nothing if series is None else tuple(series["split"].to_list())
        label = nothing if series is None else tuple(series["label"].to_list())
        lengths = dict.fromkeys(names, 0)
        for name, _, rows in self._runs:
            lengths[name] += rows
        head = {
            "offsets": [0, *itertools.accumulate(lengths[name] for name in names)],
            "series": names,
            "series_split": split,
            "series_label": label,
            "channels": self._channels,
            "independent": independent,
            "digest": self._digest.total(names, split, label, self._channels, independent),
        }
        (self._folder / "bars.json").unlink(missing_ok=True)  # from here to the end no store opens, old or new
        if self._syncing is not None:
            self._syncing.result()
        order = None if [name for name, _, _ in self._runs] == list(names) else self._ordered_runs(names)
        self._values.publish(order)
        self._times.publish(order)
        write_text(self._folder / "bars.json", json.dumps(head))
        return BarStore.open(self._folder)

    def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _sync_soon(self) -> None:
        """Let the disk begin with what was written, so that little is left for it to do in the end."""
        if self._syncing is not None and not self._syncing.done():
            return
        if self._syncing is not None:
            self._syncing.result()
        if self._times.rows - self._synced_rows >= _ROWS_SYNCED_AT_ONCE:
            self._synced_rows = self._times.rows
            self._syncing = self._pool.submit(self._sync)

    def _sync(self) -> None:
        self._values.sync()
        self._times.sync()

    def _ordered_runs(self, names: tuple[str, ...]) -> list[tuple[int, int]]:
        """First row and length of every run, series after series."""
        runs: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
        for name, start, rows in self._runs:
            runs[name].append((start, rows))
        return [run for name in names for run in runs[name]]

    def _write(self, frame: pl.DataFrame) -> None:
        empty = sum(column.null_count() for column in frame)
        if empty:
            raise ValueError(f"{empty} cells are empty")
        for piece in pieces(frame):
            times = piece["timestamp"].to_physical().to_numpy()
            columns = [piece[name].to_numpy() for name in self._channels]
            for name, start, end in runs_of(piece["series"]):
                self._note_run(name, end - start)
                for first in range(start, end, _ROWS_AT_ONCE):
                    rows = slice(first, min(first + _ROWS_AT_ONCE, end))
                    self._write_block(name, times[rows], [column[rows] for column in columns])
        self._sync_soon()

    def _write_block(self, series: str, times: np.ndarray, columns: list[np.ndarray]) -> None:
        if times[0] <= self._last_time.get(series, times[0] - 1) or not (times[1:] > times[:-1]).all():
            raise ValueError(f"time does not go forward in series '{series}'")
        self._last_time[series] = int(times[-1])
        block = self._block[: len(times)]
        with np.errstate(over="ignore"):
            for number, column in enumerate(columns):
                block[:, number] = column
                if column.dtype != np.float32 and not np.isfinite(block[:, number]).all():
                    raise _too_large(series, self._channels[number])
        self._values.append(block)
        self._times.append(times)
        self._digest.update(series, block, times)

    def _note_run(self, series: str, rows: int) -> None:
        """Remember where the rows of a series lie; neighbouring runs of one series are one run."""
        if self._runs and self._runs[-1][0] == series:
            _, start, before = self._runs[-1]
            self._runs[-1] = (series, start, before + rows)
        else:
            self._runs.append((series, self._times.rows, rows))


class _GrowingArray:
    """A ``.npy`` file whose first axis grows; its header is made large enough for any length (NumPy NEP 1)."""

    def __init__(self, path: Path, dtype: np.dtype, row_shape: tuple[int, ...]) -> None:
        self.rows = 0
        self._path, self._dtype, self._row_shape = path, dtype, row_shape
        self._file = PendingFile(path)
        self._header_bytes = self._write_header(self._file)

    def append(self, rows: np.ndarray) -> None:
        self._file.handle.write(rows.data)
        self.rows += len(rows)

    def publish(self, order: list[tuple[int, int]] | None) -> None:
        """Give the file its name, its rows in the order of these runs (first row, length) where one is given."""
        if order is not None:
            unordered, self._file = self._file, PendingFile(self._path)
            try:
                self._write_header(self._file)
                self._copy(unordered, order)
            finally:
                unordered.discard()
        self._file.handle.seek(0)
        if self._write_header(self._file) != self._header_bytes:
            raise AssertionError("numpy no longer leaves room in the header for a growing first axis")
        self._file.publish()

    def sync(self) -> None:
        os.fdatasync(self._file.handle.fileno())

    def discard(self) -> None:
        self._file.discard()

    def _write_header(self, file: PendingFile) -> int:
        shape = (self.rows, *self._row_shape)
        head = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file.handle, head)
        return file.handle.tell()

    def _copy(self, source: PendingFile, order: list[tuple[int, int]]) -> None:
        source.handle.flush()
        row_bytes = self._dtype.itemsize * int(np.prod(self._row_shape, dtype=np.int64))
        for first, rows in order:
            start, end = (self._header_bytes + row * row_bytes for row in (first, first + rows))
            for position in range(start, end, _COPIED_AT_ONCE):
                part = os.pread(source.handle.fileno(), min(_COPIED_AT_ONCE, end - position), position)
                self._file.handle.write(part)


def _too_large(series: str, channel: str) -> DataError:
    return DataError(
        f"values of series '{series}' are too large to be stored",
        f"column '{channel}' holds a number above {np.finfo(np.float32).max:.3g}, the largest float32",
        "rescale the column, or leave it out of data.channels",
    )
