"""Copies are found wherever they lie, noise is not, and windows that share bars are never compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.data.bar_store import BarStore
from moola.data.near_duplicates import find_near_duplicates
from moola.data.window_index import WindowConfig, WindowIndex


def store_with(*parts: np.ndarray, independent: bool = False) -> BarStore:
    """A series a part, [n_bars, n_channels] each."""
    values = np.concatenate(parts).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    times = np.concatenate([np.arange(len(part)) for part in parts])
    nothing = (None,) * len(parts)
    names, channels = tuple(f"s{i}" for i in range(len(parts))), tuple(f"c{i}" for i in range(values.shape[1]))
    return BarStore(values, times, offsets, names, nothing, nothing, channels, independent)


def walk(n: int, seed: int = 0, channels: int = 2) -> np.ndarray:
    return 100 + np.random.default_rng(seed).normal(size=(n, channels)).cumsum(axis=0)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    source=st.integers(0, 100),
    target=st.integers(200, 340),
    factor=st.sampled_from([1.0, 3.0, 0.01]),
    level=st.sampled_from([0.0, 50.0]),
)
def test_a_copy_is_found_at_any_place_in_any_unit(seed, source, target, factor, level):
    values = walk(400, seed)
    values[target : target + 60] = factor * values[source : source + 60] + level
    store = store_with(values)
    windows = WindowIndex.build(store, WindowConfig(length=20))
    found = find_near_duplicates(store, windows)
    assert found.found >= 2
    assert any(
        pair.second - pair.first == target - source and source <= pair.first <= source + 40 for pair in found.pairs
    )
    assert found.pairs[0].correlation == pytest.approx(1, abs=1e-4)


@given(seed=st.integers(0, 1000), channels=st.integers(1, 4))
def test_noise_resembles_nothing(seed, channels):
    store = store_with(walk(300, seed, channels), walk(300, seed + 1, channels))
    windows = WindowIndex.build(store, WindowConfig(length=30))
    assert find_near_duplicates(store, windows, threshold=0.9999).found == 0


def test_windows_that_share_bars_are_never_compared():
    store = store_with(np.arange(40.0)[:, None])  # a straight line: every window has the shape of every other
    windows = WindowIndex.build(store, WindowConfig(length=20, horizon_bars=3))
    found = find_near_duplicates(store, windows)
    assert (found.found, found.pairs) == (0, ())
    longer = store_with(np.arange(60.0)[:, None])
    windows = WindowIndex.build(longer, WindowConfig(length=20, horizon_bars=3))
    found = find_near_duplicates(longer, windows)
    assert found.found == 2
    assert all(pair.second - pair.first >= 23 for pair in found.pairs)


def test_windows_that_never_move_resemble_nothing():
    store = store_with(np.full((100, 2), 7.1))
    assert find_near_duplicates(store, WindowIndex.build(store, WindowConfig(length=10))).found == 0


def test_a_copy_across_the_border_is_counted_and_comes_first():
    values = walk(300)
    values[250:270] = values[50:70]  # from the training span into the test
    values[100:120] = values[20:40]  # inside the training span
    store = store_with(values)
    windows = WindowIndex.build(store, WindowConfig(length=10, stride_bars=10))
    spans = np.where(np.asarray(windows.starts) < 200, "train", "test").astype(object)
    found = find_near_duplicates(store, windows, spans)
    assert (found.found, found.across) == (8, 4)
    assert [(pair.first, pair.second) for pair in found.pairs[:2]] in ([(5, 25), (6, 26)], [(6, 26), (5, 25)])
    assert {(pair.first, pair.second) for pair in found.pairs} == {(5, 25), (6, 26), (2, 10), (3, 11)}
    assert find_near_duplicates(store, windows).across == 0


def test_cases_are_compared_with_each_other():
    cases = [walk(50, seed) for seed in range(6)]
    cases[4] = 2 * cases[1] - 30
    store = store_with(*cases, independent=True)
    found = find_near_duplicates(store, WindowIndex.build(store, WindowConfig()))
    assert [(pair.first, pair.second) for pair in found.pairs] == [(1, 4)]
    assert (found.looked_at, found.compared_with, found.found) == (6, 6, 2)


def test_beyond_the_limits_an_even_choice_is_looked_at():
    store = store_with(walk(2000))
    windows = WindowIndex.build(store, WindowConfig(length=20))
    found = find_near_duplicates(store, windows, max_windows=10, max_compared=300)
    assert (found.looked_at, found.compared_with) == (10, 300)
    line = store_with(np.arange(2000.0)[:, None])
    windows = WindowIndex.build(line, WindowConfig(length=20))
    found = find_near_duplicates(line, windows, max_windows=10, max_compared=300, shown=3)
    assert (found.found, len(found.pairs)) == (10, 3)
