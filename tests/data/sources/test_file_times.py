"""Times in files: what every spelling means in UTC, and which are not read."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.data.sources.file_times import (
    FIRST_YEAR,
    LAST_YEAR,
    TimeReader,
    TimeRules,
    epoch_unit,
    is_time_format,
    times_as_text,
)

UTC = datetime.UTC
NEW_YORK = "America/New_York"


def read(cells: list[str | None], rules: TimeRules | None = None, series: list[str] | None = None) -> list[object]:
    """The time of each cell, or the reason why it has none."""
    names = pl.Series(series or ["x"] * len(cells))
    times, reasons = TimeReader(rules or TimeRules()).read(pl.Series(cells, dtype=pl.String), names)
    assert times.dtype == pl.Datetime("us", "UTC")
    told = reasons.to_list() if reasons is not None else [None] * len(cells)
    assert [time is None for time in times] == [reason is not None for reason in told]
    return [reason if time is None else time.astimezone(UTC) for time, reason in zip(times, told, strict=True)]


MOMENTS = st.datetimes(datetime.datetime(FIRST_YEAR, 1, 2), datetime.datetime(LAST_YEAR, 12, 30))
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))


@given(st.lists(MOMENTS, min_size=1, max_size=5), st.sampled_from([" ", "T"]))
def test_local_iso_times_mean_what_python_reads(moments: list[datetime.datetime], between: str) -> None:
    assert read([moment.isoformat(between) for moment in moments]) == [moment.replace(tzinfo=UTC) for moment in moments]


@given(st.lists(st.tuples(MOMENTS, OFFSETS), min_size=1, max_size=5), st.sampled_from([" ", "T"]))
def test_iso_times_with_an_offset_mean_what_python_reads(
    parts: list[tuple[datetime.datetime, datetime.timezone]], between: str
) -> None:
    moments = [moment.replace(tzinfo=offset) for moment, offset in parts]
    assert read([moment.isoformat(between) for moment in moments], TimeRules(timezone=NEW_YORK)) == moments


# Before 1971 and far ahead the tables of time zones differ.
NEAR_MOMENTS = st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(2030, 1, 1))


@given(NEAR_MOMENTS, st.sampled_from([NEW_YORK, "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "EST"]))
def test_a_local_time_that_occurs_once_is_placed_as_the_standard_library_places_it(
    moment: datetime.datetime, zone: str
) -> None:
    first, second = (moment.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
    (found,) = read([moment.isoformat()], TimeRules(timezone=zone))
    if first == second:
        assert found == first
    else:
        assert isinstance(found, str) and ("occurs twice" in found or "does not exist" in found)


@pytest.mark.parametrize(
    ("cell", "utc"),
    [
        ("2024-07-01", "2024-07-01T00:00"),
        ("2024-07-01 12:00", "2024-07-01T12:00"),
        ("2024/07/01 12:00:00", "2024-07-01T12:00"),
        ("  2024-07-01T12:00:00.000000 ", "2024-07-01T12:00"),
        ("2024-07-01T12:00:00.123456789", "2024-07-01T12:00:00.123456"),
        ("2024-07-01T12:00Z", "2024-07-01T12:00"),
        ("2024-07-01 12:00:00+02", "2024-07-01T10:00"),
        ("2024-07-01 12:00:00 +0200", "2024-07-01T10:00"),
        ("2024/07/01 12:00:00-05:30", "2024-07-01T17:30"),
    ],
)
def test_other_spellings_of_iso_8601_are_read(cell: str, utc: str) -> None:
    assert read([cell]) == [datetime.datetime.fromisoformat(utc).replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    "cell",
    [
        *("24-01-01", "2024-1-1", "2024-02-30", "2024-01-01 24:00:00", "2024-01-01 12:00:60", "2024-01-01 12", "12:00"),
        *("2024-01-0112:00:00", "2024-01-01 12:00:00 EST", "2024-01-01x", "+2024-01-01", "1704067200", "now"),
    ],
)
def test_what_is_no_iso_time_is_not_guessed(cell: str) -> None:
    assert read(["2024-01-01", cell])[1] == "is not a time"


def test_spellings_may_change_from_row_to_row() -> None:
    cells = ["2024-01-01", "2024-01-01 00:01", "2024-01-01T00:02:00", None, "2024-01-01 00:03:00.5", " "]
    found = read([*cells, *cells])
    assert found[3] == found[5] == "is empty"
    assert found[4] == datetime.datetime(2024, 1, 1, 0, 3, 0, 500_000, UTC)
    assert found[:6] == found[6:]


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK])
def test_times_with_and_without_an_offset_do_not_mix(zone: str) -> None:
    local, fixed = "2024-01-01 12:00:00", "2024-01-01 12:00:00+01:00"
    rules = TimeRules(timezone=zone)
    assert read([local, fixed, local], rules)[1] == "has a UTC offset, unlike the file's first time"
    assert read(["", fixed, local], rules)[2] == "has no UTC offset, unlike the file's first time"
    reader, name = TimeReader(rules), pl.Series(["x"])
    for cell, told in ((fixed, None), (local, "has no UTC offset, unlike the file's first time"), (fixed, None)):
        reasons = reader.read(pl.Series([cell]), name)[1]  # the second chunk remembers the first
        assert (reasons[0] if reasons is not None else None) == told


def test_the_hour_that_occurs_twice_is_not_read_unless_told_which_is_meant() -> None:
    cell = "2024-11-03 01:30:00"
    (told,) = read([cell], TimeRules(timezone=NEW_YORK))
    assert told is not None and told.startswith(f"occurs twice in {NEW_YORK} when clocks go back; ")
    assert all(choice in told for choice in ("data.ambiguous=order", "earliest", "latest"))
    assert read([cell], TimeRules(timezone=NEW_YORK, ambiguous="earliest")) == [
        datetime.datetime(2024, 11, 3, 5, 30, tzinfo=UTC)
    ]
    assert read([cell], TimeRules(timezone=NEW_YORK, ambiguous="latest")) == [
        datetime.datetime(2024, 11, 3, 6, 30, tzinfo=UTC)
    ]


@given(st.integers(1, 40), st.integers(1, 13), st.sampled_from([NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe"]))
def test_the_order_of_rows_tells_the_two_hours_apart_wherever_chunks_end(
    chunk_rows: int, step_minutes: int, zone: str
) -> None:
    start = {NEW_YORK: (11, 3, 4), "Europe/Berlin": (10, 26, 23), "Australia/Lord_Howe": (4, 6, 13)}[zone]
    begin = datetime.datetime(2024, *start, tzinfo=UTC)
    moments = [begin + datetime.timedelta(minutes=step_minutes * i) for i in range(5 * 60 // step_minutes)]
    cells = [moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S") for moment in moments]
    assert cells != sorted(cells)
    reader = TimeReader(TimeRules(timezone=zone, ambiguous="order"))
    found: list[datetime.datetime] = []
    for row in range(0, 2 * len(cells), 2 * chunk_rows):  # two series in turn
        rows = [cell for cell in cells for _ in "ab"][row : row + 2 * chunk_rows]
        names = (["a", "b"] * len(cells))[row : row + 2 * chunk_rows]
        found += reader.read(pl.Series(rows), pl.Series(names))[0].to_list()
    assert found[::2] == found[1::2] == moments


@pytest.mark.parametrize(
    ("form", "per_s"), [("epoch_s", 1), ("epoch_ms", 10**3), ("epoch_us", 10**6), ("epoch_ns", 10**9)]
)
def test_counts_since_1970_are_read_to_the_microsecond(form: str, per_s: int) -> None:
    moment = datetime.datetime(2024, 1, 2, 9, 30, 1, tzinfo=UTC)
    count = int(moment.timestamp()) * per_s
    rules = TimeRules(time_format=form, timezone=NEW_YORK)
    assert read([str(count), f" {count} ", f"{count}.0"], rules) == [moment] * 3
    times, reasons = TimeReader(rules).read(pl.Series([count]), pl.Series(["x"]))
    assert times.to_list() == [moment] and reasons is None


@given(st.integers(-9_000_000_000_000_000, 9_000_000_000_000_000))
def test_no_digit_of_a_count_is_lost(micros: int) -> None:
    moment = datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(microseconds=micros)
    assert read([str(micros)], TimeRules(time_format="epoch_us")) == [moment]


def test_fractions_of_a_count_are_kept() -> None:
    found = read(["1704187801.25", "0.000001", "-1.5"], TimeRules(time_format="epoch_s"))
    assert [time.timestamp() for time in found if isinstance(time, datetime.datetime)] == [
        1704187801.25,
        0.000001,
        -1.5,
    ]


@pytest.mark.parametrize("cell", ["abc", "nan", "1,5", "2024-01-01"])
def test_what_is_no_count_is_not_read(cell: str) -> None:
    assert read([cell], TimeRules(time_format="epoch_s")) == ["is not a time"]


@pytest.mark.parametrize("cell", ["1e300", "inf", "-inf", "99999999999999999999", str(2**63 - 1), str(-(2**63))])
def test_counts_beyond_the_calendar_are_not_read(cell: str) -> None:
    for form in ("epoch_s", "epoch_ms", "epoch_us"):
        assert read([cell], TimeRules(time_format=form)) == ["lies outside the years 1678 to 2261"]


@pytest.mark.parametrize("cell", ["0001-01-01", "1677-12-31", "2262-01-01", "9999-12-31 23:59:59"])
def test_years_that_stand_for_no_time_are_not_read(cell: str) -> None:
    assert read([cell]) == ["lies outside the years 1678 to 2261"]


@pytest.mark.parametrize(
    ("form", "cell", "utc"),
    [
        ("%d.%m.%Y %H:%M:%S", "31.01.2024 15:45:00", "2024-01-31T15:45"),
        ("%m/%d/%Y %I:%M %p", "01/31/2024 03:45 PM", "2024-01-31T15:45"),
        ("%Y%m%d %H%M%S", "20240131 154500", "2024-01-31T15:45"),
        ("%Y%m%d", "20240131", "2024-01-31T00:00"),
        ("%Y%m%d-%H:%M:%S%.f", "20240131-15:45:00.250", "2024-01-31T15:45:00.250"),
        ("%d.%m.%Y %H:%M:%S%z", "31.01.2024 15:45:00+0100", "2024-01-31T14:45"),
    ],
)
def test_a_format_of_the_users_is_read_and_nothing_else(form: str, cell: str, utc: str) -> None:
    assert is_time_format(form)
    found = read([cell, f" {cell} ", "31-01-2024", None], TimeRules(time_format=form))
    moment = datetime.datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert found == [moment, moment, "is not a time", "is empty"]


@pytest.mark.parametrize("form", ["%H:%M", "%m/%d", "%Y", "today", "", "%q", "%", "epoch"])
def test_a_format_that_gives_no_day_is_none(form: str) -> None:
    assert not is_time_format(form)


def test_the_unit_of_a_count_is_told_from_its_size() -> None:
    seconds = 1_704_187_800
    units = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
    assert {name: epoch_unit(seconds * scale) for name, scale in units.items()} == {name: name for name in units}
    assert [epoch_unit(value) for value in (0, 3600, -seconds, float("nan"), float("inf"))] == [None] * 5


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK])
@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("aware", [False, True])
def test_stamps_beyond_the_calendar_are_not_read_and_break_nothing(zone: str, unit: str, aware: bool) -> None:
    kind = pl.Datetime(unit, "Asia/Tokyo" if aware else None)  # type: ignore[arg-type]
    column = pl.Series([2**62, -(2**63) + 1, 0, None]).cast(kind)
    for choice in ("refuse", "order"):
        rules = TimeRules(timezone=zone, ambiguous=choice)
        times, reasons = TimeReader(rules).read(column, pl.Series(["x"] * 4))
        assert times.is_not_null().to_list() == [False, False, True, False]
        assert reasons is not None
        assert reasons.to_list() == ["lies outside the years 1678 to 2261"] * 2 + [None, "is empty"]
    assert times_as_text(column)[0] == ("4611686018427387904")
