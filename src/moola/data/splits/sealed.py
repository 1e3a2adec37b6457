"""A test that is sealed by date: what begins on or after it is looked at once, at the end."""

from __future__ import annotations

import bisect
import datetime
from dataclasses import dataclass

import numpy as np

from moola.data.bar_store import BarStore
from moola.data.splits.purging import Margins, PurgeConfig, too_near
from moola.data.window_index import WindowSpans
from moola.errors import DataError

_DAY_US = 24 * 3600 * 1_000_000


@dataclass(frozen=True)
class SealedByDate(PurgeConfig):
    """The fields of a splitter whose test begins at a date.

    Attributes:
        test_from: when the sealed test begins, ISO 8601: a day or a moment (``"2013-01-01"``,
            ``"2013-01-01T09:30"``); UTC unless it says otherwise.
    """

    test_from: str

    def spans(self, store: BarStore, windows: WindowSpans) -> np.ndarray:
        """As `sealed_spans`."""
        return sealed_spans(store, windows, self.test_from, self.margins)

    def sealing_problems(self) -> tuple[tuple[bool, str], ...]:
        """Rules of these fields, for `moola.config.reject`."""
        return (date_problem(self.test_from), *self.purge_problems())


def sealed_spans(store: BarStore, windows: WindowSpans, test_from: str, margins: Margins) -> np.ndarray:
    """Train: ends before the date, outside the purge. Test: begins on or after it. Windows between are neither.

    Returns:
        ``"train"``, ``"test"`` or ``"excluded"``, str [n_windows].

    Raises:
        DataError: the bars have no dates, or nothing is left to train on or to test on.
    """
    if store.independent:
        raise DataError(
            f"split.test_from={test_from} needs bars on a calendar",
            f"this source has {len(store.series)} independent cases without dates",
            "use split=given_cases, or split=group_folds",
        )
    train, test = _parts(windows, moment_us(test_from), margins)
    if not train.any() or not test.any():
        raise DataError(
            f"split.test_from={test_from} leaves {'no training' if not train.any() else 'no test'} windows",
            f"windows run from {moment_text(windows.first_time.min())} to {moment_text(windows.last_time.max())}",
            _date_that_works(windows, margins),
        )
    return np.where(train, "train", np.where(test, "test", "excluded"))


def _parts(windows: WindowSpans, border_us: int, margins: Margins) -> tuple[np.ndarray, np.ndarray]:
    """Which windows train and which test, bool [n_windows] each, where the test begins at a moment."""
    test = windows.first_time >= border_us
    train = windows.last_time < border_us
    return train & ~too_near(windows, windows[test], margins), test


def _date_that_works(windows: WindowSpans, margins: Margins) -> str:
    """The way out of a date that leaves a part empty: the first and the last that leave none.

    A later date never leaves fewer windows to train on. What trains changes just after a window begins or ends.
    """
    moments = np.unique(np.concatenate([windows.first_time, windows.last_time])) + 1
    found = bisect.bisect_left(moments, True, key=lambda moment: bool(_parts(windows, moment, margins)[0].any()))
    last = int(windows.first_time.max())
    if found == len(moments) or moments[found] > last:
        return "no date would do: give more bars, or shorter windows (data.window.length)"
    first = int(moments[found])
    next_day, last_day = -(-first // _DAY_US) * _DAY_US, last // _DAY_US * _DAY_US
    if next_day <= last_day:  # days are easier to read and to give
        return f"choose a date from {moment_text(next_day)[:10]} to {moment_text(last_day)[:10]} for split.test_from"
    return f"choose a moment from {moment_text(first)} to {moment_text(last)} for split.test_from"


def moment_us(text: str) -> int:
    """ISO 8601 as microseconds since 1970 UTC; a moment without an offset is UTC."""
    moment = datetime.datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment
    return (moment - datetime.datetime.fromtimestamp(0, datetime.UTC)) // datetime.timedelta(microseconds=1)


def moment_text(microseconds: int) -> str:
    """Microseconds since 1970 UTC as ISO 8601; what `moment_us` reads."""
    epoch = datetime.datetime.fromtimestamp(0, datetime.UTC)
    return (epoch + datetime.timedelta(microseconds=int(microseconds))).isoformat()


def date_problem(text: str) -> tuple[bool, str]:
    """Whether a test cannot begin at `text`, and why, for `moola.config.reject`."""
    try:
        moment_us(text)
    except (ValueError, OverflowError):
        return True, f"test_from: '{text}' is not a date such as 2013-01-01 or 2013-01-01T09:30"
    return False, ""
