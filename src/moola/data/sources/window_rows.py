"""Windows as rows of a table: Parquet or JSON lines, nested or flat, read one row at a time."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from moola.data.sources.problems import Problems
from moola.data.sources.text_files import read_lines
from moola.data.sources.whole_parquet import read_whole_parquet

Layout = Literal["auto", "nested", "flat"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_JSON = (".jsonl", ".ndjson", ".json")


def read_rows(path: Path, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row stands (``"line 3"`` of JSON lines, ``"row 3"`` of Parquet, from 1) and its cells by column."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(path, problems)
    elif suffix in _JSON:
        yield from _json_rows(path, problems)
    else:
        problems.say(f"its name ends in '{suffix}'", f"give a file that ends in .parquet, {', '.join(_JSON)}")


def _parquet_rows(path: Path, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    frame = read_whole_parquet(path, problems)
    if frame is None:
        return
    for number, record in enumerate(frame.iter_rows(named=True), start=1):
        yield f"row {number}", record


def _json_rows(path: Path, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(read_lines(path, problems), start=1):
        if not line.strip():
            continue
        way_out = "write one JSON object a line"
        try:
            record = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            problems.count("lines that are not JSON", f"line {number}: {str(error)[:80]}", way_out)
            continue
        if isinstance(record, dict):
            yield f"line {number}", record
        else:
            problems.count("lines that hold no JSON object", f"line {number}", way_out)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ; JSON would keep the last of two and say nothing."""
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key stands twice in it")
    return record


@dataclass(frozen=True)
class WindowShape:
    """Bars and channels that each row holds, and where.

    Attributes:
        length: bars a window.
        channels: names of a bar's values, in the order in which the features list them.
        features: name of the list column; None where each value has a column of its own (``open_0``, ``high_0``, ...).
        layout: ``nested`` (a list of bars), ``flat`` (bar after bar in one list, or wide columns), ``auto`` for either.
    """

    length: int
    channels: tuple[str, ...]
    features: str | None
    layout: Layout

    def wide_columns(self) -> list[str]:
        """Names of the columns of the wide form, bar after bar."""
        return [f"{channel}_{bar}" for bar in range(self.length) for channel in self.channels]

    def is_wide_column(self, name: str) -> bool:
        """Whether a column holds the values of one channel at one bar."""
        return re.fullmatch(rf"(?:{'|'.join(map(re.escape, self.channels))})_\d+", name) is not None

    def read(self, record: dict[str, Any], place: str, problems: Problems) -> np.ndarray | None:
        """float64 [length, n_channels] of one row; None, and everything wrong told, where it cannot be used."""
        cells = self._cells(record, place, problems)
        return None if cells is None else self._numbers(cells, place, problems)

    def _cells(self, record: dict[str, Any], place: str, problems: Problems) -> list[Any] | None:
        """One list of length * n_channels cells, bar after bar."""
        wide = [name for name in record if self.is_wide_column(name)]
        if self.features is not None and self.features in record:
            if wide:
                way_out = "remove one of the two, or read the columns with data.features=null"
                problems.count(f"rows with '{self.features}' and columns such as {wide[0]}", place, way_out)
                return None
            return self._from_list(record[self.features], place, problems)
        if wide and self.layout != "nested":
            return self._from_columns(record, wide, place, problems)
        wanted = f"'{self.features}'" if self.features is not None else f"{self.channels[0]}_0, ..."
        way_out = "name the column with data.features=COLUMN, or data.features=null for one column a value"
        problems.count(f"rows without the column {wanted}", place, way_out)
        return None

    def _from_list(self, bars: Any, place: str, problems: Problems) -> list[Any] | None:
        if not isinstance(bars, list):
            problems.count(f"windows whose '{self.features}' is no list", place, "give a list of bars")
            return None
        nested = bool(bars) and isinstance(bars[0], list)
        if self.layout != "auto" and bars and nested != (self.layout == "nested"):
            kind = f"windows that are not {self.layout}"
            problems.count(kind, place, f"use data.layout={'nested' if nested else 'flat'} or data.layout=auto")
            return None
        return self._from_nested(bars, place, problems) if nested else self._from_flat(bars, place, problems)

    def _from_nested(self, bars: list[Any], place: str, problems: Problems) -> list[Any] | None:
        width = len(self.channels)
        fine = self._is_long_enough(len(bars), place, problems)
        for number, bar in enumerate(bars):
            if not isinstance(bar, list) or len(bar) != width:
                found = f"has {len(bar)}" if isinstance(bar, list) else f"is {bar!r:.20}"
                kind = f"bars with another number of values than {width} ({', '.join(self.channels)})"
                problems.count(kind, f"{place}, bar {number} {found}", "give each bar these values and nothing else")
                fine = False
        return list(itertools.chain.from_iterable(bars)) if fine else None

    def _from_flat(self, cells: list[Any], place: str, problems: Problems) -> list[Any] | None:
        wanted = self.length * len(self.channels)
        if len(cells) == wanted:
            return cells
        kind = f"windows with another number of values than {self.length} x {len(self.channels)} = {wanted}"
        problems.count(
            kind, f"{place} has {len(cells)}", "mend these windows, or set data.length=BARS data.channels=[...]"
        )
        return None

    def _from_columns(
        self, record: dict[str, Any], wide: list[str], place: str, problems: Problems
    ) -> list[Any] | None:
        names = self.wide_columns()
        missing = [name for name in names if name not in record]
        beyond = sorted(set(wide) - set(names))
        for kind, some in (("lacking", missing), (f"beyond data.length={self.length}", beyond)):
            if some:
                told = f"{place}: {', '.join(some[:3])}{f' and {len(some) - 3} more' if len(some) > 3 else ''}"
                problems.count(f"rows with columns {kind}", told, "mend the columns, or set data.length=BARS")
        return None if missing or beyond else [record[name] for name in names]

    def _is_long_enough(self, n_bars: int, place: str, problems: Problems) -> bool:
        if n_bars != self.length:
            kind = f"windows of another length than {self.length} bars"
            problems.count(kind, f"{place} has {n_bars}", "mend these windows, or set data.length=BARS")
        return n_bars == self.length

    def _numbers(self, cells: list[Any], place: str, problems: Problems) -> np.ndarray | None:
        if set(map(type, cells)) <= {int, float}:  # not bool, not text: numpy would take both for numbers
            try:
                values = np.array(cells, dtype=np.float64)
            except OverflowError:
                values = np.array([np.inf])
            if bool((np.abs(values) <= _FLOAT32_MAX).all()):
                return values.reshape(self.length, len(self.channels))
        for position, cell in enumerate(cells):
            if kind := _fault(cell):
                bar, channel = divmod(position, len(self.channels))
                told = f"{place}, bar {bar}, {self.channels[channel]}: {cell!r:.40}"
                problems.count(kind, told, "mend these values or remove the windows: moola makes no values up")
        return None


def _fault(cell: Any) -> str | None:
    """Why a cell is no value; None where it is one."""
    if cell is None:
        return "values that are null"
    if type(cell) not in (int, float):
        return "values that are no numbers"
    if cell != cell or cell in (float("inf"), float("-inf")):
        return "values that are not finite"
    return "values too large for a 32-bit number" if abs(cell) > _FLOAT32_MAX else None
