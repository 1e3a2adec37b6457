"""Time must go forward inside a series; one row that leaps ahead does not condemn those after it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

LOOK_AHEAD = 2
"""Rows of its series that must be known before a row can be judged."""

_NEVER = np.iinfo(np.int64).min


class Order(IntEnum):
    """What the time of a row is."""

    FORWARD = 0
    LATE = 1
    DUPLICATE = 2
    AHEAD = 3


@dataclass
class TimeOrder:
    """Judges the rows of one series as they come, each against the last good row before it.

    A row is *ahead* when the two rows after it are in order between themselves, later than the row before it, and
    earlier than it: then it is the odd one out (a year typed wrong), not they. A row that is not ahead is *late* when
    it is earlier than the latest row that is neither, and a *duplicate* when it has the same time. So a single leap
    costs one row. Two leaps in a row cannot be told from a series that goes back, and every row up to the time they
    leapt to is late: far too many, which is counted and, in quarantine, refused (`QualityConfig.max_bad_share`).

    Attributes:
        before: time of the last row judged, in microseconds.
        latest: time of the latest good row.
    """

    before: int = _NEVER
    latest: int = _NEVER

    def judge(self, times: np.ndarray, n: int) -> np.ndarray:
        """Judge the first `n` rows and take note of them.

        Args:
            times: int64 [n_rows]; the rows after the first `n` are looked at and will come again.
            n: ``n_rows - LOOK_AHEAD``, or ``n_rows`` at the end of the series.

        Returns:
            int8 [n], an `Order` each.
        """
        order = np.full(n, Order.FORWARD, dtype=np.int8)
        if not n:
            return order
        if times[0] > self.latest and (times[1:] > times[:-1]).all():  # nearly always
            self.before = self.latest = int(times[n - 1])
            return order
        ahead = self._leaps(times)[:n]
        good = np.where(ahead, _NEVER, times[:n])
        latest = np.maximum.accumulate(np.concatenate([[self.latest], good]))
        order[times[:n] < latest[:-1]] = Order.LATE
        order[times[:n] == latest[:-1]] = Order.DUPLICATE
        order[ahead] = Order.AHEAD
        self.before, self.latest = int(times[n - 1]), int(latest[-1])
        return order

    def _leaps(self, times: np.ndarray) -> np.ndarray:
        """Whether each row, [n_rows], leaps ahead of the two after it; False where these are not known."""
        before = np.concatenate([[self.before], times[:-1]])
        leaps = np.zeros(len(times), dtype=bool)
        this, first, second = times[:-2], times[1:-1], times[2:]
        leaps[:-2] = (before[:-2] < first) & (first <= second) & (second < this)
        return leaps
