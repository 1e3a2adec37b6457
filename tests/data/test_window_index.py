"""Windows are all the unbroken stretches of bars there are, and nothing else."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola import schemas
from moola.data import window_index
from moola.data.bar_store import BarStore
from moola.data.calendars import OUTSIDE, WEEK, SessionCalendar
from moola.data.window_index import WindowConfig, WindowIndex, WindowSpans
from moola.errors import ConfigError, DataError

DAY = 86_400_000_000
MAX_GAP = "3d"
MAX_GAP_DAYS = 3.0

# A series is the pauses between its bars, in days; those above 3 end a stretch.
SERIES = st.lists(st.sampled_from([0.01, 1.0, 2.0, 3.0, 3.01, 10.0]), min_size=0, max_size=40)
LISTS_OF_SERIES = st.lists(SERIES, min_size=1, max_size=4)

# The same in hours, short enough for several bars to lie in a session.
HOURLY = st.lists(st.sampled_from([1 / 24, 1 / 24, 1 / 24, 0.25, 0.75, 2.0]), min_size=0, max_size=40)
CALENDARS = st.builds(
    SessionCalendar,
    st.sampled_from(["America/New_York", "Australia/Sydney", "UTC"]),
    st.sampled_from(["00:00", "09:30", "18:00"]),
    st.sampled_from(["16:00", "17:00", "24:00"]),
    st.lists(st.sampled_from(WEEK), min_size=4, unique=True).map(tuple),
    st.sampled_from(["start", "end"]),
)
IN_MARCH = 19_790 * DAY  # 2024-03-08, two days before the clocks of New York are set


def stamps(pauses: list[float], first: int = 0) -> np.ndarray:
    return first + np.concatenate([[0], np.cumsum([int(pause * DAY) for pause in pauses])]).astype(np.int64)


def unbroken(
    store: BarStore, start: int, length: int, max_gap_days: float | None, calendar: SessionCalendar | None = None
) -> bool:
    """Whether the bars from `start` on are one stretch: the definition, bar by bar."""
    end = start + length
    if end > store.n_bars or any(start < edge < end for edge in store.offsets[1:-1]):
        return False
    if calendar is not None:
        sessions = set(calendar.sessions(store.timestamps[start:end]).tolist())
        if len(sessions) > 1 or OUTSIDE in sessions:
            return False
    pauses = [store.timestamps[i + 1] - store.timestamps[i] for i in range(start, end - 1)]
    return max_gap_days is None or all(pause <= max_gap_days * DAY for pause in pauses)


def build(store: BarStore, config: WindowConfig, calendar: SessionCalendar | None = None) -> np.ndarray:
    """Starts of all windows; none where no window fits."""
    try:
        return WindowIndex.build(store, config, calendar).starts
    except DataError as error:
        if "no window of" not in error.what:
            raise
        return np.array([], dtype=np.int64)


@given(parts=LISTS_OF_SERIES, length=st.integers(2, 12), gap=st.booleans())
def test_at_stride_one_the_windows_are_all_the_unbroken_stretches(
    parts: list[list[float]], length: int, gap: bool, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(*map(stamps, parts))
    expected = [start for start in range(store.n_bars) if unbroken(store, start, length, MAX_GAP_DAYS if gap else None)]
    assert build(store, WindowConfig(length=length, max_gap=MAX_GAP if gap else None)).tolist() == expected


@given(
    parts=st.lists(HOURLY, min_size=1, max_size=3),
    calendar=CALENDARS,
    length=st.integers(2, 6),
    horizon=st.integers(0, 2),
    gap=st.booleans(),
    portion=st.integers(1, 50),
)
def test_no_window_and_no_horizon_leaves_its_session(
    parts: list[list[float]],
    calendar: SessionCalendar,
    length: int,
    horizon: int,
    gap: bool,
    portion: int,
    store_of: Callable[..., BarStore],
) -> None:
    store = store_of(*(stamps(part, IN_MARCH) for part in parts))
    reach, limit = length + horizon, 0.25 if gap else None
    expected = [start for start in range(store.n_bars) if unbroken(store, start, reach, limit, calendar)]
    config = WindowConfig(length=length, horizon_bars=horizon, max_gap="6h" if gap else None)
    with mock.patch.object(window_index, "_PORTION", portion):
        assert build(store, config, calendar).tolist() == expected


@given(parts=LISTS_OF_SERIES, length=st.integers(2, 12), stride=st.integers(1, 9), gap=st.booleans())
def test_at_any_stride_no_window_crosses_the_end_of_a_series_or_a_long_pause(
    parts: list[list[float]], length: int, stride: int, gap: bool, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(*map(stamps, parts))
    limit = MAX_GAP_DAYS if gap else None
    starts = build(store, WindowConfig(length=length, stride_bars=stride, max_gap=MAX_GAP if gap else None))
    assert all(unbroken(store, start, length, limit) for start in starts)
    assert len(set(starts.tolist())) == len(starts)
    for first, second in itertools.pairwise(starts):
        if unbroken(store, first, int(second - first) + length, limit):  # neighbours in one stretch
            assert second - first == stride
    for start in range(store.n_bars):  # every stretch long enough has a window at its first bar
        begins = start in store.offsets or (gap and np.diff(store.timestamps)[start - 1] > MAX_GAP_DAYS * DAY)
        if begins and unbroken(store, start, length, limit):
            assert start in starts


@given(parts=LISTS_OF_SERIES, length=st.integers(2, 6), stride=st.integers(1, 9), horizon=st.integers(0, 3))
def test_spans_are_what_the_bars_of_each_window_say(
    parts: list[list[float]], length: int, stride: int, horizon: int, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(*(stamps(part, first=number * DAY // 2) for number, part in enumerate(parts)))
    config = WindowConfig(length=length, stride_bars=stride, horizon_bars=horizon, max_gap=MAX_GAP)
    if not len(build(store, config)):
        return
    windows = WindowIndex.build(store, config)
    spans = windows.spans(store)
    calendar = sorted(set(store.timestamps.tolist()))
    for row, start in enumerate(windows.starts):
        bars = store.timestamps[start : start + length + horizon].tolist()
        assert (spans.first_time[row], spans.last_time[row]) == (bars[0], bars[-1])
        assert (spans.first_step[row], spans.last_step[row]) == (calendar.index(bars[0]), calendar.index(bars[-1]))
        assert store.offsets[spans.series[row]] <= start < store.offsets[spans.series[row] + 1]
    for a, b in itertools.pairwise(range(len(windows))):
        between = int(windows.starts[b] - windows.starts[a]) + length
        same = unbroken(store, int(windows.starts[a]), between, MAX_GAP_DAYS)
        assert (spans.stretch[a] == spans.stretch[b]) == same


@given(parts=LISTS_OF_SERIES, length=st.integers(2, 6), stride=st.integers(1, 9), horizon=st.integers(0, 3))
def test_windows_overlap_where_they_share_a_bar(
    parts: list[list[float]], length: int, stride: int, horizon: int, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(*map(stamps, parts))
    config = WindowConfig(length=length, stride_bars=stride, horizon_bars=horizon, max_gap=MAX_GAP)
    if not len(build(store, config)):
        return
    windows = WindowIndex.build(store, config)
    bars = [set(range(start, start + length + horizon)) for start in windows.starts.tolist()]
    rows = np.arange(len(windows))[::2]
    first, past = windows.overlapping(rows)
    for row, a, b in zip(rows, first, past, strict=True):
        assert list(range(a, b)) == [other for other in range(len(windows)) if bars[row] & bars[other]]


@given(
    parts=LISTS_OF_SERIES,
    length=st.integers(2, 6),
    stride=st.integers(1, 9),
    horizon=st.integers(0, 3),
    portion=st.integers(1, 9),
)
def test_the_effective_count_is_the_sum_of_average_uniqueness(
    parts: list[list[float]], length: int, stride: int, horizon: int, portion: int, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(*map(stamps, parts))
    config = WindowConfig(length=length, stride_bars=stride, horizon_bars=horizon, max_gap=MAX_GAP)
    if not len(build(store, config)):
        return
    windows = WindowIndex.build(store, config)
    bars = [range(start, start + length + horizon) for start in windows.starts.tolist()]
    holding = np.bincount(np.concatenate(bars), minlength=store.n_bars)
    expected = sum(np.mean([1 / holding[bar] for bar in window]) for window in bars)
    with mock.patch.object(window_index, "_PORTION", portion):
        assert windows.effective_count() == pytest.approx(expected, rel=1e-12)


def test_windows_that_share_no_bar_count_one_each(store_of: Callable[..., BarStore]) -> None:
    store = store_of(stamps([1] * 20))
    assert WindowIndex.build(store, WindowConfig(length=3, stride_bars=3)).effective_count() == 7
    assert WindowIndex.build(store, WindowConfig(length=3)).effective_count() == pytest.approx(7)


def test_independent_cases_never_share_a_step(store_of: Callable[..., BarStore]) -> None:
    store = store_of(np.arange(5), np.arange(5), independent=True)
    spans = WindowIndex.build(store, WindowConfig(length=3, stride_bars=2)).spans(store)
    assert spans.first_step.tolist() == [0, 2, 5, 7]
    assert spans.last_step.tolist() == [2, 4, 7, 9]
    assert spans.stretch.tolist() == [0, 0, 1, 1]


def test_some_spans_are_taken_by_number_or_by_mask(store_of: Callable[..., BarStore]) -> None:
    store = store_of(stamps([1] * 4))
    spans = WindowIndex.build(store, WindowConfig(length=2)).spans(store)
    assert isinstance(spans[np.array([2, 0])], WindowSpans)
    assert spans[np.array([2, 0])].first_step.tolist() == [2, 0]
    assert spans[spans.first_step > 1].last_time.tolist() == [3 * DAY, 4 * DAY]
    assert len(spans[np.array([], dtype=np.int64)]) == 0


def test_cases_have_no_sessions(store_of: Callable[..., BarStore]) -> None:
    store = store_of(np.arange(5), np.arange(5), independent=True)
    with pytest.raises(DataError, match="does not apply to independent cases"):
        WindowIndex.build(store, WindowConfig(), SessionCalendar())


def test_a_pause_of_exactly_the_limit_does_not_end_a_session(store_of: Callable[..., BarStore]) -> None:
    config = WindowConfig(length=2, max_gap="3d")
    assert build(store_of(stamps([3.0])), config).tolist() == [0]
    assert build(store_of(stamps([3.01])), config).tolist() == []


def test_two_series_whose_times_happen_to_join_are_still_two(store_of: Callable[..., BarStore]) -> None:
    store = store_of(stamps([1] * 3), stamps([1] * 3, first=4 * DAY))
    assert build(store, WindowConfig(length=3, max_gap="2d")).tolist() == [0, 1, 4, 5]


def test_gathered_windows_hold_the_bars_at_their_positions(store_of: Callable[..., BarStore]) -> None:
    store = store_of(stamps([1] * 9), channels=("x", "y"))
    windows = WindowIndex.build(store, WindowConfig(length=4, visible=3))
    gathered = windows.gather(store.values, np.array([5, 0]))
    np.testing.assert_array_equal(gathered, np.stack([store.values[5:8], store.values[0:3]]))
    assert windows.gather(store.values, np.array([1]), n_bars=4).shape == (1, 4, 2)


def test_whole_series_are_windows_where_no_length_is_given(store_of: Callable[..., BarStore]) -> None:
    windows = WindowIndex.build(store_of(stamps([1] * 4), stamps([1] * 4)), WindowConfig())
    assert (windows.starts.tolist(), windows.length, windows.visible, windows.zone) == ([0, 5], 5, 5, (0, 5))


def test_whole_series_must_be_equally_long(store_of: Callable[..., BarStore]) -> None:
    with pytest.raises(DataError, match="between 2 and 3 bars"):
        WindowIndex.build(store_of(stamps([1]), stamps([1, 1])), WindowConfig())


@pytest.mark.parametrize("config", [WindowConfig(visible=6), WindowConfig(zone=(1, 6))])
def test_whole_series_cannot_show_more_bars_than_they_have(
    config: WindowConfig, store_of: Callable[..., BarStore]
) -> None:
    with pytest.raises(DataError, match="does not fit into windows of 5 bars"):
        WindowIndex.build(store_of(stamps([1] * 4), stamps([1] * 4)), config)


def test_windows_too_long_for_every_stretch_are_refused_with_the_longest(store_of: Callable[..., BarStore]) -> None:
    store = store_of(stamps([1, 1, 10, 1]), stamps([1]))
    with pytest.raises(DataError, match="the longest unbroken stretch has 3 bars") as caught:
        WindowIndex.build(store, WindowConfig(length=4, max_gap="3d"))
    assert caught.value.way_out == "choose data.window.length=3 or less or a larger data.window.max_gap"


def test_a_horizon_too_long_for_every_stretch_is_refused(store_of: Callable[..., BarStore]) -> None:
    with pytest.raises(DataError, match=r"no window of 6 bars fits \(with 2 of the horizon\)") as caught:
        WindowIndex.build(store_of(stamps([1] * 4)), WindowConfig(length=4, horizon_bars=2))
    remark = "(one window, which no date splits: to train, cut much shorter ones or bring more bars)"
    assert caught.value.way_out == f"choose data.window.length=3 or less {remark}"


@pytest.mark.parametrize(
    ("config", "way_out"),
    [
        (WindowConfig(length=7, visible=5, zone=(2, 5)), "data.window.length=5 or less"),
        (WindowConfig(length=9, visible=5, zone=(2, 5), horizon_bars=1), "data.window.length=4 data.window.visible=4"),
        (WindowConfig(length=10, visible=8, zone=(4, 8)), "data.window.visible=5 data.window.zone=[2,5]"),
        (WindowConfig(length=10, visible=4, zone=(4, 8)), "data.window.length=5 data.window.zone=[2,5]"),
    ],
)
def test_the_way_out_of_windows_too_long_is_one_that_works(
    config: WindowConfig, way_out: str, store_of: Callable[..., BarStore]
) -> None:
    """Also where fewer bars are left than are visible, or than the zone reaches to."""
    store = store_of(stamps([1] * 4))
    with pytest.raises(DataError) as caught:
        WindowIndex.build(store, config)
    assert way_out in caught.value.way_out
    given = dict(re.findall(r"data\.window\.(\w+)=(\S+)", caught.value.way_out))
    mended = dataclasses.replace(config, **{name: ast.literal_eval(value) for name, value in given.items()})
    assert len(WindowIndex.build(store, mended))


def test_cases_too_short_for_the_windows_are_offered_whole(store_of: Callable[..., BarStore]) -> None:
    cases = store_of(stamps([1] * 4), stamps([1] * 4), independent=True)
    config = WindowConfig(length=10, visible=7, zone=(3, 7))
    with pytest.raises(DataError, match="no window of 10 bars fits") as caught:
        WindowIndex.build(cases, config)
    whole = "choose data.window.length=null data.window.visible=null data.window.zone=null (whole cases) or "
    assert caught.value.way_out.startswith(whole)
    assert len(WindowIndex.build(cases, WindowConfig(length=None, visible=None, zone=None))) == 2
    with pytest.raises(DataError, match="does not fit into windows of 5 bars") as caught:
        WindowIndex.build(cases, dataclasses.replace(config, length=None))
    assert "data.window.visible=null data.window.zone=null" in caught.value.way_out


def test_cases_of_different_lengths_are_not_offered_whole(store_of: Callable[..., BarStore]) -> None:
    with pytest.raises(DataError) as caught:
        WindowIndex.build(store_of(stamps([1] * 4), stamps([1]), independent=True), WindowConfig(length=10))
    assert caught.value.way_out == "choose data.window.length=5 or less"


def test_bars_outside_every_session_are_refused_with_the_calendar_to_blame(store_of: Callable[..., BarStore]) -> None:
    store = store_of(stamps([1] * 9))  # at midnight
    with pytest.raises(DataError, match="none of the 10 bars lies in a session") as caught:
        WindowIndex.build(store, WindowConfig(length=2), SessionCalendar("UTC", "09:30", "16:00"))
    assert "data.calendar" in caught.value.way_out
    with pytest.raises(DataError, match="the longest unbroken stretch of a session has 1 bars") as caught:
        WindowIndex.build(store, WindowConfig(length=2), SessionCalendar())
    assert caught.value.way_out == "choose longer sessions in data.calendar"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"length": 1}, "length: 1"),
        ({"stride_bars": 0}, "stride_bars: 0"),
        ({"length": 5, "visible": 6}, "visible: 6"),
        ({"length": 5, "visible": 1}, "visible: 1"),
        ({"length": 5, "zone": (3, 3)}, "zone: [3, 3]"),
        ({"length": 5, "zone": (-1, 3)}, "zone: [-1, 3]"),
        ({"length": 5, "zone": (0, 6)}, "zone: [0, 6]"),
        ({"max_gap": "0s"}, "max_gap: '0s' is shorter"),
        ({"max_gap": "8"}, "max_gap: '8' is not a duration"),
        ({"length": 5, "horizon_bars": -1}, "horizon_bars: -1"),
        ({"horizon_bars": 1}, "horizon_bars: 1 bars after a whole series"),
        ({"length": 10**20}, "length: 100000000000000000000 is more bars than"),
        ({"length": 5, "stride_bars": 10**20}, "stride_bars: 100000000000000000000 is more bars than"),
        ({"length": 5, "horizon_bars": 10**20}, "horizon_bars: 100000000000000000000 is more bars than"),
    ],
)
def test_windows_that_cannot_be_cut_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WindowConfig(**values)
    assert caught.value.problems[0].startswith(problem)


def test_the_table_names_each_window_and_its_span_of_time(store_of: Callable[..., BarStore]) -> None:
    store = store_of(stamps([1] * 4), stamps([1] * 3, first=2 * DAY))
    windows = WindowIndex.build(store, WindowConfig(length=3, stride_bars=2))
    table = schemas.windows().validate(windows.table(store), lazy=True)
    assert table["window_id"].to_list() == ["s0_0000000", "s0_0000002", "s1_0000000"]
    assert table["series"].to_list() == ["s0", "s0", "s1"]
    assert table["start"].to_list() == [0, 2, 5]
    assert table["step"].to_list() == [0, 2, 2]  # the second series begins on the day of the first one's third bar
    days = pl.col("first_time", "last_time").dt.epoch("us") // DAY
    assert table.select(days).rows() == [(0, 2), (2, 4), (2, 4)]


def test_cases_that_are_windows_keep_their_names_and_stand_apart(store_of: Callable[..., BarStore]) -> None:
    store = store_of(stamps([1] * 2), stamps([1] * 2), independent=True)
    table = WindowIndex.build(store, WindowConfig()).table(store)
    assert table["window_id"].to_list() == ["s0", "s1"]
    assert table["step"].to_list() == [0, 3]


def test_a_window_that_is_alone_in_its_series_and_not_all_of_it_is_named_by_its_first_bar(
    store_of: Callable[..., BarStore],
) -> None:
    store = store_of(stamps([1] * 4), stamps([1] * 3))
    table = WindowIndex.build(store, WindowConfig(length=4, stride_bars=9)).table(store)
    assert table["window_id"].to_list() == ["s0_0000000", "s1_0000000"]


@pytest.mark.parametrize("first", [9_999_998, 123])
def test_names_are_the_number_of_the_first_bar_in_seven_digits_or_more(first: int) -> None:
    starts, stretches = np.array([5 + first, 6 + first]), np.array([0, 5])
    n_bars = first + 20
    values = np.broadcast_to(np.float32(0), (n_bars, 1))
    offsets, nothing = np.array([0, 5, n_bars]), (None, None)
    store = BarStore(values, np.arange(n_bars), offsets, ("a", "b"), nothing, nothing, ("x",), True)
    names = WindowIndex(starts, 3, 3, (0, 3), stretches).table(store)["window_id"].to_list()
    assert names == [f"b_{first:07d}", f"b_{first + 1:07d}"]


def test_the_default_data_gives_4_927_windows_a_series(market: SimpleNamespace) -> None:
    assert market.store.n_bars == 2 * 5_031
    assert dict(market.table["series"].value_counts().iter_rows()) == {"sp500": 4_927, "nasdaq": 4_927}
    first, second = (market.table.filter(series=name)["step"].to_list() for name in ("sp500", "nasdaq"))
    assert first == second == list(range(4_927))
