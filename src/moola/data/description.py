"""What the bars and windows of a data set are: counts, spans, gaps, labels, and what looks copied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from moola.data.bar_store import BarStore, times
from moola.data.calendars import OUTSIDE, SessionCalendar
from moola.data.near_duplicates import NearDuplicates, find_near_duplicates
from moola.data.window_index import WindowIndex

GAP_STEPS = 1.5
"""A pause of more than this many median steps between two bars of a series is a gap."""
_MOST_GAPS = 20
_MICROSECONDS_PER_SECOND = 1_000_000


@dataclass(frozen=True)
class SeriesDescription:
    """One series.

    Attributes:
        series: name.
        bars: how many.
        first_time: of its first bar, ISO 8601; None in a case without times.
        last_time: of its last bar.
        step_s: median seconds between bars.
        gaps: pauses longer than `GAP_STEPS` such steps.
        missing_bars: bars of one step each that would fill these pauses; nights and weekends count too.
        longest_gap_s: seconds from the bar before the longest pause to the bar after it.
        windows: windows cut from it.
    """

    series: str
    bars: int
    first_time: str | None
    last_time: str | None
    step_s: float | None
    gaps: int
    missing_bars: int
    longest_gap_s: float
    windows: int


@dataclass(frozen=True)
class Gap:
    """A pause in a series: times of the bars around it, and how long it is."""

    series: str
    after: str
    before: str
    seconds: float


@dataclass(frozen=True)
class Sessions:
    """How the bars lie in the sessions of a calendar; a session counts once for each series with bars in it.

    Attributes:
        sessions: how many hold bars.
        bars: smallest, median and largest number of bars in one.
        outside: bars in no session.
        gaps: pauses inside a session that are longer than `GAP_STEPS` median steps of the series.
        missing_bars: bars of one step each that would fill them.
        longest_gaps: the longest of them, at most 20.
    """

    sessions: int
    bars: tuple[int, int, int]
    outside: int
    gaps: int
    missing_bars: int
    longest_gaps: tuple[Gap, ...]


@dataclass(frozen=True)
class Intake:
    """What became of the rows of the source before they were bars.

    Attributes:
        rows_read: rows of the source.
        rows_left_out: those that are bad.
        reasons: what is wrong with them, in words, and how many rows have it; a row may have several.
        outside_sessions: good rows in no session, which resampling left out.
        notes: what else was left out or changed.
        bars: bars made of the rest; fewer than rows where they were resampled.
    """

    rows_read: int
    rows_left_out: int
    reasons: tuple[tuple[str, int], ...]
    outside_sessions: int
    notes: tuple[str, ...]
    bars: int


@dataclass(frozen=True)
class Description:
    """Everything; plain values, so that ``dataclasses.asdict`` is its JSON.

    Attributes:
        bars: in all series.
        channels: names.
        independent: series are separate cases without a common calendar.
        series: in the order of the store.
        gaps: the longest, at most 20.
        sessions: how bars lie in sessions; None without a calendar.
        stretches: unbroken stretches that windows were cut from.
        stretch_bars: smallest, median and largest number of bars that windows cover in a stretch which holds one.
        windows: how many.
        window_bars: bars a window, visible ones, and the zone.
        disjoint_windows: the most of them that can be chosen so that no two share a bar.
        average_uniqueness: mean share of a window's bars that are its own, 1 where none overlap
            (López de Prado 2018, section 4.4; see `WindowIndex.effective_count`).
        spans: windows that train, are sealed and belong to neither; empty where nothing is split.
        labels: span -> label -> windows; "unlabeled" where there is none.
        duplicates: windows that look the same.
        intake: what became of the rows of the source; None where that is not known.
    """

    bars: int
    channels: tuple[str, ...]
    independent: bool
    series: tuple[SeriesDescription, ...]
    gaps: tuple[Gap, ...]
    sessions: Sessions | None
    stretches: int
    stretch_bars: tuple[int, int, int]
    windows: int
    window_bars: dict[str, int | tuple[int, int]]
    disjoint_windows: int
    average_uniqueness: float
    spans: dict[str, int]
    labels: dict[str, dict[str, int]]
    duplicates: NearDuplicates
    intake: Intake | None = None


def describe_data(
    store: BarStore,
    windows: WindowIndex,
    labels: pl.Series,
    spans: pl.Series | None = None,
    calendar: SessionCalendar | None = None,
    intake: Intake | None = None,
) -> Description:
    """Look at everything once.

    Args:
        store: the bars.
        windows: where windows start.
        labels: String [n_windows], null where a window has none.
        spans: String [n_windows] (``"train"``, ``"test"``, ``"excluded"``), or None where nothing is split.
        calendar: sessions to count, or None.
        intake: what became of the rows of the source, or None.
    """
    in_series = np.bincount(
        np.searchsorted(store.offsets, windows.starts, side="right") - 1, minlength=len(store.series)
    )
    pauses = [_pauses(store, number) for number in range(len(store.series))]
    lengths, disjoint = _in_stretches(windows)
    return Description(
        bars=store.n_bars,
        channels=store.channels,
        independent=store.independent,
        series=tuple(
            _describe_series(store, number, found, int(count))
            for number, (found, count) in enumerate(zip(pauses, in_series, strict=True))
        ),
        gaps=_longest([gap for found in pauses for gap in found.longest()]),
        sessions=_describe_sessions(store, pauses, calendar) if calendar is not None else None,
        stretches=len(windows.stretches),
        stretch_bars=_edges(lengths),
        windows=len(windows),
        window_bars={"length": windows.length, "visible": windows.visible, "zone": windows.zone},
        disjoint_windows=disjoint,
        average_uniqueness=round(windows.effective_count() / len(windows), 4),
        spans={} if spans is None else _counts(spans),
        labels=_labels(labels, spans),
        duplicates=find_near_duplicates(store, windows, None if spans is None else spans.to_numpy()),
        intake=intake,
    )


@dataclass(frozen=True)
class _Pauses:
    """Where a series pauses for more than `GAP_STEPS` median steps.

    Attributes:
        series: name.
        step: median microseconds between bars; None where there are not two bars, or no times.
        longest_step: the most microseconds between two bars.
        after: int64 [n_gaps], times of the last bars before; `before`: of the first bars after.
    """

    series: str
    step: float | None
    longest_step: int
    after: np.ndarray
    before: np.ndarray

    def missing_bars(self) -> int:
        return 0 if self.step is None else int(np.round((self.before - self.after) / self.step - 1).sum())

    def longest(self) -> list[Gap]:
        rows = np.argsort(self.after - self.before, kind="stable")[:_MOST_GAPS]
        seconds = (self.before[rows] - self.after[rows]) / _MICROSECONDS_PER_SECOND
        edges = zip(_iso(self.after[rows]), _iso(self.before[rows]), seconds.tolist(), strict=True)
        return [Gap(self.series, *edge) for edge in edges]

    def within(self, calendar: SessionCalendar) -> _Pauses:
        """Those between two bars of one session."""
        opened = calendar.sessions(self.after)
        inside = (opened == calendar.sessions(self.before)) & (opened != OUTSIDE)
        return _Pauses(self.series, self.step, self.longest_step, self.after[inside], self.before[inside])


def _pauses(store: BarStore, number: int) -> _Pauses:
    stamps = _stamps(store, number)
    if store.independent or len(stamps) < 2:
        return _Pauses(store.series[number], None, 0, stamps[:0], stamps[:0])
    steps = np.diff(stamps)
    step = float(np.median(steps))
    wide = np.flatnonzero(steps > GAP_STEPS * step)
    return _Pauses(store.series[number], step, int(steps.max()), stamps[wide], stamps[wide + 1])


def _describe_series(store: BarStore, number: int, pauses: _Pauses, n_windows: int) -> SeriesDescription:
    stamps = _stamps(store, number)
    first, last = (None, None) if store.independent else _iso(stamps[[0, -1]])
    return SeriesDescription(
        series=pauses.series,
        bars=len(stamps),
        first_time=first,
        last_time=last,
        step_s=None if pauses.step is None else pauses.step / _MICROSECONDS_PER_SECOND,
        gaps=len(pauses.after),
        missing_bars=pauses.missing_bars(),
        longest_gap_s=pauses.longest_step / _MICROSECONDS_PER_SECOND,
        windows=n_windows,
    )


def _describe_sessions(store: BarStore, pauses: list[_Pauses], calendar: SessionCalendar) -> Sessions:
    counts: list[np.ndarray] = []
    outside = 0
    for number in range(len(store.series)):
        sessions = calendar.sessions(_stamps(store, number))
        inside = sessions[sessions != OUTSIDE]
        outside += len(sessions) - len(inside)
        counts.append(np.unique(inside, return_counts=True)[1])
    bars = np.concatenate(counts)
    within = [found.within(calendar) for found in pauses if len(found.after)]
    return Sessions(
        sessions=len(bars),
        bars=_edges(bars),
        outside=outside,
        gaps=sum(len(found.after) for found in within),
        missing_bars=sum(found.missing_bars() for found in within),
        longest_gaps=_longest([gap for found in within for gap in found.longest()]),
    )


def _longest(gaps: list[Gap]) -> tuple[Gap, ...]:
    return tuple(sorted(gaps, key=lambda gap: (-gap.seconds, gap.after))[:_MOST_GAPS])


def _edges(counts: np.ndarray) -> tuple[int, int, int]:
    """Smallest, median and largest; zeros where there is nothing."""
    return (int(counts.min()), int(np.median(counts)), int(counts.max())) if len(counts) else (0, 0, 0)


def _stamps(store: BarStore, number: int) -> np.ndarray:
    return np.asarray(store.timestamps[store.offsets[number] : store.offsets[number + 1]])


def _in_stretches(windows: WindowIndex) -> tuple[np.ndarray, int]:
    """What windows do in the stretches that hold one.

    Windows of a stretch are equally long and equally far apart. So the most of them that share no bar are the first
    and then every k-th, where k is the least number of strides that a window fits into.

    Returns:
        Bars int64 [n_stretches with a window] from the first bar of any window to the last, and the most windows that
        share no bar, over all stretches.
    """
    starts = np.asarray(windows.starts)
    edges = np.append(np.searchsorted(starts, windows.stretches, side="left"), len(starts))
    counts = np.diff(edges)
    first, counts = edges[:-1][counts > 0], counts[counts > 0]
    last = first + counts - 1
    covered = starts[last] - starts[first]
    stride = np.where(counts > 1, covered // np.maximum(counts - 1, 1), windows.reach)
    every = -(-windows.reach // stride)
    return covered + windows.reach, int((-(-counts // every)).sum())


def _labels(labels: pl.Series, spans: pl.Series | None) -> dict[str, dict[str, int]]:
    named = labels.fill_null("unlabeled")
    if spans is None:
        return {"all": _counts(named)}
    return {span: _counts(named.filter(spans == span)) for span in _counts(spans)}


def _counts(names: pl.Series) -> dict[str, int]:
    return dict(sorted(names.value_counts().iter_rows()))


def _iso(stamps: np.ndarray) -> list[str]:
    return times(stamps).dt.strftime("%Y-%m-%dT%H:%M:%SZ").to_list()
