"""Distances are those of the textbook; the null knows that bars depend on each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.data.bar_features import drift_sample
from moola.data.bar_store import BarStore
from moola.data.drift import DriftConfig, Sample, measure_drift, usual_block
from moola.errors import ConfigError, DataError

MINUTE = 60_000_000


def sample(values: np.ndarray, block_bars: int = 10) -> Sample:
    return Sample({"x": values}, np.arange(len(values)) // block_bars)


@given(seed=st.integers(0, 10_000), n=st.integers(90, 300), m=st.integers(90, 300), decimals=st.integers(0, 3))
def test_the_distances_are_those_of_scipy(seed: int, n: int, m: int, decimals: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=n).round(decimals), generator.normal(0.3, 1.2, size=m).round(decimals)
    (row,) = measure_drift(sample(a), sample(b), DriftConfig(n_deals=99))
    assert row.distances["ks"].value == pytest.approx(stats.ks_2samp(a, b).statistic)
    lower, upper = np.quantile(np.concatenate([a, b]), (0.25, 0.75))
    if upper > lower:
        assert row.distances["wasserstein"].value == pytest.approx(stats.wasserstein_distance(a, b) / (upper - lower))
    assert (row.n_reference, row.n_current) == (n, m)


def test_the_stability_index_is_the_sum_over_deciles() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=400), generator.normal(1, 1, size=400)
    edges = np.quantile(np.concatenate([a, b]), np.linspace(0, 1, 11)[1:-1])
    p, q = (np.bincount(np.searchsorted(edges, v), minlength=10) / 400 for v in (a, b))
    (row,) = measure_drift(sample(a), sample(b))
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    assert row.distances["psi"].value == pytest.approx(np.sum((p - q) * np.log(p / q)))


def autocorrelated(generator: np.random.Generator, n: int = 2000, rho: float = 0.97) -> np.ndarray:
    values = np.empty(n)
    level = generator.normal() / np.sqrt(1 - rho**2)
    for number, shock in enumerate(generator.normal(size=n)):
        level = rho * level + shock
        values[number] = level
    return values


def test_dependence_is_not_drift_where_blocks_are_long_and_is_called_drift_where_they_are_not() -> None:
    false_alarms = dict.fromkeys((1, 200), 0)
    for seed in range(40):
        generator = np.random.default_rng(seed)
        a, b = autocorrelated(generator), autocorrelated(generator)
        for block in false_alarms:
            (row,) = measure_drift(sample(a, block), sample(b, block), DriftConfig(block_bars=block, n_deals=99))
            false_alarms[block] += row.drifted
    assert false_alarms[200] <= 6 < 20 <= false_alarms[1]


def test_a_change_of_scale_is_found() -> None:
    generator = np.random.default_rng(1)
    (row,) = measure_drift(sample(generator.normal(size=2000)), sample(1.5 * generator.normal(size=2000)))
    assert row.drifted and row.distances["ks"].value > row.distances["ks"].usual


def test_the_most_surprising_feature_comes_first_and_the_same_seed_gives_the_same_figures() -> None:
    generator = np.random.default_rng(2)
    block = np.arange(1000) // 20
    a = Sample({"same": generator.normal(size=1000), "moved": generator.normal(size=1000)}, block)
    b = Sample({"same": generator.normal(size=1000), "moved": generator.normal(2, 1, size=1000)}, block)
    rows = measure_drift(a, b)
    assert [(row.feature, row.drifted) for row in rows] == [("moved", True), ("same", False)]
    assert rows == measure_drift(a, b)


def test_large_sets_are_drawn_in_whole_blocks() -> None:
    values = np.random.default_rng(3).normal(size=30_000)
    (row,) = measure_drift(sample(values, 100), sample(values, 100), DriftConfig(n_deals=99, max_bars=5_000))
    assert 4_800 <= row.n_reference <= 5_000 and row.n_reference % 100 == 0


@given(n=st.integers(1, 10_000), m=st.integers(1, 10_000), window=st.integers(1, 800))
def test_the_usual_block_is_no_shorter_than_a_window_and_leaves_eight_where_that_allows(n: int, m: int, window: int):
    block = usual_block([n, m], window)
    assert window <= block <= max(window, 500)
    assert block == window or min(n, m) // block >= 8


def test_sets_that_cannot_be_compared_are_refused_with_every_reason() -> None:
    with pytest.raises(DataError) as caught:
        measure_drift(Sample({"x": np.arange(5.0)}, np.arange(5)), Sample({"y": np.arange(5.0)}, np.arange(5)))
    assert len(caught.value.why.splitlines()) == 3
    with pytest.raises(ConfigError, match="n_deals: 5"):
        DriftConfig(n_deals=5)


def test_features_of_candles_do_not_know_the_price_level() -> None:
    generator = np.random.default_rng(4)
    close = 100 * np.exp(0.01 * generator.normal(size=50).cumsum())
    opened = close * (1 + 0.001 * generator.normal(size=50))
    candles = np.stack([opened, np.maximum(opened, close) * 1.002, np.minimum(opened, close) * 0.998, close], axis=1)

    def features(factor: float) -> Sample:
        store = BarStore(
            (candles * factor).astype(np.float64),
            np.arange(50) * MINUTE,
            np.array([0, 50]),
            ("a",),
            (None,),
            (None,),
            ("open", "high", "low", "close"),
            False,
        )
        return drift_sample(store, np.arange(50), 10)

    one, other = features(1.0), features(250.0)
    assert set(one.features) == {"log_return", "log_range", "body"}
    for name, values in one.features.items():
        np.testing.assert_allclose(values, other.features[name], atol=1e-12)
    np.testing.assert_array_equal(one.block, np.arange(50) // 10)


def test_a_bar_after_a_pause_or_the_start_of_a_series_has_no_return() -> None:
    times = np.array([0, 1, 2, 30, 31, 0, 1]) * MINUTE
    store = BarStore(
        np.arange(7, dtype=np.float32)[:, None],
        times,
        np.array([0, 5, 7]),
        ("a", "b"),
        (None, None),
        (None, None),
        ("x",),
        False,
    )
    change = drift_sample(store, np.arange(7), 10).features["change_x"]
    assert np.isnan(change).tolist() == [True, False, False, True, False, True, False]
