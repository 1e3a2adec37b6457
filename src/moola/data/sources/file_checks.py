"""What can be said of a file before its rows are streamed: the wanted columns are there and the times read as times."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence

import polars as pl

from moola.data.sources.file_columns import FileColumns
from moola.data.sources.file_hints import (
    DATES,
    MOMENTS,
    TIMES_OF_DAY,
    bare,
    likely,
    likely_format,
    near,
    quoted,
    setting,
)
from moola.data.sources.file_times import EPOCH_UNITS, NOT_A_TIME, TimeReader, epoch_unit
from moola.data.sources.problems import Problems

PROBED_ROWS = 100
"""Rows of each file that are looked at."""
_DESCENDING = 2
"""Steps back in time, and none forward, that make a file run backwards."""


def check_names(place: str, names: Sequence[str], columns: FileColumns, problems: Problems, way_out: str = "") -> None:
    """Whether a file has every wanted column, once.

    Args:
        place: the file.
        names: columns of the file.
        columns: what is wanted.
        problems: takes what is wrong.
        way_out: of a likelier cause than a wrong name.
    """
    missing = [name for name in columns.wanted if name not in names]
    if missing and way_out:
        problems.say(f"{place}: columns {', '.join(missing)} are missing; it begins with {list(names)[:5]}", way_out)
        return
    for name in columns.wanted:
        if name in missing:
            problems.say(f"{place}: column '{name}' is missing; {near(name, names)}", _keys(names, columns))
        elif list(names).count(name) > 1:
            problems.say(f"{place}: column '{name}' stands there twice", "rename or remove one of the two")


def _keys(names: Sequence[str], columns: FileColumns) -> str:
    """The settings that find the near names, ready to be pasted."""

    def guess(column: str) -> str:
        found = re.search(r"did you mean '(.+?)'", near(column, names))
        return found[1] if found else "COLUMN"

    keys = _time_keys(names, columns, guess)
    if columns.symbol is not None and columns.symbol not in names:
        keys.append(setting("data.symbol", guess(columns.symbol)))
    lost = {channel: guess(column) for channel, column in columns.channels.items() if column not in names}
    if lost:
        pairs = ", ".join(f"{channel}: {quoted(column)}" for channel, column in lost.items())
        keys.append(f"'data.columns={{{pairs}}}' (or leave channels out with data.channels=[...])")
    return "name them with " + " ".join(keys)


def _time_keys(names: Sequence[str], columns: FileColumns, guess: Callable[[str], str]) -> list[str]:
    """Settings that find the columns of the times."""
    keys: list[str] = []
    if columns.timestamp not in names:
        day, clock = likely(names, DATES), likely(names, TIMES_OF_DAY)
        same = likely(names, (bare(columns.timestamp),))
        column = same or day or likely(names, MOMENTS) or guess(columns.timestamp)
        keys.append(setting("data.timestamp", column))
        if same is None and day is not None and clock is not None and columns.time is None:
            keys.append(setting("data.time", clock))
    if columns.time is not None and columns.time not in names:
        keys.append(setting("data.time", likely(names, TIMES_OF_DAY) or guess(columns.time)))
    return keys


def check_times(place: str, rows: pl.DataFrame, columns: FileColumns, problems: Problems) -> None:
    """Whether the times in the first rows of a file read as times, of our age where they are counts, and go forward.

    Args:
        place: the file.
        rows: the first `PROBED_ROWS` rows, of the wanted columns and those that may hold a time of day.
        columns: what is wanted.
        problems: takes what is wrong.
    """
    column = columns.times_in(rows)
    if column.dtype == pl.String:
        column = column.str.strip_chars().replace("", None)
    filled = column.drop_nulls()
    name, shown, rules = columns.time_name, str(filled[0])[:80] if len(filled) else "0", columns.times
    clock = None if columns.time is not None else _clock_beside(rows, columns)
    if column.dtype.is_numeric() and rules.time_format not in EPOCH_UNITS:
        problems.say(*_no_times(place, name, shown, clock))
        return
    if filled.is_empty():
        return
    unnamed = pl.Series(["?"]).new_from_index(0, len(column))
    series = unnamed if columns.symbol is None else rows[columns.symbol].cast(pl.String)
    times, reasons = TimeReader(rules).read(column, series)
    if reasons is not None and (reasons.filter(column.is_not_null()) == NOT_A_TIME).fill_null(False).all():
        problems.say(*_no_times(place, name, shown, clock))
    elif rules.time_format in EPOCH_UNITS:
        count = _count(shown)
        unit = epoch_unit(count) if count is not None else None
        if unit not in (None, rules.time_format):
            problems.say(
                f"{place}: column '{name}' begins with {shown}, which is no time of our age in {rules.time_format}",
                f"data.time_format={unit}",
            )
            return
    _check_order(place, name, pl.DataFrame({"series": series, "time": times}).drop_nulls("time"), clock, problems)


def _clock_beside(rows: pl.DataFrame, columns: FileColumns) -> tuple[str, str] | None:
    """A column that looks like the time of day and is not read, and its first cell."""
    if getattr(rows.schema[columns.timestamp], "time_zone", None) is not None:  # a moment, whatever stands beside it
        return None
    name = likely((name for name in rows.columns if name not in columns.wanted), TIMES_OF_DAY)
    cells = rows[name].cast(pl.String, strict=False).drop_nulls() if name is not None else []
    return (name, cells[0].strip()) if name is not None and len(cells) else None


def _check_order(place: str, name: str, rows: pl.DataFrame, clock: tuple[str, str] | None, problems: Problems) -> None:
    """Whether the times (columns ``series``, ``time``) are more than dates, and do not run backwards."""
    if clock is not None and rows.is_duplicated().any() and (rows["time"].dt.time() == datetime.time()).all():
        says = f"{place}: column '{name}' holds dates only, the same in several rows; '{clock[0]}' looks like the time"
        problems.say(says, setting("data.time", clock[0]))
        return
    steps = rows.select(pl.col("time").diff().over("series").dt.total_microseconds())["time"].drop_nulls()
    if len(steps) >= _DESCENDING and (steps < 0).all():
        says = f"{place}: its rows run backwards, the newest first ({rows['time'][0]:%Y-%m-%d %H:%M:%S} UTC)"
        problems.say(says, "sort the rows of the file by time, oldest first")


def _no_times(place: str, name: str, shown: str, clock: tuple[str, str] | None) -> tuple[str, str]:
    """Problem and way out of a column that does not read as times."""
    joined = likely_format(f"{shown} {clock[1]}") if clock is not None else None
    if clock is not None and joined is not None:
        says = f"{place}: column '{name}' holds dates only, it begins with '{shown}'; '{clock[0]}' looks like the time"
        return says, f"{setting('data.time', clock[0])} data.time_format='{joined}'"
    says = f"{place}: column '{name}' does not read as times, it begins with '{shown}'"
    count = _count(shown)
    if count is not None and not re.fullmatch(r"\d{8}", shown):
        return says, f"data.time_format={epoch_unit(count) or 'epoch_s (or epoch_ms, epoch_us, epoch_ns)'}"
    if re.match(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}", shown):
        return (
            f"{place}: column '{name}': times such as '{shown}' can be read in two ways, day or month first",
            "say which comes first, e.g. data.time_format='%d.%m.%Y %H:%M:%S' or '%m/%d/%Y %H:%M'",
        )
    form = likely_format(shown)
    if form is not None:
        return says, f"data.time_format='{form}'"
    return says, "use ISO 8601 times such as 2024-01-31 15:45:00, or set data.time_format, e.g. '%Y%m%d %H%M%S'"


def _count(shown: str) -> float | None:
    return pl.Series([shown]).cast(pl.Float64, strict=False)[0]
