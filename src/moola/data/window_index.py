"""Windows as positions: a window is the index of its first bar, never a copy of its bars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from moola.config import reject
from moola.data.bar_store import BarStore, times
from moola.data.calendars import OUTSIDE, SessionCalendar
from moola.data.durations import duration_problem, microseconds
from moola.errors import DataError

MOST_BARS = 1 << 60
"""A number of bars that nobody has; two of them and a position still add up inside an int64."""

_PORTION = 1 << 21
"""Bars or windows looked at together: what is computed on the way stays under 100 MB for any number of bars."""


@dataclass(frozen=True)
class WindowConfig:
    """How windows are cut.

    Attributes:
        length: bars a window; null takes whole series, which must then be equally long.
        stride_bars: bars between the starts of neighbours.
        visible: bars a model may see, from the first; null means all. What comes after is for human eyes.
        zone: first and past-the-end bar that the label speaks of; null means every visible bar.
        horizon_bars: bars after the window that its target is computed from; they count as part of what it spans.
        max_gap: a longer pause between two bars (``"8d"``) ends a stretch, and no window crosses it; null: only the end
            of a series does, and that of a session where there is a calendar.
    """

    length: int | None = None
    stride_bars: int = 1
    visible: int | None = None
    zone: tuple[int, int] | None = None
    horizon_bars: int = 0
    max_gap: str | None = None

    def __post_init__(self) -> None:
        length = self.length if self.length is not None else MOST_BARS
        visible = self.visible if self.visible is not None else length
        zone = self.zone or (0, visible)
        gap_problem = duration_problem(self.max_gap, least="1us") if self.max_gap is not None else None
        counts = {"length": length, "stride_bars": self.stride_bars, "horizon_bars": self.horizon_bars}
        reject(
            *((n > MOST_BARS, f"{name}: {n} is more bars than there can be") for name, n in counts.items()),
            (length < 2, f"length: {self.length} must be at least 2"),
            (self.stride_bars < 1, f"stride_bars: {self.stride_bars} must be at least 1"),
            (not 2 <= visible <= length, f"visible: {self.visible} must lie between 2 and length ({self.length})"),
            (
                not 0 <= zone[0] < zone[1] <= length,
                f"zone: {list(zone)} must be [first, past-the-end] inside the window",
            ),
            (self.horizon_bars < 0, f"horizon_bars: {self.horizon_bars} must not be negative"),
            (
                self.horizon_bars > 0 and self.length is None,
                f"horizon_bars: {self.horizon_bars} bars after a whole series do not exist; give a length",
            ),
            (gap_problem is not None, f"max_gap: {gap_problem}"),
        )


@dataclass(frozen=True)
class WindowSpans:
    """What every window spans, with the bars after the visible ones and those of the horizon; all int64 [n_windows].

    Two windows share time exactly if their steps do, also where series pause at different times. Both ends are
    included: a window of one bar has ``first_step == last_step``.

    Attributes:
        series: number of the series.
        stretch: number of the unbroken stretch (series, session, no long pause) that the window lies in.
        first_step: position of the first bar on the calendar of all distinct times (`BarStore.calendar`); the number
            of the bar where series are independent cases, so that two of them never share a step.
        last_step: the same of the last bar.
        first_time: time of the first bar, microseconds since 1970 UTC (bar number in a case without times).
        last_time: the same of the last bar.
    """

    series: np.ndarray
    stretch: np.ndarray
    first_step: np.ndarray
    last_step: np.ndarray
    first_time: np.ndarray
    last_time: np.ndarray

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, rows: np.ndarray) -> WindowSpans:
        """The spans of some windows, by number or by mask."""
        return WindowSpans(
            self.series[rows],
            self.stretch[rows],
            self.first_step[rows],
            self.last_step[rows],
            self.first_time[rows],
            self.last_time[rows],
        )


@dataclass(frozen=True)
class WindowIndex:
    """Where every window starts; everything else about it is arithmetic.

    Attributes:
        starts: int64 [n_windows], first bar of each window in the bar store, ascending.
        length: bars a window.
        visible: bars a model may see, from the first.
        zone: first and past-the-end bar that the label speaks of.
        stretches: int64 [n_stretches], first bar of each unbroken stretch that windows were cut from, ascending.
        horizon_bars: bars after the window that its target is computed from.
    """

    starts: np.ndarray
    length: int
    visible: int
    zone: tuple[int, int]
    stretches: np.ndarray
    horizon_bars: int = 0

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def reach(self) -> int:
        """Bars that a window spans: its length and its horizon."""
        return self.length + self.horizon_bars

    @classmethod
    def build(cls, store: BarStore, config: WindowConfig, calendar: SessionCalendar | None = None) -> WindowIndex:
        """Every window of `length` bars that stays, with its horizon, inside one series and one session.

        Args:
            store: the bars.
            config: how windows are cut.
            calendar: sessions; bars outside every session are in no window. None: there are no sessions.

        Raises:
            DataError: no window fits; `length` is null and series differ in length or are shorter than `visible` or
                `zone` ask for; a calendar is given for independent cases.
        """
        if calendar is not None and store.independent:
            raise DataError(
                "data.calendar does not apply to independent cases",
                f"the {len(store.series)} cases of this source share no clock",
                "leave it out: data.calendar=null",
            )
        length = config.length if config.length is not None else _common_length(store)
        reach = length + config.horizon_bars
        first, past = _stretches(store, config.max_gap, calendar)
        starts = _starts(first, past, reach, config.stride_bars)
        if not len(starts):
            raise _nothing_fits(store, config, reach, first, past, calendar is not None)
        visible = config.visible if config.visible is not None else length
        zone = config.zone or (0, visible)
        if max(visible, zone[1]) > length:  # known only now where `length` is null
            raise DataError(
                f"data.window does not fit into windows of {length} bars",
                f"visible: {visible}, zone: {list(zone)}",
                "give a smaller data.window.visible and data.window.zone, or every bar of them: "
                "data.window.visible=null data.window.zone=null",
            )
        return cls(starts, length, visible, zone, first, config.horizon_bars)

    def gather(self, values: np.ndarray, which: np.ndarray, n_bars: int | None = None) -> np.ndarray:
        """Copy some windows out of the bars: [len(which), n_bars, n_channels]; for labelled windows, which are few."""
        span = np.arange(n_bars or self.visible)
        return np.asarray(values[self.starts[which][:, None] + span])

    def spans(self, store: BarStore) -> WindowSpans:
        """What every window spans, in the order of the index."""
        starts = np.asarray(self.starts)
        ends = starts + (self.reach - 1)
        first_time, last_time = store.timestamps[starts], store.timestamps[ends]
        if store.independent or len(store.series) == 1:  # the number of a bar is its step
            first_step, last_step = starts, ends
        else:
            calendar = store.calendar()
            first_step, last_step = np.searchsorted(calendar, first_time), np.searchsorted(calendar, last_time)
        return WindowSpans(
            self._series(store),
            np.searchsorted(self.stretches, starts, side="right") - 1,
            first_step,
            last_step,
            np.asarray(first_time),
            np.asarray(last_time),
        )

    def overlapping(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and past-the-end number, int64 [len(rows)] each, of the windows that share a bar with each window.

        Starts ascend, so these windows are neighbours; the window itself is among them. Windows of different series
        share no bars, though they may share time.
        """
        starts = np.asarray(self.starts)
        first = np.searchsorted(starts, starts[rows] - self.reach, side="right")
        past = np.searchsorted(starts, starts[rows] + self.reach, side="left")
        return first, past

    def effective_count(self) -> float:
        """How many windows these are worth: the sum of their average uniqueness (López de Prado 2018, section 4.4).

        The uniqueness of a window at a bar is one over the number of windows that hold the bar; its average is taken
        over the bars of the window. Windows that share no bar count 1 each.
        """
        total = 0.0
        for first in range(0, len(self), _PORTION):
            last = min(first + _PORTION, len(self)) - 1
            from_window, past_window = self.overlapping(np.array([first, last]))
            near = np.asarray(self.starts[from_window[0] : past_window[1]])
            offset = first - from_window[0]
            total += float(average_uniqueness(near, self.reach)[offset : offset + last - first + 1].sum())
        return total

    def table(self, store: BarStore) -> pl.DataFrame:
        """The windows table of `moola.schemas.windows`; ``true_label`` is empty.

        A window is named after its series and the number of its first bar in it, ``eurusd_0001234``; where every
        window is a whole series, after the series.
        """
        starts, spans = np.asarray(self.starts), self.spans(store)
        names = pl.Series(store.series, dtype=pl.String).gather(spans.series)
        whole = self.length * len(self) == store.n_bars and np.array_equal(starts, store.offsets[:-1])
        within = pl.Series(starts - store.offsets[spans.series]).cast(pl.String).str.zfill(7)
        return pl.DataFrame(
            {
                "window_id": names if whole else names + "_" + within,
                "series": names,
                "start": starts,
                "step": spans.first_step,
                "first_time": times(spans.first_time),
                "last_time": times(spans.last_time),
                "true_label": pl.Series([None], dtype=pl.String).new_from_index(0, len(self)),
            }
        )

    def _series(self, store: BarStore) -> np.ndarray:
        """int64 [n_windows]: number of the series that each window lies in."""
        return np.searchsorted(store.offsets, self.starts, side="right") - 1


def average_uniqueness(starts: np.ndarray, reach: int) -> np.ndarray:
    """Average uniqueness of windows of `reach` bars, float64 [n], where `starts` int64 [n] ascends.

    How many windows hold a bar changes only where one begins or ends, so one running sum over these 2n places
    replaces a look at every bar.
    """
    places = np.concatenate([starts, starts + reach])
    order = np.argsort(places, kind="stable")
    holding = np.cumsum(np.where(order < len(starts), 1, -1))  # windows that hold the bars from this place to the next
    bars = np.diff(places[order], append=places[order[-1]])
    shares = bars / np.maximum(holding, 1) * (holding > 0)
    before = np.empty(len(places))
    before[order] = np.concatenate([[0.0], np.cumsum(shares)[:-1]])  # sum over all bars before each place
    return (before[len(starts) :] - before[: len(starts)]) / reach


def _common_length(store: BarStore) -> int:
    lengths = np.diff(store.offsets)
    if lengths.min() != lengths.max():
        raise DataError(
            "data.window.length is needed",
            f"series have between {lengths.min()} and {lengths.max()} bars",
            "give data.window.length=BARS",
        )
    return int(lengths[0])


def _starts(first: np.ndarray, past: np.ndarray, reach: int, stride: int) -> np.ndarray:
    """int64 [n_windows]: the starts of windows of `reach` bars in each stretch, `stride` apart, without a loop."""
    counts = np.maximum((past - first - reach) // stride + 1, 0)
    first, counts = first[counts > 0], counts[counts > 0]
    starts = np.full(counts.sum(), stride, dtype=np.int64)
    if len(starts):
        # A running sum of strides; the first window of a stretch is a jump from the last one of the stretch before.
        last = first + (counts - 1) * stride
        starts[np.concatenate([[0], np.cumsum(counts)[:-1]])] = np.diff(first, prepend=0) - np.concatenate(
            [[0], (last - first)[:-1]]
        )
        np.cumsum(starts, out=starts)
    return starts


def _stretches(store: BarStore, max_gap: str | None, calendar: SessionCalendar | None) -> tuple[np.ndarray, np.ndarray]:
    """First and past-the-end bar, int64 [n_stretches] each, of every stretch that no window may leave."""
    max_gap_us = microseconds(max_gap) if max_gap is not None else None
    edges = np.unique(np.concatenate([store.offsets, *_breaks(store.timestamps, max_gap_us, calendar)]))
    first, past = edges[:-1], edges[1:]
    if calendar is None:
        return first, past
    inside = calendar.sessions(store.timestamps[first]) != OUTSIDE
    return first[inside], past[inside]


def _breaks(timestamps: np.ndarray, max_gap_us: int | None, calendar: SessionCalendar | None) -> Iterator[np.ndarray]:
    """Bars, int64, before which a long pause lies or the session changes, a portion at a time."""
    if max_gap_us is None and calendar is None:
        return
    for begin in range(1, len(timestamps), _PORTION):
        stamps = np.asarray(timestamps[begin - 1 : begin + _PORTION])
        broken = np.zeros(len(stamps) - 1, dtype=bool)
        if max_gap_us is not None:
            broken |= np.diff(stamps) > max_gap_us
        if calendar is not None:
            broken |= np.diff(calendar.sessions(stamps)) != 0
        yield np.flatnonzero(broken) + begin


def _nothing_fits(
    store: BarStore, config: WindowConfig, reach: int, first: np.ndarray, past: np.ndarray, with_calendar: bool
) -> DataError:
    """The error where no window fits, with the longest stretch there is."""
    what = f"no window of {reach} bars fits"
    if not len(first):
        return DataError(
            what, f"none of the {store.n_bars} bars lies in a session", "mend data.calendar, its timezone first"
        )
    longest = int(np.max(past - first))
    within = " of a session" if with_calendar else ""
    ways = ["a larger data.window.max_gap"] if config.max_gap is not None else []
    ways += ["longer sessions in data.calendar"] if with_calendar else []
    if longest - config.horizon_bars >= 2:
        keys = _keys_that_fit(config, longest - config.horizon_bars)
        if len(first) == 1 and not store.independent:
            keys += " (one window, which no date splits: to train, cut much shorter ones or bring more bars)"
        ways.insert(0, keys)
    if store.independent and not config.horizon_bars and longest >= 2 and (np.diff(store.offsets) == longest).all():
        ways.insert(0, "data.window.length=null data.window.visible=null data.window.zone=null (whole cases)")
    horizon = f" (with {config.horizon_bars} of the horizon)" if config.horizon_bars else ""
    return DataError(
        what + horizon,
        f"the longest unbroken stretch{within} has {longest} bars",
        f"choose {' or '.join(ways)}" if ways else "give more bars",
    )


def _keys_that_fit(config: WindowConfig, length: int) -> str:
    """The keys of windows of `length` bars, at least 2: also `visible` and `zone` where these reach further.

    A zone is moved with its share of the window, so that a label that needs bars before its zone still has some.
    """
    keys = [f"data.window.length={length}"]
    if config.visible is not None and config.visible > length:
        keys.append(f"data.window.visible={length}")
    if config.zone is not None and config.zone[1] > length:
        first, past = config.zone
        keys.append(f"data.window.zone=[{first * length // past},{length}]")
    return " ".join(keys) + (" or less" if len(keys) == 1 else "")
