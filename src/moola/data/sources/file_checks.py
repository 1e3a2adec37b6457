"""What can be said of a file before its rows are streamed: the wanted columns are there and the times read as times."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from moola.data.sources.file_columns import FileColumns
from moola.data.sources.file_times import EPOCH_UNITS, NOT_A_TIME, TimeReader, epoch_unit
from moola.data.sources.problems import Problems
from moola.errors import did_you_mean

PROBED_ROWS = 100
"""Rows of each file that are looked at."""


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
            problems.say(f"{place}: column '{name}' is missing; {_near(name, names)}", _keys(names, columns))
        elif list(names).count(name) > 1:
            problems.say(f"{place}: column '{name}' stands there twice", "rename or remove one of the two")


def _near(name: str, names: Sequence[str]) -> str:
    same = [other for other in names if other.lower() == name.lower()]
    return f"did you mean '{same[0]}'?" if same else did_you_mean(name, names)


def _keys(names: Sequence[str], columns: FileColumns) -> str:
    """The settings that find the near names, ready to be pasted."""

    def guess(column: str, otherwise: str) -> str:
        found = re.search(r"did you mean '(.+?)'", _near(column, names))
        return found[1] if found else otherwise

    keys: list[str] = []
    if columns.timestamp not in names:
        keys.append(f"data.timestamp={guess(columns.timestamp, 'COLUMN')}")
    if columns.symbol is not None and columns.symbol not in names:
        keys.append(f"data.symbol={guess(columns.symbol, 'COLUMN')}")
    lost = {channel: guess(column, "COLUMN") for channel, column in columns.channels.items() if column not in names}
    if lost:
        pairs = ", ".join(f"{channel}: {column}" for channel, column in lost.items())
        keys.append(f"'data.columns={{{pairs}}}' (or leave channels out with data.channels=[...])")
    return "name them with " + " ".join(keys)


def check_times(place: str, rows: pl.DataFrame, columns: FileColumns, problems: Problems) -> None:
    """Whether the times in the first rows of a file read as times, and as times of our age where they are counts.

    Args:
        place: the file.
        rows: the first `PROBED_ROWS` rows.
        columns: what is wanted.
        problems: takes what is wrong.
    """
    column = rows[columns.timestamp].drop_nulls()
    if column.dtype.is_temporal():
        return
    if column.dtype == pl.String:
        column = column.str.strip_chars().replace("", None).drop_nulls()
    name, shown, rules = columns.timestamp, str(column[0])[:80] if len(column) else "0", columns.times
    if column.dtype.is_numeric() and rules.time_format not in EPOCH_UNITS:
        problems.say(*_no_times(place, name, shown))
        return
    if column.is_empty():
        return
    _, reasons = TimeReader(rules).read(column, pl.Series(["?"]).new_from_index(0, len(column)))
    if reasons is not None and (reasons == NOT_A_TIME).fill_null(False).all():
        problems.say(*_no_times(place, name, shown))
    elif rules.time_format in EPOCH_UNITS:
        count = _count(shown)
        unit = epoch_unit(count) if count is not None else None
        if unit not in (None, rules.time_format):
            problems.say(
                f"{place}: column '{name}' begins with {shown}, which is no time of our age in {rules.time_format}",
                f"data.time_format={unit}",
            )


def _no_times(place: str, name: str, shown: str) -> tuple[str, str]:
    """Problem and way out of a column that does not read as times."""
    says = f"{place}: column '{name}' does not read as times, it begins with '{shown}'"
    count = _count(shown)
    if count is not None and not re.fullmatch(r"\d{8}", shown):
        return says, f"data.time_format={epoch_unit(count) or 'epoch_s (or epoch_ms, epoch_us, epoch_ns)'}"
    if re.match(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}", shown):
        return (
            f"{place}: column '{name}': times such as '{shown}' can be read in two ways, day or month first",
            "say which comes first, e.g. data.time_format='%d.%m.%Y %H:%M:%S' or '%m/%d/%Y %H:%M'",
        )
    return says, "use ISO 8601 times such as 2024-01-31 15:45:00, or set data.time_format, e.g. '%Y%m%d %H%M%S'"


def _count(shown: str) -> float | None:
    return pl.Series([shown]).cast(pl.Float64, strict=False)[0]
