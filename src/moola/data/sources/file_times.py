"""Times in files: ISO 8601, a format of the user's or a count since 1970, in a stated time zone, made UTC."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import dataclass
from typing import Literal

import polars as pl

from moola.schemas import TIMESTAMP

Ambiguous = Literal["refuse", "earliest", "latest", "order"]

EPOCH_UNITS = {"epoch_s": 1_000_000_000, "epoch_ms": 1_000_000, "epoch_us": 1_000, "epoch_ns": 1}
"""Names of the counts since 1970 -> nanoseconds of one unit."""

FIRST_YEAR, LAST_YEAR = 1678, 2261
"""Whole years that a 64-bit count of nanoseconds holds; a time outside stands for no time, as 0001 and 9999 do."""

_EARLIEST = int(datetime.datetime(FIRST_YEAR, 1, 1, tzinfo=datetime.UTC).timestamp())
_LATEST = int(datetime.datetime(LAST_YEAR + 1, 1, 1, tzinfo=datetime.UTC).timestamp()) - 1

_OUT_OF_RANGE = f"lies outside the years {FIRST_YEAR} to {LAST_YEAR}"

_OFFSET = r" ?(?:Z|[+-]\d{2}(?::?\d{2})?)"
_CLOCK = r"[ T]\d{2}:\d{2}(?::[0-5]\d(?:\.\d{1,9})?)?"
_ISO = rf"^\d{{4}}[-/]\d{{2}}[-/]\d{{2}}(?:{_CLOCK}(?:{_OFFSET})?)?$"
_ISO_WITH_OFFSET = rf":\d{{2}}(?:\.\d+)?{_OFFSET}$"
_CLOCKS = [f"%Y-%m-%d{'T' if t else ' '}%H:%M{seconds}" for seconds in (":%S%.f", "") for t in (False, True)]
_LOCAL = [*_CLOCKS, "%Y-%m-%d"]

NOT_A_TIME = "is not a time"
"""The reason for a cell that the time format does not fit, as opposed to a time that cannot be placed."""

_SAME_FOLD_US = 86_400_000_000


@dataclass(frozen=True)
class TimeRules:
    """How a file writes its times.

    Attributes:
        time_format: None for ISO 8601, a key of `EPOCH_UNITS`, or a strptime format.
        timezone: of times that name no offset.
        ambiguous: what a local time means that occurs twice when clocks go back: an unread cell, the first or the
            second occurrence, or the second once the file's own order has stepped back inside the hour.
    """

    time_format: str | None = None
    timezone: str = "UTC"
    ambiguous: Ambiguous = "refuse"


def is_time_format(text: str) -> bool:
    """Whether a format is a key of `EPOCH_UNITS`, or writes a day and reads the same day back."""
    if text in EPOCH_UNITS:
        return True
    day = datetime.datetime(2001, 2, 3)
    try:
        zone = "UTC" if "z" in text else None
        written = pl.Series([day]).dt.replace_time_zone(zone).dt.to_string(text)
        return _parsed(written, text).dt.replace_time_zone(None).to_list() == [day]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False


def epoch_unit(value: float) -> str | None:
    """The unit in which a count since 1970 falls between 1990 and 2100; None if there is none."""
    year_s = 31_556_952
    return next(
        (name for name, ns in EPOCH_UNITS.items() if 20 * year_s <= value * ns / 1e9 < 130 * year_s),
        None,
    )


class TimeReader:
    """Reads the time column of one file, chunk after chunk.

    It remembers whether the file's times carry an offset, since a file that mixes both is not to be trusted, and where
    in a doubled hour each series stands.
    """

    def __init__(self, rules: TimeRules) -> None:
        self.rules = rules
        self._has_offset: bool | None = None
        self._formats = list(_LOCAL)
        self._fold: dict[str | None, tuple[int, bool]] = {}

    def read(self, column: pl.Series, series: pl.Series) -> tuple[pl.Series, pl.Series | None]:
        """UTC times of a column.

        Args:
            column: text, a date, a time stamp or a count, [n_rows].
            series: name of the series of each row, [n_rows].

        Returns:
            Times (UTC, microseconds; null where unread) and, if any is null, the reason for each null.
        """
        if column.dtype.is_numeric() or (column.dtype == pl.String and self.rules.time_format in EPOCH_UNITS):
            return self._counted(column)
        if column.dtype == pl.String:
            return self._written(column, series)
        if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is not None:
            return _fixed(column, column)
        local = column if isinstance(column.dtype, pl.Datetime) else column.cast(pl.Datetime("ms"))
        return self._placed(column, local, series)

    def _counted(self, column: pl.Series) -> tuple[pl.Series, pl.Series | None]:
        unit_ns = EPOCH_UNITS[self.rules.time_format or ""]
        if column.dtype == pl.String:
            column = column.str.strip_chars()
        numbers = column.cast(pl.Float64, strict=False).fill_nan(None)
        inside = numbers.is_between(_EARLIEST * (1e9 / unit_ns), _LATEST * (1e9 / unit_ns))
        micros = _only((numbers * (unit_ns / 1000)).round(), inside).cast(pl.Int64)
        if not column.dtype.is_float():  # a whole number has digits that a float may lack
            whole = _only(column.cast(pl.Int64, strict=False), inside)
            exact = whole * (unit_ns // 1000) if unit_ns >= 1000 else whole // 1000
            micros = exact.zip_with(exact.is_not_null(), micros)
        times = micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return times, _because(_reasons(column, times), numbers.is_not_null() & ~inside, _OUT_OF_RANGE)

    def _written(self, column: pl.Series, series: pl.Series) -> tuple[pl.Series, pl.Series | None]:
        if self.rules.time_format is not None:
            times = _parsed(column, self.rules.time_format)
            if times.null_count() > column.null_count():
                column = column.str.strip_chars()
                times = _parsed(column, self.rules.time_format)
            if times.dtype == TIMESTAMP:
                return _fixed(column, times)
            return self._placed(column, times, series)
        text = column.str.strip_chars()
        fits = text.str.contains(_ISO)
        offset = fits & text.str.contains(_ISO_WITH_OFFSET)
        return self._one_kind(text, self._iso(_only(text, fits & ~offset)), _with_offset(_only(text, offset)), series)

    def _iso(self, text: pl.Series) -> pl.Series:
        """Local times of ISO texts; the format that fitted last is tried first."""
        if text.null_count() == len(text):
            return text.cast(pl.Datetime("us"))
        dashed = text.str.replace_all("/", "-", literal=True)
        times = _parsed(dashed, self._formats[0])
        if times.null_count() > dashed.null_count():
            fitting = [form for form in self._formats if _parsed(dashed, form).is_not_null().any()]
            self._formats = fitting + [form for form in self._formats if form not in fitting]
            times = _first_fit(dashed, fitting or self._formats[:1])
        return times

    def _one_kind(
        self, text: pl.Series, local: pl.Series, fixed: pl.Series, series: pl.Series
    ) -> tuple[pl.Series, pl.Series | None]:
        """Times without or with an offset: of the kind that the file began with; the other kind is not read."""
        if self._has_offset is None and (local.null_count() < len(local) or fixed.null_count() < len(fixed)):
            self._has_offset = fixed[(local.is_not_null() | fixed.is_not_null()).arg_max() or 0] is not None
        if self._has_offset:
            times, reasons = _fixed(text, fixed)
            return times, _because(reasons, local.is_not_null(), "has no UTC offset, unlike the file's first time")
        times, reasons = self._placed(text, local, series)
        return times, _because(reasons, fixed.is_not_null(), "has a UTC offset, unlike the file's first time")

    def _placed(self, raw: pl.Series, local: pl.Series, series: pl.Series) -> tuple[pl.Series, pl.Series | None]:
        """Local times at their place in UTC."""
        zone, reasons = self.rules.timezone, _reasons(raw, local)
        local, outside = _bounded(local)
        reasons = _because(reasons, outside, _OUT_OF_RANGE)
        if zone == "UTC":
            return local.dt.replace_time_zone("UTC"), reasons
        choice = {"refuse": "null", "order": "earliest"}.get(self.rules.ambiguous, self.rules.ambiguous)
        times = _to_utc(local, zone, choice)
        if self.rules.ambiguous == "order":
            times = self._by_order(times, _to_utc(local, zone, "latest"), series)
        if times.null_count() > local.null_count():
            lost = times.is_null() & local.is_not_null()
            exists = _to_utc(local, zone, "earliest").is_not_null()
            how = "set data.ambiguous=order (told by the order of the rows), earliest or latest"
            doubled = f"occurs twice in {zone} when clocks go back; {how}"
            reasons = _because(reasons, lost & exists, doubled)
            reasons = _because(reasons, lost & ~exists, f"does not exist in {zone}: clocks go forward over it")
        return times, reasons

    def _by_order(self, first: pl.Series, second: pl.Series, series: pl.Series) -> pl.Series:
        """In a doubled hour, the second occurrence from where the times of a series have stepped back."""
        rows = (first != second).fill_null(False).arg_true()
        later: list[int] = []
        for row, name, time in zip(rows, series.gather(rows), first.gather(rows).to_physical(), strict=True):
            before, passed = self._fold.get(name, (time - 2 * _SAME_FOLD_US, False))
            passed = time - before < _SAME_FOLD_US and (passed or time <= before)
            self._fold[name] = (time, passed)
            if passed:
                later.append(row)
        return first.scatter(later, second.gather(later)) if later else first


def _parsed(text: pl.Series, form: str) -> pl.Series:
    return text.str.to_datetime(form, time_unit="us", strict=False)


def _first_fit(text: pl.Series, formats: list[str]) -> pl.Series:
    times = _parsed(text, formats[0])
    for form in itertools.islice(formats, 1, None):
        if times.null_count() == text.null_count():
            break
        times = times.zip_with(times.is_not_null(), _parsed(text, form))
    return times


def _with_offset(text: pl.Series) -> pl.Series:
    if text.null_count() == len(text):
        return text.cast(TIMESTAMP)
    return _first_fit(text.str.replace_all("/", "-", literal=True), [f"{clock}%#z" for clock in _CLOCKS])


def _only(values: pl.Series, where: pl.Series) -> pl.Series:
    return values if where.all(ignore_nulls=False) else values.zip_with(where.fill_null(False), values.clear(1))


def _to_utc(local: pl.Series, zone: str, ambiguous: str) -> pl.Series:
    placed = local.dt.replace_time_zone(zone, ambiguous=ambiguous, non_existent="null")  # type: ignore[arg-type]
    return placed.dt.convert_time_zone("UTC")


def _reasons(raw: pl.Series, values: pl.Series) -> pl.Series | None:
    """Why each null of `values` is one, as far as the cell alone tells; None without a null."""
    if not values.null_count():
        return None
    empty = raw.is_null() | (raw == "") if raw.dtype == pl.String else raw.is_null()
    table = pl.DataFrame({"empty": empty, "null": values.is_null()})
    words = pl.when("empty").then(pl.lit("is empty")).otherwise(pl.lit(NOT_A_TIME))
    return table.select(pl.when("null").then(words).alias("reason"))["reason"]


def _because(reasons: pl.Series | None, where: pl.Series, words: str) -> pl.Series | None:
    """`reasons` with other words where `where` is true."""
    if not where.any():
        return reasons
    if reasons is None:
        reasons = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(where))
    return reasons.zip_with(~where.fill_null(False), pl.Series([words]))


def _fixed(raw: pl.Series, times: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    """Times that have a time zone of their own, in UTC."""
    kept, outside = _bounded(times)
    return kept.dt.convert_time_zone("UTC"), _because(_reasons(raw, times), outside, _OUT_OF_RANGE)


def _bounded(times: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Times in microseconds, null outside the years that are kept, and where that is so; polars panics beyond some."""
    per_s = {"ms": 10**3, "us": 10**6, "ns": 10**9}[times.dtype.time_unit]  # type: ignore[attr-defined]
    outside = ~times.to_physical().is_between(_EARLIEST * per_s, _LATEST * per_s)
    kept = _only(times, ~outside) if outside.any() else times
    return kept.cast(pl.Datetime("us", times.dtype.time_zone)), outside  # type: ignore[attr-defined]


def times_as_text(column: pl.Series) -> pl.Series:
    """Times for people; the bare count where there is no calendar for it."""
    if not isinstance(column.dtype, pl.Datetime):
        return column.cast(pl.String)
    return _bounded(column)[0].cast(pl.String).fill_null(column.to_physical().cast(pl.String))
