"""Spans of time that are rejected: which windows they touch, and the file that lists them.

A blacklisted window stands for its span of time in its series. Whatever window overlaps it is left out of training,
also where windows are cut with another length or stride, or have other names.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moola.data.bar_store import BarStore
from moola.data.sources.problems import Problems, refuse
from moola.data.splits.sealed import moment_text
from moola.data.window_index import WindowSpans
from moola.labels.csv_rows import optional_number, read_rows
from moola.labels.events import LabelEvent
from moola.labels.folding import WindowState
from moola.layout import replace_atomically

BLACKLIST_PLACE = "corrections/window_blacklist.csv"
"""Where the list lies in the data folder."""
_COLUMNS = (
    "window_id",
    "raw_start_idx",
    "raw_end_idx",
    "reason",
    "blacklisted_date",
    "first_time",
    "last_time",
    "series",
)
OTHER_DATA = "of other data"
"""Why a decision does nothing in a run whose series it is not about: one log serves all data."""
_OWN_NAME = re.compile(r"(.+)_\d{7,}")
"""Names that moola gives to windows: the series and the first bar (`moola.data.window_index.WindowIndex.table`)."""


@dataclass(frozen=True)
class _Interval:
    """The span of a rejected window in one series, both ends included, on the axis of `_axis`."""

    window_id: str
    series: int
    first: int
    last: int


def touches_blacklisted(
    states: Mapping[str, WindowState], window_ids: pl.Series, spans: WindowSpans, store: BarStore
) -> np.ndarray:
    """Which windows are blacklisted or share a moment with a blacklisted window of their series, bool [n_windows].

    Args:
        states: what was decided, as `moola.labels.folding.fold` gives it.
        window_ids: String [n_windows].
        spans: of these windows, with their horizon.
        store: the bars. Independent cases share no clock, so there only windows that are known by name reject others.
    """
    touched = np.zeros(len(window_ids), dtype=bool)
    intervals = _intervals(_rejected(states), window_ids, spans, store)
    first, last = _axis(spans, store)
    for series in {one.series for one in intervals}:
        own = np.array(sorted((one.first, one.last) for one in intervals if one.series == series))
        until = np.maximum.accumulate(own[:, 1])
        rows = np.flatnonzero(spans.series == series)
        begun = np.searchsorted(own[:, 0], last[rows], side="right")  # intervals that begin before the window ends
        touched[rows] = (begun > 0) & (until[begun - 1] >= first[rows])
    return touched


def overlapped_by(
    states: Mapping[str, WindowState],
    window_ids: pl.Series,
    spans: WindowSpans,
    store: BarStore,
    rows: Iterable[int],
) -> list[str]:
    """Of windows that `touches_blacklisted` found, by number: the name of the first blacklisted window each meets.

    Args:
        states: what was decided.
        window_ids: String [n_windows].
        spans: of these windows, with their horizon.
        store: the bars.
        rows: numbers of the windows.
    """
    intervals = sorted(_intervals(_rejected(states), window_ids, spans, store), key=lambda one: one.first)
    first, last = _axis(spans, store)
    return [
        next(
            one.window_id
            for one in intervals
            if one.series == spans.series[row] and one.first <= last[row] and one.last >= first[row]
        )
        for row in rows
    ]


def is_of_other_data(series: str, window_id: str, known: Sequence[str]) -> bool:
    """Whether a decision speaks of a series that is not there, as far as that, or moola's name of the window, tells.

    Args:
        series: that the decision names; empty where it names none.
        window_id: of the window.
        known: the series that are there.
    """
    own = _OWN_NAME.fullmatch(window_id)
    name = series or (own[1] if own else "")
    return bool(name) and name not in known and window_id not in known


def without_effect(
    states: Mapping[str, WindowState], window_ids: pl.Series, spans: WindowSpans, store: BarStore, among: np.ndarray
) -> dict[str, str]:
    """Blacklisted windows that share no moment with any window of `among`, and why.

    Args:
        states: what was decided.
        window_ids: String [n_windows].
        spans: of these windows, with their horizon.
        store: the bars.
        among: mask of the windows that could be rejected, bool [n_windows].
    """
    rejected, windows = _rejected(states), spans[np.flatnonzero(among)]
    first, last = _axis(windows, store)
    why = dict.fromkeys(rejected, "there is no such window")
    for name, state in rejected.items():
        if is_of_other_data(state.series, name, store.series):
            why[name] = OTHER_DATA
        elif state.first_time and _series_number(state.series, name, store.series) is not None:
            why[name] = "no training window touches its time"
    for one in _intervals(rejected, window_ids, spans, store):
        if ((windows.series == one.series) & (first <= one.last) & (last >= one.first)).any():
            why.pop(one.window_id, None)
    return why


def _rejected(states: Mapping[str, WindowState]) -> dict[str, WindowState]:
    return {name: state for name, state in states.items() if state.decision == "blacklist"}


def _axis(spans: WindowSpans, store: BarStore) -> tuple[np.ndarray, np.ndarray]:
    """First and last place of each window: moments, or bars where cases have no common clock."""
    return (spans.first_step, spans.last_step) if store.independent else (spans.first_time, spans.last_time)


def _intervals(
    rejected: Mapping[str, WindowState], window_ids: pl.Series, spans: WindowSpans, store: BarStore
) -> list[_Interval]:
    first, last = _axis(spans, store)
    rows = np.flatnonzero(window_ids.is_in(list(rejected)).to_numpy())
    found = [_Interval(window_ids[int(row)], int(spans.series[row]), int(first[row]), int(last[row])) for row in rows]
    if store.independent:
        return found
    for name, state in rejected.items():  # as they were told: the window may not be there, or be another one by now
        series = _series_number(state.series, name, store.series)
        if state.first_time and series is not None:
            found.append(_Interval(name, series, _microseconds(state.first_time), _microseconds(state.last_time)))
    return found


def _series_number(told: str, window_id: str, series: Sequence[str]) -> int | None:
    """Number of the series that a window of whatever stride lies in; None where it is none of these.

    Where nobody told, the window's name does. One log serves all data: that a run has a single series says nothing.
    """
    name = told or (window_id if window_id in series else window_id.rpartition("_")[0])
    return series.index(name) if name in series else None


def _microseconds(moment: str) -> int:
    return int(np.datetime64(moment.removesuffix("Z"), "us").astype(np.int64))


def read_blacklist(path: Path, annotator: str, store: BarStore | None = None) -> list[LabelEvent]:
    """Events from a list of rejected windows.

    Args:
        path: CSV with ``window_id`` and perhaps ``raw_start_idx``, ``raw_end_idx`` (first and last bar of the series),
            ``reason``, ``blacklisted_date``, ``first_time``, ``last_time`` (UTC), ``series``.
        annotator: who rejected them.
        store: the bars of which the file speaks, so that numbers of bars become times where a row tells no times, and
            a window whose name is none of moola's lies in the series of a store that has only one; None: they do not.

    Raises:
        DataError: every row that cannot be read, in one go.
    """
    problems = Problems()
    events: list[LabelEvent] = []
    for row in read_rows(path, ("window_id",), problems):
        bars = [optional_number(row.cells, name, row.place, problems) for name in _COLUMNS[1:3]]
        day = row.cells.get("blacklisted_date")
        told = {"at": _midnight(day, row.place, problems)} if day else {}
        event = row.event(
            problems,
            *bars,
            decision="blacklist",
            annotator=annotator,
            note=row.cells.get("reason") or "",
            **{name: row.cells.get(name) or "" for name in ("first_time", "last_time", "series")},
            **told,
        )
        if event and store is not None and not store.independent:
            event = _placed(event, bars, store, row.place, problems)
        events += [event] if event else []
    refuse(f"the blacklist {path} cannot be read", problems)
    return events


def _placed(
    event: LabelEvent, numbers: Sequence[int | None], store: BarStore, place: str, problems: Problems
) -> LabelEvent:
    """The event with its series, and with the time of its bars where it tells none."""
    number = _series_number(event.series, event.window_id, store.series)
    if number is None and len(store.series) == 1 and not event.series and not _OWN_NAME.fullmatch(event.window_id):
        number = 0
    if number is None:
        return event
    event = dataclasses.replace(event, series=store.series[number])
    begin, end = numbers
    if event.first_time or begin is None or end is None:
        return event
    bars = store.timestamps[store.offsets[number] : store.offsets[number + 1]]
    if not 0 <= begin <= end < len(bars):
        told = f"{place}: {begin} to {end} of {len(bars)} bars"
        problems.count("spans of bars that are not in the series", told, "give the bars that they were counted in")
        return event
    first, last = (moment_text(int(bars[bar])) for bar in (begin, end))
    return dataclasses.replace(event, first_time=first, last_time=last)


def _midnight(day: str, place: str, problems: Problems) -> str:
    try:
        moment = datetime.datetime.fromisoformat(day)
    except ValueError:
        problems.count("dates that are none", f"{place}: '{day}'", "write dates as 2026-01-31")
        return ""
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).isoformat()


def listed_windows(path: Path) -> list[str]:
    """Names of the windows in a list; none where there is no list.

    Raises:
        DataError: it cannot be read.
    """
    if not path.exists():
        return []
    problems = Problems()
    names = [row.cells["window_id"] or "" for row in read_rows(path, ("window_id",), problems)]
    refuse(f"the blacklist {path} cannot be read", problems)
    return names


def write_blacklist(path: Path, events: Iterable[LabelEvent], windows: pl.DataFrame | None = None) -> int:
    """Write the list that `read_blacklist` reads, whole or not at all; returns how many rows it has.

    Args:
        path: the file.
        events: blacklistings in effect, one a window.
        windows: ``window_id``, ``raw_start_idx``, ``raw_end_idx`` (within the series), ``first_time``, ``last_time``
            (text), ``series`` of windows that are known; None: nothing is known but what the events tell.
    """
    known = {row["window_id"]: row for row in windows.iter_rows(named=True)} if windows is not None else {}
    rows: list[dict[str, object]] = []
    for event in events:
        told = {name: getattr(event, name) or None for name in ("first_time", "last_time", "series")}
        here = known.get(event.window_id, {})
        row = {"window_id": event.window_id, "reason": event.note, "blacklisted_date": event.at[:10]}
        rows.append({**here, **row, **{name: text or here.get(name) for name, text in told.items()}})
    kinds = {name: pl.Int64 if name.startswith("raw") else pl.String for name in _COLUMNS}
    with replace_atomically(path) as handle:
        pl.DataFrame(rows, schema=kinds).write_csv(handle)
    return len(rows)
