"""A description says what a brute count over the bars says, for any calendar."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import statistics
import zoneinfo

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moola.data.calendars import SessionCalendar
from moola.data.description import GAP_STEPS, Intake, describe_data
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import DataError
from moola.pipelines.stages.windows import windows_over_pauses

MINUTE = 60_000_000
START = datetime.datetime(2024, 3, 8, 12, tzinfo=datetime.UTC)  # the clocks of New York change two days later
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
steps = st.lists(st.sampled_from([1, 1, 1, 1, 2, 5, 60, 3000]), min_size=20, max_size=120)


def at(minutes: list[int]) -> np.ndarray:
    """Times whose distances are these."""
    return int(START.timestamp()) * 1_000_000 + MINUTE * np.concatenate([[0], np.cumsum(minutes)])


def nothing(n: int) -> pl.Series:
    return pl.Series([None], dtype=pl.String).new_from_index(0, n)


@given(several=st.lists(steps, min_size=1, max_size=3), length=st.integers(2, 9), max_gap=st.sampled_from([None, 1, 7]))
def test_counts_gaps_and_stretches_are_those_of_a_brute_count(store_of, several, length, max_gap):
    store = store_of(*map(at, several))
    config = WindowConfig(length=length, max_gap=None if max_gap is None else f"{max_gap}m")
    try:
        windows = WindowIndex.build(store, config)
    except DataError:
        assume(False)
    found = describe_data(store, windows, nothing(len(windows)))
    assert found.bars == sum(len(pauses) + 1 for pauses in several)
    covered, longest = [], []
    for series, pauses in zip(found.series, several, strict=True):
        median = statistics.median(pauses)
        wide = [pause for pause in pauses if pause > 1.5 * median]
        longest += wide
        assert (series.bars, series.step_s) == (len(pauses) + 1, 60 * median)
        assert series.gaps == len(wide)
        assert series.longest_gap_s == 60 * max(pauses)
        assert abs(series.missing_bars - sum(pause / median - 1 for pause in wide)) <= 0.5 * len(wide)
        stretches = [1]
        for pause in pauses:
            if max_gap is not None and pause > max_gap:
                stretches.append(1)
            else:
                stretches[-1] += 1
        assert series.windows == sum(max(bars - length + 1, 0) for bars in stretches)
        covered += [bars for bars in stretches if bars >= length]
    assert found.windows == sum(series.windows for series in found.series)
    assert found.stretch_bars == (min(covered), int(statistics.median(covered)), max(covered))
    assert [gap.seconds for gap in found.gaps] == [60 * pause for pause in sorted(longest, reverse=True)[:20]]


@given(several=st.lists(steps, min_size=1, max_size=2))
def test_sessions_are_those_of_the_clock_on_the_wall(store_of, several):
    store = store_of(*map(at, several))
    calendar = SessionCalendar(timezone="America/New_York", open="09:30", close="16:00", days=("fri", "mon", "tue"))
    windows = WindowIndex.build(store, WindowConfig(length=2))
    found = describe_data(store, windows, nothing(len(windows)), calendar=calendar).sessions
    bars: dict[tuple[int, datetime.date], int] = {}
    outside = gaps = missing = 0
    for number, pauses in enumerate(several):
        times = [START + datetime.timedelta(minutes=m) for m in itertools.accumulate(pauses, initial=0)]
        days = []
        for time in times:
            local = time.astimezone(NEW_YORK)
            is_open = datetime.time(9, 30) <= local.time() < datetime.time(16) and local.weekday() in (4, 0, 1)
            days.append(local.date() if is_open else None)
        median = statistics.median(pauses)
        for day in days:
            outside += day is None
            if day is not None:
                bars[number, day] = bars.get((number, day), 0) + 1
        for pause, before, after in zip(pauses, days, days[1:], strict=False):
            if pause > 1.5 * median and before == after and before is not None:
                gaps += 1
                missing += int(np.round(pause / median - 1))
    counts = sorted(bars.values()) or [0]
    assert found is not None
    assert (found.sessions, found.outside, found.gaps, found.missing_bars) == (len(bars), outside, gaps, missing)
    assert found.bars == (counts[0], int(statistics.median(counts)), counts[-1])
    assert len(found.longest_gaps) == min(gaps, 20)


@given(seed=st.integers(0, 1000), split=st.booleans())
def test_every_window_is_counted_once_under_its_span_and_label(store_of, seed, split):
    store = store_of(at([1] * 60))
    windows = WindowIndex.build(store, WindowConfig(length=5))
    generator = np.random.default_rng(seed)
    labels = pl.Series(generator.choice(["a", "b", None], len(windows)).tolist(), dtype=pl.String)
    spans = pl.Series(generator.choice(["train", "test", "excluded"], len(windows)).tolist(), dtype=pl.String)
    found = describe_data(store, windows, labels, spans if split else None)
    pairs = list(zip(spans.to_list() if split else ["all"] * len(labels), labels.to_list(), strict=True))
    told = {(s, None if name == "unlabeled" else name): n for s, c in found.labels.items() for name, n in c.items()}
    assert told == {pair: pairs.count(pair) for pair in pairs}
    assert found.spans == ({span: spans.to_list().count(span) for span in set(spans)} if split else {})


def most_that_share_no_bar(starts: list[int], reach: int) -> int:
    """The most windows that can be chosen so that no bar is in two: the better of leaving and taking each in turn."""
    best = [0]
    for number, start in enumerate(starts):
        before = sum(earlier + reach <= start for earlier in starts[:number])
        best.append(max(best[-1], 1 + best[before]))
    return best[-1]


@given(
    several=st.lists(steps, min_size=1, max_size=3),
    length=st.integers(2, 9),
    stride=st.integers(1, 11),
    horizon=st.integers(0, 4),
    max_gap=st.sampled_from([None, "1m", "7m"]),
)
def test_windows_that_share_no_bar_are_as_many_as_can_be_chosen(store_of, several, length, stride, horizon, max_gap):
    store = store_of(*map(at, several))
    try:
        windows = WindowIndex.build(store, WindowConfig(length, stride, horizon_bars=horizon, max_gap=max_gap))
    except DataError:
        assume(False)
    found = describe_data(store, windows, nothing(len(windows)))
    assert found.disjoint_windows == most_that_share_no_bar(windows.starts.tolist(), length + horizon)
    assert found.disjoint_windows <= store.n_bars // (length + horizon)
    assert found.average_uniqueness == pytest.approx(windows.effective_count() / len(windows), abs=1e-4)


def test_a_session_of_seven_bars_holds_one_window_of_five_that_shares_no_bar(store_of):
    days = np.arange(130)[:, None] * 24 * 60 + np.arange(7) * 60
    store = store_of(days.ravel() * MINUTE)
    windows = WindowIndex.build(store, WindowConfig(length=5, visible=4, zone=(1, 4)), SessionCalendar())
    found = describe_data(store, windows, nothing(len(windows)))
    assert (found.windows, found.disjoint_windows) == (390, 130)


@given(several=st.lists(steps, min_size=1, max_size=3), length=st.integers(2, 9), stride=st.integers(1, 11))
def test_windows_over_pauses_are_those_of_a_look_at_every_bar(store_of, several, length, stride):
    store = store_of(*map(at, several))
    windows = WindowIndex.build(store, WindowConfig(length, stride, horizon_bars=1))
    wide = {
        int(store.offsets[number]) + row
        for number, pauses in enumerate(several)
        for row, pause in enumerate(pauses)
        if pause > GAP_STEPS * statistics.median(pauses)
    }
    over = sum(any(bar in wide for bar in range(start, start + length)) for start in windows.starts.tolist())
    assert windows_over_pauses(store, windows) == over


def test_what_became_of_rows_stays_with_the_description(store_of):
    store = store_of(at([1] * 9))
    windows = WindowIndex.build(store, WindowConfig(length=3))
    intake = Intake(20, 4, (("high is below low", 4),), 6, ("2 files had a footer",), 10)
    assert describe_data(store, windows, nothing(len(windows)), intake=intake).intake == intake
    assert describe_data(store, windows, nothing(len(windows))).intake is None


def test_cases_have_neither_times_nor_gaps(store_of):
    store = store_of(np.arange(8), np.arange(8), np.arange(8), independent=True)
    windows = WindowIndex.build(store, WindowConfig())
    found = describe_data(store, windows, nothing(3))
    assert {(row.first_time, row.last_time, row.step_s, row.gaps) for row in found.series} == {(None, None, None, 0)}
    assert (found.independent, found.windows, found.disjoint_windows, found.gaps) == (True, 3, 3, ())


def test_a_series_of_one_bar_is_described(store_of):
    store = store_of(at([1] * 9), at([]))
    windows = WindowIndex.build(store, WindowConfig(length=3))
    _, lone = describe_data(store, windows, nothing(len(windows))).series
    assert (lone.bars, lone.step_s, lone.windows) == (1, None, 0)
    assert lone.first_time == lone.last_time == "2024-03-08T12:00:00Z"


def test_series_that_pause_together_are_told_together(store_of):
    store = store_of(at([1, 1, 1, 9, 1, 9, 1, 1]), at([1, 1, 1, 9, 1, 9, 1, 1]))
    windows = WindowIndex.build(store, WindowConfig(length=3))
    gaps = describe_data(store, windows, nothing(len(windows))).gaps
    assert [(gap.series, gap.after[11:16], gap.before[11:16]) for gap in gaps] == [
        ("s0", "12:03", "12:12"),
        ("s1", "12:03", "12:12"),
        ("s0", "12:13", "12:22"),
        ("s1", "12:13", "12:22"),
    ]


def test_a_description_is_plain_json(market):
    found = describe_data(market.store, market.windows, market.table["true_label"], market.table["span"])
    text = json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert json.loads(text)["windows"] == len(market.windows) == sum(found.spans.values())
    assert found.duplicates.found == 0
