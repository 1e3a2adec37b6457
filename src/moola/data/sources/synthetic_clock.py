"""When a synthetic market trades and in which regime: sessions, holidays, gaps and the Markov chain, without prices.

Time is cut into blocks of whole days. Each block draws from streams of its own, so asking for more bars only adds
blocks.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from moola.data.calendars import WEEK, SessionCalendar

MINUTE_US = 60_000_000
_BLOCK_BARS, _BLOCK_DAYS = 1 << 16, 1024
"""About as many minutes as the second cache holds of ten columns; and no more days, however short they are."""


def stream(seed: int, purpose: str, symbol: str, block: int) -> np.random.Generator:
    """Random numbers for one purpose, symbol and block; the same whenever they are asked for."""
    name = f"{seed}/{purpose}/{block}/{symbol}"
    return np.random.Generator(np.random.SFC64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")))


@dataclass(frozen=True)
class RegimePath:
    """Runs of regimes that fill the minutes of a block.

    Attributes:
        regimes: int64 [n_runs], numbers of the regimes.
        directions: int64 [n_runs], +1 or -1, the sign of the drift.
        lengths: int64 [n_runs], minutes; they sum to the minutes of the block.
        goes_on: the first run began in the block before.
        left: minutes of the last run that fall into the next block.
    """

    regimes: np.ndarray
    directions: np.ndarray
    lengths: np.ndarray
    goes_on: bool
    left: int

    def over_minutes(self, values: Sequence[float], signed: bool = False) -> np.ndarray:
        """The value of each minute's regime, float64 [n_minutes]; times its direction where `signed`."""
        of_runs = np.array(values)[self.regimes]
        return np.repeat(of_runs * self.directions if signed else of_runs, self.lengths)

    @classmethod
    def draw(cls, rng: np.random.Generator, mean_bars: Sequence[float], n_minutes: int, before: Self | None) -> Self:
        """Runs of geometric lengths over `n_minutes`; after a run comes any other regime with equal probability.

        Args:
            rng: of this block.
            mean_bars: mean length of a run of each regime.
            n_minutes: to fill.
            before: path of the block before, whose last run goes on here; None at the start, which is in regime 0.
        """
        means = np.array(mean_bars)
        first = (0, 1, int(rng.geometric(1 / means[0]))) if before is None else before._last()
        regimes, directions, lengths = ([np.array([value])] for value in first)
        drawn = first[2]
        while drawn < n_minutes:
            n = int((n_minutes - drawn) / means.mean()) + 16
            steps = rng.integers(1, len(means), n) if len(means) > 1 else np.zeros(n, dtype=np.int64)
            regimes.append((regimes[-1][-1] + np.cumsum(steps)) % len(means))
            directions.append(rng.integers(0, 2, n) * 2 - 1)
            lengths.append(rng.geometric(1 / means[regimes[-1]]))
            drawn += int(lengths[-1].sum())
        runs, signs, minutes = np.concatenate(regimes), np.concatenate(directions), np.concatenate(lengths)
        ends = np.cumsum(minutes)
        last = int(np.searchsorted(ends, n_minutes))
        left = int(ends[last]) - n_minutes
        minutes[last] -= left
        used = slice(0, last + 1)
        return cls(runs[used], signs[used], minutes[used], before is not None and before.left > 0, left)

    def _last(self) -> tuple[int, int, int]:
        return int(self.regimes[-1]), int(self.directions[-1]), self.left


@dataclass(frozen=True)
class Days:
    """A block of trading days.

    Attributes:
        number: of the block, from 0.
        openings: int64 [n_sessions], UTC microseconds.
        minutes: int64 [n_sessions], length of each session.
        rested: bool [n_sessions], whether the market was closed before the session.
        traded: bool [n_minutes], whether the minute has a bar.
        path: regimes of the minutes.
        bars_wanted: bars up to here and no further.
    """

    number: int
    openings: np.ndarray
    minutes: np.ndarray
    rested: np.ndarray
    traded: np.ndarray
    path: RegimePath
    bars_wanted: int

    @property
    def begins(self) -> np.ndarray:
        """The first minute of each session, int64 [n_sessions], counted within the block."""
        return np.cumsum(self.minutes) - self.minutes

    def bars(self) -> np.ndarray:
        """The minutes that have a bar, int64 [n_bars], counted within the block."""
        return np.flatnonzero(self.traded)[: self.bars_wanted]

    def times(self) -> np.ndarray:
        """When each minute begins, int64 [n_minutes] UTC microseconds."""
        within = np.arange(len(self.traded)) * MINUTE_US
        return within + np.repeat(self.openings - self.begins * MINUTE_US, self.minutes)


@dataclass(frozen=True)
class MarketClock:
    """Draws the blocks of days.

    Attributes:
        seed: of the market.
        start: first date that may trade.
        sessions: when the market is open.
        mean_bars: mean length of a run of each regime, in minutes.
        holiday_rate: probability that a date is a holiday, for all symbols.
        gap_rate: probability that one stretch of a session is missing.
        max_gap_bars: longest such stretch.
    """

    seed: int
    start: datetime.date
    sessions: SessionCalendar
    mean_bars: tuple[float, ...]
    holiday_rate: float
    gap_rate: float
    max_gap_bars: int

    def blocks(self, symbol: str, n_bars: int) -> Iterator[Days]:
        """Blocks of days from the start on, until they hold `n_bars` bars; a block is drawn whole."""
        path: RegimePath | None = None
        closed, wanted, number = 0, n_bars, 0
        while wanted > 0:
            openings, closings = self._sessions(number)
            if len(openings):
                minutes = (closings - openings) // MINUTE_US
                rested = openings > np.concatenate([[closed], closings[:-1]])
                regimes = stream(self.seed, "regimes", symbol, number)
                path = RegimePath.draw(regimes, self.mean_bars, int(minutes.sum()), path)
                traded = self._traded(stream(self.seed, "gaps", symbol, number), minutes)
                yield Days(number, openings, minutes, rested, traded, path, wanted)
                closed, wanted = int(closings[-1]), wanted - int(traded.sum())
            number += 1

    def bars_a_year(self) -> float:
        """A low estimate."""
        dates = 365 * len(self.sessions.days) / 7 * (1 - self.holiday_rate)
        gap = self.gap_rate * min(self.max_gap_bars, self._session_minutes() - 1)
        return 0.95 * dates * (self._session_minutes() - gap)

    def _sessions(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """When the sessions of a block open and close, int64 UTC microseconds."""
        days = min(_BLOCK_DAYS, max(1, _BLOCK_BARS // self._session_minutes()))
        first = self.start.toordinal() + block * days
        dates = np.arange(first, first + days)
        open_on = np.isin((dates - 1) % 7, [WEEK.index(day) for day in self.sessions.days])  # ordinal 1 was a Monday
        dates = dates[open_on & (stream(self.seed, "holidays", "", block).random(days) >= self.holiday_rate)]
        openings, closings = self.sessions.openings(dates), self.sessions.closings(dates)
        lasts = closings - openings >= MINUTE_US  # a session inside the hour that a clock skips does not
        return openings[lasts], closings[lasts]

    def _traded(self, rng: np.random.Generator, minutes: np.ndarray) -> np.ndarray:
        """Which minutes have a bar, bool [n_minutes]; the first of a session always has."""
        hit, where = rng.random(len(minutes)) < self.gap_rate, rng.random(len(minutes))
        lengths = rng.integers(1, self.max_gap_bars, len(minutes), endpoint=True)
        traded = np.ones(int(minutes.sum()), dtype=bool)
        ends = np.cumsum(minutes)
        begins = ends - minutes + 1 + (where * (minutes - 1)).astype(np.int64)
        for begin, length, end in zip(begins[hit], lengths[hit], ends[hit], strict=True):
            traded[begin : min(begin + length, end)] = False
        return traded

    def _session_minutes(self) -> int:
        """Minutes from open to close on a day on which no clock is set."""
        opened, closed = (int(time[:2]) * 60 + int(time[3:]) for time in (self.sessions.open, self.sessions.close))
        return (closed - opened - 1) % 1440 + 1
