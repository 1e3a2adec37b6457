"""A session is what the clock on a wall says it is, on days of 23 and 25 hours too."""

from __future__ import annotations

import datetime
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.data import calendars
from moola.data.calendars import OUTSIDE, WEEK, SessionCalendar
from moola.errors import ConfigError, DataError

HOUR = 3_600_000_000
MINUTE = 60_000_000
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

# Summer time in the north and the south, by half an hour, at midnight; a day that did not exist; none at all.
ZONES = [
    "America/New_York",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Pacific/Apia",
    "Asia/Kolkata",
    "UTC",
]
CHANGES = {  # a moment near a change of the clock; others are drawn around it
    "America/New_York": ["2024-03-10T07:00", "2024-11-03T06:00"],
    "Australia/Sydney": ["2024-04-06T16:00", "2024-10-05T16:00"],
    "Australia/Lord_Howe": ["2024-04-06T15:00", "2024-10-05T15:30"],
    "America/Sao_Paulo": ["2017-10-15T03:00", "2018-02-18T02:00"],
    "Asia/Beirut": ["2022-03-26T22:00", "2022-10-29T21:00"],
    "Pacific/Apia": ["2011-12-30T10:00"],
    "Asia/Kolkata": ["2024-01-01T00:00"],
    "UTC": ["2024-02-29T00:00"],
}
TIMES = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 1, 30, 59]))


def us(text: str) -> int:
    """Microseconds since 1970 of a UTC time."""
    there = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
    return int((there - EPOCH).total_seconds()) * 1_000_000


def ordinal(text: str) -> int:
    return datetime.date.fromisoformat(text).toordinal()


def session_by_the_clock(calendar: SessionCalendar, moment: int) -> int:
    """The session of a whole minute, from the latest time that a clock on the wall has shown until then.

    This is the definition: sessions are counted in times shown, and a clock that is put back shows nothing new.
    """
    there = EPOCH + datetime.timedelta(microseconds=moment)
    zone = ZoneInfo(calendar.timezone)
    minutes = (there - datetime.timedelta(minutes=back) for back in range(26 * 60))
    shown = max(minute.astimezone(zone).replace(tzinfo=None) for minute in minutes)
    for days_ago in (0, 1):
        date = shown.date() - datetime.timedelta(days=days_ago)
        midnight = datetime.datetime.combine(date, datetime.time())
        opens, closes = (
            midnight + datetime.timedelta(hours=int(time[:2]), minutes=int(time[3:]))
            for time in (calendar.open, calendar.close)
        )
        closes += datetime.timedelta(days=int(closes <= opens))
        if opens <= shown < closes and WEEK[date.weekday()] in calendar.days:
            return date.toordinal()
    return OUTSIDE


@st.composite
def calendars_with_moments(draw: st.DrawFn) -> tuple[SessionCalendar, list[int]]:
    """A calendar, and whole minutes close to where its clock is set."""
    zone = draw(st.sampled_from(ZONES))
    days = draw(st.lists(st.sampled_from(WEEK), min_size=1, unique=True))
    close = draw(st.one_of(TIMES, st.just("24:00")))
    calendar = SessionCalendar(zone, draw(TIMES), close, tuple(days) if draw(st.booleans()) else WEEK)
    near = us(draw(st.sampled_from(CHANGES[zone])))
    minutes = draw(st.lists(st.integers(-3 * 1440, 3 * 1440), min_size=1, max_size=4))
    return calendar, [near + minute * MINUTE for minute in minutes]


@given(calendars_with_moments())
def test_sessions_are_those_of_a_clock_on_the_wall(case: tuple[SessionCalendar, list[int]]) -> None:
    calendar, moments = case
    expected = [session_by_the_clock(calendar, moment) for moment in moments]
    assert calendar.sessions(np.array(moments)).tolist() == expected


@given(calendars_with_moments(), st.integers(0, MINUTE - 1))
def test_a_moment_inside_a_minute_lies_in_the_session_of_the_minute(
    case: tuple[SessionCalendar, list[int]], microseconds: int
) -> None:
    calendar, moments = case
    whole = np.array(moments)
    np.testing.assert_array_equal(calendar.sessions(whole + microseconds), calendar.sessions(whole))


@given(calendars_with_moments())
def test_bars_stamped_at_their_end_lie_where_the_moment_before_lies(case: tuple[SessionCalendar, list[int]]) -> None:
    by_start, moments = case
    by_end = SessionCalendar(by_start.timezone, by_start.open, by_start.close, by_start.days, stamped="end")
    stamps = np.array(moments)
    np.testing.assert_array_equal(by_end.sessions(stamps), by_start.sessions(stamps - 1))


@given(calendars_with_moments())
def test_a_session_reaches_from_its_opening_to_its_closing(case: tuple[SessionCalendar, list[int]]) -> None:
    calendar, moments = case
    stamps = np.array(moments)
    sessions = calendar.sessions(stamps)
    inside = sessions != OUTSIDE
    assert np.all(calendar.openings(sessions[inside]) <= stamps[inside])
    assert np.all(stamps[inside] < calendar.closings(sessions[inside]))


@given(calendars_with_moments(), st.integers(1, 3))
def test_looking_at_portions_changes_nothing(case: tuple[SessionCalendar, list[int]], portion: int) -> None:
    calendar, moments = case
    whole = calendar.sessions(np.array(moments))
    with mock.patch.object(calendars, "_PORTION", portion):
        np.testing.assert_array_equal(calendar.sessions(np.array(moments)), whole)


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        ("America/New_York", "2024-03-10", 23),
        ("America/New_York", "2024-11-03", 25),
        ("America/New_York", "2024-06-03", 24),
        ("America/Sao_Paulo", "2017-10-15", 23),  # begins at 01:00, for midnight is skipped
        ("America/Sao_Paulo", "2018-02-17", 25),  # its last hour occurs twice
        ("Australia/Lord_Howe", "2024-04-07", 24.5),
        ("Pacific/Apia", "2011-12-30", 0),  # the day that Samoa left out
    ],
)
def test_a_local_day_is_as_long_as_it_was(zone: str, date: str, hours: float) -> None:
    day, calendar = np.array([ordinal(date)]), SessionCalendar(zone)
    assert (calendar.closings(day) - calendar.openings(day)).tolist() == [hours * HOUR]


def test_a_session_over_midnight_belongs_to_the_evening_it_opens() -> None:
    futures = SessionCalendar("America/New_York", "18:00", "17:00", ("sun", "mon", "tue", "wed", "thu"))
    sunday = ordinal("2024-01-07")
    moments = {
        "2024-01-07T22:59": OUTSIDE,
        "2024-01-07T23:00": sunday,  # 18:00 in New York
        "2024-01-08T05:00": sunday,  # midnight
        "2024-01-08T21:59": sunday,
        "2024-01-08T22:00": OUTSIDE,  # the hour from 17:00
        "2024-01-08T23:00": sunday + 1,
        "2024-01-12T21:59": sunday + 4,
        "2024-01-12T23:00": OUTSIDE,  # no session opens on a Friday
    }
    found = futures.sessions(np.array([us(moment) for moment in moments]))
    assert found.tolist() == list(moments.values())


def test_a_session_may_have_opened_two_days_before_the_date_in_utc() -> None:
    late = SessionCalendar("America/New_York", "23:00", "22:00")
    assert late.sessions(np.array([us("2024-01-10T02:30")])).tolist() == [ordinal("2024-01-08")]


def test_a_skipped_opening_stands_for_the_instant_of_the_change() -> None:
    night = SessionCalendar("America/New_York", "02:30", "04:00")
    day = np.array([ordinal("2024-03-10")])
    assert night.openings(day).tolist() == [us("2024-03-10T07:00")]
    assert night.closings(day).tolist() == [us("2024-03-10T08:00")]


def test_no_timestamps_have_no_sessions() -> None:
    assert SessionCalendar().sessions(np.empty(0, dtype=np.int64)).tolist() == []


def test_a_weekday_without_sessions_leaves_everything_outside() -> None:
    assert SessionCalendar(days=("sat",)).sessions(np.array([us("2024-01-03T12:00")])).tolist() == [OUTSIDE]


@pytest.mark.parametrize("moment", [us("2024-01-01T00:00") * 1_000, -us("2024-01-01T00:00") * 1_000])
def test_times_in_the_wrong_unit_are_refused(moment: int) -> None:
    with pytest.raises(DataError, match="outside the years 2 to 9998"):
        SessionCalendar().sessions(np.array([moment]))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"timezone": "America/NewYork"}, "did you mean 'America/New_York'"),
        ({"timezone": ""}, "timezone: '' is not a timezone"),
        ({"timezone": "../etc/passwd"}, "timezone: '../etc/passwd' is not a timezone"),
        ({"open": "9:30"}, "open: '9:30' is not a time"),
        ({"open": "24:00"}, "open: '24:00' is not a time"),
        ({"close": "25:00"}, "close: '25:00' is not a time"),
        ({"days": ()}, "days: needs at least one"),
        ({"days": ("mon", "mon")}, "holds one twice"),
        ({"days": ("Monday",)}, "days: 'Monday' must be of mon, tue"),
    ],
)
def test_calendars_that_say_nothing_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SessionCalendar(**values)
    assert problem in str(caught.value)


def test_every_problem_of_a_calendar_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        SessionCalendar("Mars", "x", "y", ())
    assert len(caught.value.problems) == 4
