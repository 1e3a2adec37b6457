"""Windows are all the unbroken stretches of bars there are, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola import schemas
from moola.data.bar_store import BarStore
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import ConfigError, DataError

DAY = 86_400_000_000
MAX_GAP_DAYS = 3.0

# A series is the pauses between its bars, in days; those above 3 end a session.
SERIES = st.lists(st.sampled_from([0.01, 1.0, 2.0, 3.0, 3.01, 10.0]), min_size=0, max_size=40)
LISTS_OF_SERIES = st.lists(SERIES, min_size=1, max_size=4)


def stamps(pauses: list[float], first: int = 0) -> np.ndarray:
    return first + np.concatenate([[0], np.cumsum([int(pause * DAY) for pause in pauses])]).astype(np.int64)


def unbroken(store: BarStore, start: int, length: int, max_gap_days: float | None) -> bool:
    """Whether the bars from `start` on are one stretch: the definition, bar by bar."""
    end = start + length
    if end > store.n_bars or any(start < edge < end for edge in store.offsets[1:-1]):
        return False
    pauses = [store.timestamps[i + 1] - store.timestamps[i] for i in range(start, end - 1)]
    return max_gap_days is None or all(pause <= max_gap_days * DAY for pause in pauses)


def build(store: BarStore, config: WindowConfig) -> np.ndarray:
    """Starts of all windows; none where no window fits."""
    try:
        return WindowIndex.build(store, config).starts
    except DataError as error:
        if "no window of" not in error.what:
            raise
        return np.array([], dtype=np.int64)


@given(parts=LISTS_OF_SERIES, length=st.integers(2, 12), gap=st.sampled_from([None, MAX_GAP_DAYS]))
def test_at_stride_one_the_windows_are_all_the_unbroken_stretches(
    parts: list[list[float]], length: int, gap: float | None, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(*map(stamps, parts))
    expected = [start for start in range(store.n_bars) if unbroken(store, start, length, gap)]
    assert build(store, WindowConfig(length=length, max_gap_days=gap)).tolist() == expected


@given(
    parts=LISTS_OF_SERIES,
    length=st.integers(2, 12),
    stride=st.integers(1, 9),
    gap=st.sampled_from([None, MAX_GAP_DAYS]),
)
def test_at_any_stride_no_window_crosses_the_end_of_a_series_or_a_long_pause(
    parts: list[list[float]], length: int, stride: int, gap: float | None, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(*map(stamps, parts))
    starts = build(store, WindowConfig(length=length, stride_bars=stride, max_gap_days=gap))
    assert all(unbroken(store, start, length, gap) for start in starts)
    assert len(set(starts.tolist())) == len(starts)
    for first, second in itertools.pairwise(starts):
        if unbroken(store, first, int(second - first) + length, gap):  # neighbours in one session
            assert second - first == stride


def test_a_pause_of_exactly_the_limit_does_not_end_a_session(store_of: Callable[..., BarStore]) -> None:
    config = WindowConfig(length=2, max_gap_days=3)
    assert build(store_of(stamps([3.0])), config).tolist() == [0]
    assert build(store_of(stamps([3.01])), config).tolist() == []


def test_two_series_whose_times_happen_to_join_are_still_two(store_of: Callable[..., BarStore]) -> None:
    store = store_of(stamps([1] * 3), stamps([1] * 3, first=4 * DAY))
    assert build(store, WindowConfig(length=3, max_gap_days=2)).tolist() == [0, 1, 4, 5]


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
    with pytest.raises(DataError, match="the longest unbroken stretch has 3 bars"):
        WindowIndex.build(store, WindowConfig(length=4, max_gap_days=3))


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
        ({"max_gap_days": 0.0}, "max_gap_days: 0.0"),
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
    assert table["step"].to_list() == [0, 1]


def test_the_default_data_gives_4_927_windows_a_series(market: SimpleNamespace) -> None:
    assert market.store.n_bars == 2 * 5_031
    assert dict(market.table["series"].value_counts().iter_rows()) == {"sp500": 4_927, "nasdaq": 4_927}
    first, second = (market.table.filter(series=name)["step"].to_list() for name in ("sp500", "nasdaq"))
    assert first == second == list(range(4_927))
