"""From the columns of a file to the columns of a chunk: names, numbers, times, and what could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from moola.data.sources import UNREAD, Chunk, nothing_unread
from moola.data.sources.file_times import TimeReader, TimeRules, times_as_text

NO_ROW = "the whole line"
"""`column` in the table of unread cells where the line has no columns to speak of."""


@dataclass(frozen=True)
class FileColumns:
    """Which columns of a file are wanted and how their cells are written.

    Attributes:
        timestamp: column of the times, or of the dates where `time` is given.
        channels: channel -> column, in the order of the channels.
        symbol: column of the series' names; None: the whole file is one series.
        times: how times are written.
        decimal_comma: numbers in text have a comma where others have a point.
        time: column of the time of day, where it stands apart from the date.
    """

    timestamp: str
    channels: dict[str, str]
    symbol: str | None
    times: TimeRules
    decimal_comma: bool
    time: str | None = None

    @property
    def wanted(self) -> list[str]:
        """Every column to read, each once."""
        others = [name for name in (self.time, self.symbol) if name is not None]
        return list(dict.fromkeys([self.timestamp, *others, *self.channels.values()]))

    @property
    def time_name(self) -> str:
        """Where the times stand, for people."""
        return self.timestamp if self.time is None else f"{self.timestamp} {self.time}"

    def times_in(self, frame: pl.DataFrame) -> pl.Series:
        """The cells that hold the times; date and time of day become one text with a blank between."""
        if self.time is None:
            return frame[self.timestamp]
        day, clock = (frame[name].cast(pl.String).str.strip_chars() for name in (self.timestamp, self.time))
        # 93000 would be read as 93:00:0 or, worse, 13000 as 13:00:0: digits alone must keep their leading zero.
        cut = clock.str.contains(r"^(\d{1,3}|\d{5})$").fill_null(False)
        day = day.str.replace(r"[ T]00:00(:00(\.0+)?)?$", "")  # a date that was saved as midnight
        return day + " " + (clock.zip_with(~cut, "?" + clock) if cut.any() else clock)


@dataclass(frozen=True)
class RawRows:
    """Consecutive rows of one file as they stand there.

    Attributes:
        frame: the wanted columns under the file's own names; text is not read yet.
        first_row: as `Chunk.first_row`.
        misfits: rows of `frame` (all null) whose line is no row of this table: position, the line, why.
    """

    frame: pl.DataFrame
    first_row: int
    misfits: Sequence[tuple[int, str, str]] = ()


class ColumnReader:
    """Turns the raw rows of one file into chunks, in order.

    Args:
        columns: what is wanted.
        place: the file, for people.
        series: name of the series where no symbol column gives one.
    """

    def __init__(self, columns: FileColumns, place: str, series: str) -> None:
        self.columns, self.place, self.series = columns, place, series
        self._times = TimeReader(columns.times)

    def chunk(self, raw: RawRows) -> Chunk:
        """Read every cell; a cell that holds no value becomes null and is listed."""
        columns, frame = self.columns, raw.frame
        unread = [_misfit_table(raw.misfits)] if raw.misfits else []
        skipped = pl.Series([row for row, _, _ in raw.misfits], dtype=pl.UInt32)
        joined = columns.times_in(frame)

        def note(column: str, why: pl.Series | None) -> None:
            if why is not None:
                cells = joined if column == columns.time_name else frame[column]
                unread.append(_unread(column, cells, why).filter(~pl.col("row").is_in(skipped.implode())))

        if columns.symbol is None:
            names = pl.Series([self.series]).new_from_index(0, frame.height)
        else:
            names, why = read_names(frame[columns.symbol])
            note(columns.symbol, why)
        times, why = self._times.read(joined, names)
        note(columns.time_name, why)
        values: dict[str, pl.Series] = {}
        for channel, column in columns.channels.items():
            values[channel], why = read_numbers(frame[column], columns.decimal_comma)
            note(column, why)
        table = pl.concat(unread).sort("row", maintain_order=True) if unread else nothing_unread()
        return Chunk(pl.DataFrame({"series": names, "timestamp": times, **values}), self.place, raw.first_row, table)


def read_names(column: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    """Names of series without the blanks around them, and a reason for each row that has none."""
    names = column.cast(pl.String).str.strip_chars()
    names = names.zip_with((names != "").fill_null(False), pl.Series([None], dtype=pl.String))
    if not names.null_count():
        return names, None
    reasons = pl.Series(["names no series"]).new_from_index(0, len(names))
    return names, reasons.zip_with(names.is_null(), pl.Series([None], dtype=pl.String))


def read_numbers(column: pl.Series, decimal_comma: bool = False) -> tuple[pl.Series, pl.Series | None]:
    """Numbers of a column, exactly as Python's ``float`` reads them, and a reason for each cell that holds none.

    ``nan`` and ``inf`` are numbers here: they are judged with the other values. A number too large for 64 bits is none.

    Returns:
        Float64 (Float32 stays what it is), null where unread, and, if any is null, the reason for each null.
    """
    if column.dtype != pl.String:
        values = column if column.dtype.is_float() else column.cast(pl.Float64)
        return values, _number_reasons(column.cast(pl.String), values) if values.null_count() else None
    text = column.str.replace(",", ".", literal=True) if decimal_comma else column
    if decimal_comma:
        text = text.zip_with(~column.str.contains(".", literal=True).fill_null(False), pl.Series(["a point"]))
    values = text.cast(pl.Float64, strict=False)
    if values.null_count() > text.null_count():
        values = text.str.strip_chars().cast(pl.Float64, strict=False)
    overflow = values.is_infinite() & text.str.contains(r"\d")
    if overflow.any():
        values = values.zip_with(~overflow.fill_null(False), pl.Series([None], dtype=pl.Float64))
    return values, _number_reasons(column, values) if values.null_count() else None


def _number_reasons(text: pl.Series, values: pl.Series) -> pl.Series:
    table = pl.DataFrame({"text": text.str.strip_chars(), "null": values.is_null()})
    cell = pl.col("text")
    reason = (
        pl.when(cell.is_null() | (cell == ""))
        .then(pl.lit("is empty"))
        .when(cell.str.contains(r"^[+-]?[\d ,.']*\d,\d[\d ,.']*$"))
        .then(pl.lit("has a comma; write 1234.5, or set data.decimal_comma=true where a comma marks the decimals"))
        .when(cell.cast(pl.Float64, strict=False).is_infinite())
        .then(pl.lit("is too large for a number"))
        .otherwise(pl.lit("is not a number"))
    )
    return table.select(pl.when("null").then(reason).alias("reason"))["reason"]


def _unread(column: str, raw: pl.Series, reasons: pl.Series) -> pl.DataFrame:
    rows = reasons.is_not_null().arg_true()
    return pl.DataFrame(
        {
            "row": rows,
            "column": pl.Series([column]).new_from_index(0, len(rows)),
            "value": times_as_text(raw.gather(rows)).str.slice(0, 80),
            "reason": reasons.gather(rows),
        },
        schema=UNREAD,
    )


def _misfit_table(misfits: Sequence[tuple[int, str, str]]) -> pl.DataFrame:
    rows = [(row, NO_ROW, line[:80], why) for row, line, why in misfits]
    return pl.DataFrame(rows, schema=UNREAD, orient="row")
