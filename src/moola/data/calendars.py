"""Trading sessions: which session a moment belongs to, on days of 23 and 25 hours too."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from dataclasses import dataclass
from typing import Literal

import numpy as np

from moola.config import reject
from moola.data.durations import UNITS_US
from moola.errors import DataError, did_you_mean

OUTSIDE = -1
"""Session number of a moment in no session."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_PORTION = 1 << 21
_DAY_US = UNITS_US["d"]
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EPOCH_ORDINAL = datetime.date(1970, 1, 1).toordinal()
_FIRST_US = -718_797 * _DAY_US  # from year 2 to year 9998, so that a day more or less is still a date
_PAST_US = 2_932_532 * _DAY_US
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True)
class SessionCalendar:
    """Sessions by the clock of one timezone; each is named by the local date on which it opens.

    A session runs from `open` to `close`. Where `close` is not later than `open` it runs over midnight and belongs to
    the evening it opens: futures from 18:00 to 17:00 New York that open on Sunday evening are the Sunday session, so
    `days` is ``[sun, mon, tue, wed, thu]``. From 00:00 to 24:00 every local day is a session.

    A clock that is set does not move a session: it opens at the first instant at which the local clock shows `open`
    or later, and closes by the same rule. An hour that occurs twice lies in the session whole; a time that is skipped
    stands for the instant of the change.

    Attributes:
        timezone: IANA name, such as ``America/New_York``.
        open: local time, ``HH:MM``; in YAML in quotes, for YAML takes 18:00 for the number 1080.
        close: local time, ``HH:MM`` up to ``24:00``.
        days: weekdays on which sessions open.
        stamped: what a bar's timestamp is. ``start``: sessions hold [open, close); ``end``: (open, close].
    """

    timezone: str = "UTC"
    open: str = "00:00"
    close: str = "24:00"
    days: tuple[Weekday, ...] = WEEK
    stamped: Literal["start", "end"] = "start"

    def __post_init__(self) -> None:
        unknown = [day for day in self.days if day not in WEEK]
        reject(
            (not _known(self.timezone), f"timezone: {_unknown_zone(self.timezone)}"),
            (not _TIME.fullmatch(self.open), f"open: '{self.open}' is not a time such as 09:30"),
            (
                not (_TIME.fullmatch(self.close) or self.close == "24:00"),
                f"close: '{self.close}' is not a time such as 16:00, at most 24:00",
            ),
            (not self.days, "days: needs at least one"),
            (bool(unknown), f"days: {', '.join(map(repr, unknown))} must be of {', '.join(WEEK)}"),
            (len(set(self.days)) < len(self.days), f"days: {list(self.days)} holds one twice"),
        )

    def sessions(self, timestamps: np.ndarray) -> np.ndarray:
        """The session of each moment: the ordinal of its local opening date (`datetime.date.fromordinal`).

        Args:
            timestamps: int64 [n], microseconds since 1970 UTC, in any order.

        Returns:
            int64 [n]; `OUTSIDE` where a moment lies in no session. Other memory does not grow with n.

        Raises:
            DataError: a timestamp lies outside the years 2 to 9998.
        """
        found = np.empty(len(timestamps), dtype=np.int64)
        for begin in range(0, len(timestamps), _PORTION):
            part = slice(begin, begin + _PORTION)
            found[part] = self._sessions(np.asarray(timestamps[part]))
        return found

    def openings(self, sessions: np.ndarray) -> np.ndarray:
        """When sessions open, int64 [n] microseconds since 1970 UTC, for session numbers int64 [n]."""
        return self._instants(sessions, self.open, 0)

    def closings(self, sessions: np.ndarray) -> np.ndarray:
        """When sessions close, int64 [n] microseconds since 1970 UTC, for session numbers int64 [n]."""
        close, days_later = ("00:00", 1) if self.close == "24:00" else (self.close, int(self.close <= self.open))
        return self._instants(sessions, close, days_later)

    def _sessions(self, timestamps: np.ndarray) -> np.ndarray:
        """`sessions` of one portion that is not empty."""
        candidates = self._candidates(timestamps)
        if not len(candidates):
            return np.full(len(timestamps), OUTSIDE, dtype=np.int64)
        openings, closings = self.openings(candidates), self.closings(candidates)
        if self.stamped == "start":
            latest = np.searchsorted(openings, timestamps, side="right") - 1
            inside = timestamps < closings[latest]
        else:
            latest = np.searchsorted(openings, timestamps, side="left") - 1
            inside = timestamps <= closings[latest]
        return np.where((latest >= 0) & inside, candidates[latest], OUTSIDE)

    def _candidates(self, timestamps: np.ndarray) -> np.ndarray:
        """Session numbers, int64 ascending, that could hold any of the moments.

        Local and UTC dates differ by a day at most, and a session ends on its own date or the next.
        """
        first, last = int(timestamps.min()), int(timestamps.max())
        if first < _FIRST_US or last >= _PAST_US:
            raise DataError(
                "timestamps lie outside the years 2 to 9998",
                f"microseconds since 1970 run from {first} to {last}",
                "mend the times of the source, or their unit",
            )
        base = first // _DAY_US - 2
        present = np.zeros(last // _DAY_US - base + 2, dtype=bool)
        present[timestamps // _DAY_US - base] = True
        near = present.copy()
        for days_away in (-2, -1, 1):
            near |= np.roll(present, days_away)  # the margins of `present` are empty
        ordinals = np.flatnonzero(near) + base + _EPOCH_ORDINAL
        return ordinals[np.isin((ordinals - 1) % 7, [WEEK.index(day) for day in self.days])]

    def _instants(self, sessions: np.ndarray, time: str, days_later: int) -> np.ndarray:
        """When the local clock first shows `time` or later, `days_later` than each session's date."""
        zone = zoneinfo.ZoneInfo(self.timezone)
        clock = datetime.time.fromisoformat(time)
        dates, which = np.unique(sessions, return_inverse=True)
        instants = [
            _first_instant(datetime.datetime.combine(datetime.date.fromordinal(date + days_later), clock), zone)
            for date in dates.tolist()
        ]
        return np.array(instants, dtype=np.int64)[which]


def _first_instant(local: datetime.datetime, zone: zoneinfo.ZoneInfo) -> int:
    """Microseconds since 1970 UTC of the first instant at which the clock of `zone` shows `local` or later."""
    there = local.replace(tzinfo=zone)  # fold=0: the first of two
    instant = _instant(there)
    if _shown(instant, zone) == local:
        return instant
    # The clock skips `local`. Read with the offset from before the change it lies after the change, and the other way
    # round, so the change lies between the two readings; offsets are whole seconds.
    low, high = _instant(there.replace(fold=1)), instant
    while high - low > 1_000_000:
        middle = low + (high - low) // 2_000_000 * 1_000_000
        low, high = (low, middle) if _shown(middle, zone) > local else (middle, high)
    return high


def _instant(there: datetime.datetime) -> int:
    """Microseconds since 1970 UTC of a time with a zone."""
    return (there.astimezone(datetime.UTC) - _EPOCH) // datetime.timedelta(microseconds=1)


def _shown(instant: int, zone: zoneinfo.ZoneInfo) -> datetime.datetime:
    """What the clock of `zone` shows at an instant, as a time without zone."""
    return (_EPOCH + datetime.timedelta(microseconds=instant)).astimezone(zone).replace(tzinfo=None, fold=0)


def _known(timezone: str) -> bool:
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _unknown_zone(timezone: str) -> str:
    known = "" if _known(timezone) else did_you_mean(timezone, zoneinfo.available_timezones())
    near = known if known.startswith("did") else "write an IANA name such as America/New_York"
    return f"'{timezone}' is not a timezone; {near}"
