"""Longer bars from shorter ones, as a stream: first, max, min, last and sum, and no bar spans a session."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from moola.config import reject
from moola.data.calendars import OUTSIDE, SessionCalendar
from moola.data.durations import UNITS_US, duration_problem, microseconds, spoken
from moola.errors import ConfigError, DataError, did_you_mean

Aggregate = Literal["first", "max", "min", "last", "sum"]

USUAL: dict[str, Aggregate] = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
"""How channels with these names are aggregated where nothing else is said."""

_DAY_US = UNITS_US["d"]
_NEVER_US = np.iinfo(np.int64).max
_SESSION = "__session"
_SHOWN = 5


@dataclass(frozen=True)
class ResampleConfig:
    """How bars are put together.

    Attributes:
        every: length of the new bars, ``"15m"``; at most ``"1d"``, which is one bar a session, however long it is. A
            length that does not divide the session gives a shorter last bar.
        stamped: what timestamps are, those read and those written. ``start``: the instant a bar begins, so one on a
            boundary opens the next new bar. ``end``: the instant it ends, so one on a boundary closes the new bar, and
            the last bar of a session is stamped with its close.
        aggregate: channel -> ``first``, ``max``, ``min``, ``last`` or ``sum``. Needed for every channel that is not
            called open, high, low, close or volume.
    """

    every: str
    stamped: Literal["start", "end"] = "start"
    aggregate: dict[str, Aggregate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem = duration_problem(self.every, least="1us")
        known = typing.get_args(Aggregate)
        reject(
            (problem is not None, f"every: {problem}"),
            (
                problem is None and microseconds(self.every) > _DAY_US,
                f"every: '{self.every}' is longer than 1d, and no bar spans a session",
            ),
            *(
                (how not in known, f"aggregate.{name}: '{how}' is not allowed; {did_you_mean(str(how), known)}")
                for name, how in self.aggregate.items()
            ),
        )


@dataclass(frozen=True)
class ResampleCounts:
    """What went in and what came out.

    Attributes:
        rows: bars read.
        outside_session: bars left out because they lie in no session of the calendar.
        bars: bars written.
    """

    rows: int = 0
    outside_session: int = 0
    bars: int = 0


class Resampler:
    """Puts bars together while they stream by; how they are cut into chunks changes nothing, to the last bit.

    New bars are counted from the opening of the session in elapsed time: a day of 23 hours has 92 bars of 15 minutes,
    one of 25 hours 100. A new bar with nothing in it is not written. The bars of a series must come in the order of
    time and without nulls, as `moola.data.quality` leaves them; series may alternate.

    The last new bar of each series is not finished before a later one begins, so its rows are held back: memory is
    that of one chunk and one new bar a series.

    Args:
        config: how bars are put together.
        calendar: sessions; None: days of UTC. Its `stamped` must be that of `config`.
        channels: value columns, in order.

    Raises:
        ConfigError: a channel without an aggregate, an aggregate without a channel, or calendar and configuration
            understand timestamps differently; all in one go.
    """

    def __init__(self, config: ResampleConfig, calendar: SessionCalendar | None, channels: Sequence[str]) -> None:
        self.config = config
        self.calendar = calendar or SessionCalendar(stamped=config.stamped)
        self.counts = ResampleCounts()
        self._aggregates = _aggregates(config, self.calendar, channels)
        self._every_us = microseconds(config.every)
        values = dict.fromkeys(channels, pl.Float64())
        self._schema = pl.Schema({"series": pl.String(), "timestamp": pl.Datetime("us", "UTC"), **values})
        self._nothing = pl.DataFrame(schema={**self._schema, _SESSION: pl.Int64()})
        self._held: dict[str, pl.DataFrame] = {}
        self._numbers: dict[str, int] = {}
        self._steps = _Steps()

    def push(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The new bars that are finished now.

        Args:
            frame: ``series``, ``timestamp`` and the channels, any number of rows.

        Returns:
            The same columns, channels Float64, series after series.
        """
        frame = frame.select(list(self._schema)).cast(self._schema)
        if sum(frame.null_count().row(0)):
            raise ValueError("rows with nulls cannot be resampled; quality control leaves them out")
        sessions = self.calendar.sessions(frame["timestamp"].to_physical().to_numpy())
        inside = frame.with_columns(pl.Series(_SESSION, sessions)).filter(pl.col(_SESSION) != OUTSIDE)
        self._count(rows=len(frame), outside_session=len(frame) - len(inside))
        held = [self._held.pop(name) for name in inside["series"].unique() if name in self._held]
        return self._combine(pl.concat([*held, inside]), is_last=False)

    def flush(self) -> pl.DataFrame:
        """The new bars that were not finished; nothing is pushed afterwards.

        Raises:
            DataError: the bars of a series are longer than the new ones, or new ones would cut them; all such series.
        """
        bars = self._combine(pl.concat([self._nothing, *self._held.values()]), is_last=True)
        problems = self._steps.problems(self._every_us, list(self._numbers))
        if problems:
            raise DataError(
                f"bars of {self.config.every} cannot be made of these",
                "\n".join(problems),
                "choose a data.resample.every that is a multiple of their step, a data.calendar that opens with them, "
                "or leave them out",
            )
        return bars

    def _combine(self, rows: pl.DataFrame, is_last: bool) -> pl.DataFrame:
        """New bars from rows in which each series ascends; rows of those that may still grow are held back."""
        if rows.is_empty():
            return rows.drop(_SESSION)
        rows, series = self._by_series(rows)
        stamps, sessions = rows["timestamp"].to_physical().to_numpy(), rows[_SESSION].to_numpy()
        new_session = _changes(series) | _changes(sessions)
        runs = np.flatnonzero(new_session)
        opening = self.calendar.openings(sessions[runs])[np.cumsum(new_session) - 1]
        self._steps.watch(series, stamps, opening)
        begin = self._begin(stamps, opening)
        first = np.flatnonzero(new_session | _changes(begin))
        past = np.append(first[1:], len(rows))
        finished = np.append(series[first[1:]] == series[first[:-1]], False) | is_last
        growing = rows.filter(~np.repeat(finished, past - first))
        self._held |= {part["series"][0]: part for part in growing.partition_by("series")}
        stamp = begin[first] if self.config.stamped == "start" else self._end(begin[first], sessions[first])
        columns = {name: _aggregate(how, rows[name].to_numpy(), first, past) for name, how in self._aggregates.items()}
        bars = pl.DataFrame({"series": rows["series"].gather(first), "timestamp": stamp, **columns})
        bars = bars.cast(self._schema).filter(finished)
        self._count(bars=len(bars))
        return bars

    def _by_series(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
        """The rows series after series, each in the order it came, and the number of the series of each row."""
        names = rows["series"].unique(maintain_order=True)
        for name in names:
            self._numbers.setdefault(name, len(self._numbers))
        numbers = [self._numbers[name] for name in names]
        if len(numbers) == 1:
            return rows.rechunk(), np.full(len(rows), numbers[0])
        series = rows["series"].replace_strict(names, numbers, return_dtype=pl.Int64).to_numpy()
        order = np.argsort(series, kind="stable")
        return rows[order], series[order]

    def _begin(self, stamps: np.ndarray, opening: np.ndarray) -> np.ndarray:
        """int64 [n]: the instant at which the new bar of each row begins."""
        if self._every_us == _DAY_US:
            return opening
        past_boundary = 0 if self.config.stamped == "start" else 1
        return opening + (stamps - opening - past_boundary) // self._every_us * self._every_us

    def _end(self, begin: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        """int64 [n]: the instant at which new bars end, not later than their session."""
        closing = self.calendar.closings(sessions)
        return closing if self._every_us == _DAY_US else np.minimum(begin + self._every_us, closing)

    def _count(self, **more: int) -> None:
        counts = {name: getattr(self.counts, name) + number for name, number in more.items()}
        self.counts = dataclasses.replace(self.counts, **counts)


class _Steps:
    """How long the bars of each series are, as far as their timestamps show it."""

    def __init__(self) -> None:
        self._shortest_us = np.empty(0, dtype=np.int64)  # pause between two bars
        self._pauses_gcd_us = np.empty(0, dtype=np.int64)  # of pauses inside sessions
        self._phases_gcd_us = np.empty(0, dtype=np.int64)  # of times since the opening of the session

    def watch(self, series: np.ndarray, stamps: np.ndarray, opening: np.ndarray) -> None:
        """Look at rows, grouped by series; rows that were seen before do no harm."""
        pauses = np.diff(stamps, prepend=stamps[0])
        new_series = _changes(series)
        if np.any(pauses[~new_series] <= 0):
            raise ValueError("the bars of a series must come in the order of time; quality control sees to it")
        first = np.flatnonzero(new_series)
        numbers = series[first]
        self._grow(int(series.max()) + 1)
        inside = np.where(new_series | _changes(opening), 0, pauses)
        for known, ufunc, values in (
            (self._shortest_us, np.minimum, np.where(new_series, _NEVER_US, pauses)),
            (self._pauses_gcd_us, np.gcd, inside),
            (self._phases_gcd_us, np.gcd, stamps - opening),
        ):
            known[numbers] = ufunc(known[numbers], ufunc.reduceat(values, first))

    def problems(self, every_us: int, names: list[str]) -> list[str]:
        """A line for each way in which bars of `every_us` cannot be made."""
        shortest, gcd, phase = self._shortest_us, self._pauses_gcd_us, self._phases_gcd_us
        longer = (shortest > every_us) & (shortest < _NEVER_US)
        regular = ~longer & (every_us < _DAY_US) & (gcd > 1) & (gcd == shortest)  # ticks have no step
        cut = regular & (every_us % np.maximum(gcd, 1) != 0)
        shifted = regular & ~cut & (phase % np.maximum(gcd, 1) != 0)
        return [
            f"- {int(which.sum())} series {how} ({spoken(int(shortest[which][0]))}): {_names(names, which)}"
            for which, how in (
                (longer, "with longer bars"),
                (cut, "with bars that new ones would cut"),
                (shifted, "with bars that do not begin at a whole number of steps after the session opens"),
            )
            if which.any()
        ]

    def _grow(self, n_series: int) -> None:
        more = n_series - len(self._shortest_us)
        if more > 0:
            self._shortest_us = np.append(self._shortest_us, np.full(more, _NEVER_US))
            self._pauses_gcd_us = np.append(self._pauses_gcd_us, np.zeros(more, dtype=np.int64))
            self._phases_gcd_us = np.append(self._phases_gcd_us, np.zeros(more, dtype=np.int64))


def _aggregates(config: ResampleConfig, calendar: SessionCalendar, channels: Sequence[str]) -> dict[str, Aggregate]:
    """Channel -> how it is aggregated, in the order of the channels."""
    chosen: dict[str, Aggregate] = {**USUAL, **config.aggregate}
    problems = [
        f"data.resample.aggregate.{name}: there is no such channel; {did_you_mean(name, channels)}"
        for name in config.aggregate
        if name not in channels
    ]
    problems += [
        f"data.resample.aggregate.{name}: is missing; say first, max, min, last or sum"
        for name in channels
        if name not in chosen
    ]
    if calendar.stamped != config.stamped:
        problems.append(
            f"data.resample.stamped: '{config.stamped}', but data.calendar.stamped is '{calendar.stamped}'; "
            "timestamps mean one thing"
        )
    if problems:
        raise ConfigError(problems)
    return {name: chosen[name] for name in channels}


def _aggregate(how: Aggregate, values: np.ndarray, first: np.ndarray, past: np.ndarray) -> np.ndarray:
    """float64 [n_bars]: `values` over rows ``first[i]`` to ``past[i] - 1``."""
    if how == "first":
        return values[first]
    if how == "last":
        return values[past - 1]
    return {"max": np.maximum, "min": np.minimum, "sum": np.add}[how].reduceat(values, first)


def _changes(values: np.ndarray) -> np.ndarray:
    """Where a value differs from the one before, bool [n]; the first always does."""
    return np.append(True, values[1:] != values[:-1])


def _names(names: list[str], which: np.ndarray) -> str:
    found = [names[number] for number in np.flatnonzero(which)]
    return ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
