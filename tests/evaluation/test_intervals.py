"""The block bootstrap: what it draws, and what its intervals are worth (slow: simulated coverage)."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.errors import DataError
from moola.evaluation.intervals import (
    COVERAGE_BY_STRETCHES,
    MIN_BLOCKS,
    estimate,
    independent_stretches,
    moving_block_weights,
    simulated_coverage,
    wilson_interval,
)

LENGTH, N_DATES, ACCURACY = 105, 1400, 0.7


def overlapping_hits(rng: np.random.Generator, n_dates: int = N_DATES, length: int = LENGTH) -> np.ndarray:
    """1 where a model is right on the window at each date; windows `length` apart are independent.

    The hit depends on the mean of white noise over the window, so neighbours share what they share in bars.
    """
    summed = np.concatenate([[0.0], rng.normal(size=n_dates + length - 1).cumsum()])
    standard = (summed[length:] - summed[:-length]) / math.sqrt(length)
    return (standard < NormalDist().inv_cdf(ACCURACY)).astype(float)


def coverage(n_dates: int, length: int, block: int, n_runs: int, n_resamples: int = 600) -> tuple[float, float]:
    """Share of runs whose interval holds the true accuracy, and the intervals' mean width."""
    weights = moving_block_weights(np.arange(n_dates), block, n_resamples, seed=0).astype(float)
    rng, held, widths = np.random.default_rng(1), 0, []
    for _ in range(n_runs):
        hits = overlapping_hits(rng, n_dates, length)
        resampled = weights @ hits / weights.sum(axis=1)
        e = estimate(hits.mean(keepdims=True), resampled[:, None], n_dates)
        held += e.low <= ACCURACY <= e.high
        widths.append(e.high - e.low)
    return held / n_runs, float(np.mean(widths))


@pytest.mark.slow
def test_coverage_is_nominal_for_independent_cases() -> None:
    held, _ = coverage(n_dates=200, length=1, block=1, n_runs=1000)
    assert 0.93 <= held <= 0.97, held


@pytest.mark.slow
@pytest.mark.parametrize(("stretches", "stated"), COVERAGE_BY_STRETCHES)
def test_coverage_of_overlapping_windows_is_what_the_module_says(stretches: float, stated: float) -> None:
    # The intervals are too short at these sizes and the module says so; four standard errors of 2,000 runs.
    n_dates = round((stretches - 1) * LENGTH)
    held, _ = coverage(n_dates, LENGTH, LENGTH, n_runs=2000)
    assert held == pytest.approx(stated, abs=0.035)
    assert held < 0.93


def test_the_ordinary_bootstrap_would_be_far_too_narrow() -> None:
    narrow, narrow_width = coverage(N_DATES, LENGTH, block=1, n_runs=60, n_resamples=200)
    blocks, blocks_width = coverage(N_DATES, LENGTH, block=LENGTH, n_runs=60, n_resamples=200)
    assert narrow < 0.4 < 0.7 < blocks
    assert blocks_width > 5 * narrow_width


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(MIN_BLOCKS, 9))
def test_each_date_is_drawn_once_on_average_and_a_full_calendar_keeps_its_size(
    seed: int, block: int, n_blocks: int
) -> None:
    n = n_blocks * block + seed % block
    weights = moving_block_weights(np.arange(n), block, 40, seed)
    assert (weights >= 0).all()
    np.testing.assert_array_equal(weights.sum(axis=1), n)


def test_the_ends_are_drawn_as_often_as_the_middle() -> None:
    weights = moving_block_weights(np.arange(200), 20, 20_000, seed=3)
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.04


def test_gaps_in_the_calendar_keep_the_total_on_average() -> None:
    steps = np.concatenate([np.arange(0, 300, 3), np.arange(500, 900)])
    weights = moving_block_weights(steps, 50, 4000, seed=0)
    assert weights.sum(axis=1).mean() == pytest.approx(len(steps), rel=0.02)
    assert weights.sum(axis=1).std() > 0


def test_windows_of_all_series_at_one_date_come_together_whatever_their_order() -> None:
    steps = np.array([7, 3, 7, 1, 3, 40, 25, 11])
    weights = moving_block_weights(steps, 5, 200, seed=1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    order = np.array([5, 0, 7, 2, 1, 6, 4, 3])
    np.testing.assert_array_equal(moving_block_weights(steps[order] + 90, 5, 200, seed=1), weights[:, order])


def test_blocks_are_consecutive_dates() -> None:
    weights = moving_block_weights(np.arange(100), 10, 50, seed=0)
    changes = (np.diff(weights, axis=1, append=weights[:, :1]) != 0).sum(axis=1)
    assert changes.max() <= 20  # ten blocks have at most twenty ends


def test_blocks_of_one_give_the_ordinary_bootstrap() -> None:
    weights = moving_block_weights(np.arange(500), 1, 400, seed=0)
    np.testing.assert_array_equal(weights.sum(axis=1), 500)
    assert weights.var() == pytest.approx(1.0, rel=0.03)  # counts are nearly Poisson
    np.testing.assert_array_equal(weights, moving_block_weights(np.arange(500), 1, 400, seed=0))


def test_too_short_a_calendar_gives_no_interval_instead_of_a_narrow_one() -> None:
    weights = moving_block_weights(np.arange(300), 105, 100, seed=0)
    assert weights.shape == (0, 300)
    e = estimate(np.array([0.7]), np.zeros((0, 1)), 300)
    assert e.value == 0.7 and math.isnan(e.low) and math.isnan(e.high)


@pytest.mark.parametrize(
    ("steps", "block", "says"),
    [
        (np.array([], dtype=int), 5, "steps have"),
        (np.arange(9.0), 5, "steps have"),
        (np.arange(9), 0, "block_steps"),
    ],
)
def test_wrong_steps_are_named(steps: np.ndarray, block: int, says: str) -> None:
    with pytest.raises(DataError, match=says):
        moving_block_weights(steps, block)


def test_an_interval_covers_seeds_as_well() -> None:
    rng = np.random.default_rng(0)
    windows = 0.7 + 0.01 * rng.normal(size=(2000, 1))
    alike = estimate(np.full(5, 0.7), np.repeat(windows, 5, axis=1), 100)
    spread = np.array([-0.1, -0.05, 0.0, 0.05, 0.1])
    apart = estimate(0.7 + spread, windows + spread, 100)
    assert (apart.value, apart.n, apart.seeds) == (pytest.approx(0.7), 100, 5)
    assert apart.high - apart.low > 2 * (alike.high - alike.low)
    # Four draws of five: the variance of the mean that the sample of seeds implies, s^2 / 5.
    expected = 2 * 1.96 * math.hypot(0.01, spread.std(ddof=1) / math.sqrt(5))
    assert apart.high - apart.low == pytest.approx(expected, rel=0.08)


def test_unusable_resamples_are_left_out_until_half_are_gone() -> None:
    values = np.linspace(0.4, 0.6, 101)[:, None]
    values[::3] = np.nan
    e = estimate(np.array([0.5]), values, 10)
    assert e.low == pytest.approx(0.407, abs=0.01) and e.high == pytest.approx(0.593, abs=0.01)
    values[:60] = np.nan
    assert math.isnan(estimate(np.array([0.5]), values, 10).low)


def test_the_interval_holds_the_point() -> None:
    e = estimate(np.array([0.1]), np.linspace(0.2, 0.3, 50)[:, None], 10)
    assert e.low == 0.1


def test_seeds_must_agree() -> None:
    with pytest.raises(DataError, match="values have shape"):
        estimate(np.zeros(2), np.zeros((10, 3)), 10)


def test_wilson_interval_matches_published_figures() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    for successes, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]:
        assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)
    assert wilson_interval(29, 29) == pytest.approx((0.8830, 1.0), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(DataError):
        wilson_interval(3, 2)


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_interval_holds_the_share(successes: int, n: int) -> None:
    successes = min(successes, n)
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


def test_independent_stretches() -> None:
    assert independent_stretches(np.array([50]), 105) == 1.0
    assert independent_stretches(np.arange(1400), 105) == pytest.approx(1504 / 105)


def test_simulated_coverage_is_read_between_the_sizes() -> None:
    assert simulated_coverage(14.3) == 0.84
    assert 0.71 < simulated_coverage(7.0) < 0.82
    assert math.isnan(simulated_coverage(500.0))
    assert math.isnan(simulated_coverage(3.0))
