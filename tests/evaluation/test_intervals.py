"""Resamples over blocks of time, and the intervals that are made of them; `test_coverage` simulates their worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.errors import DataError
from moola.evaluation.intervals import independent_stretches, moving_block_weights, wilson_interval
from moola.evaluation.score_interval import effective_cases, estimate

UNIT = (0.0, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(8, 12))
def test_weights_are_positive_with_mean_one_in_each_resample(seed: int, block: int, n_blocks: int) -> None:
    n = n_blocks * block + seed % block
    weights = moving_block_weights(np.arange(n), block, 40, seed)
    assert weights.shape == (40, n) and (weights >= 0).all()
    np.testing.assert_allclose(weights.mean(axis=1), 1)


def test_the_ends_weigh_as_much_as_the_middle() -> None:
    weights = moving_block_weights(np.arange(400), 20, 10_000, seed=3)
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.07


def test_windows_of_all_series_at_one_date_come_together_whatever_their_order() -> None:
    steps = np.array([7, 3, 7, 1, 3, 90, 65, 11, 30, 40, 50, 75])
    weights = moving_block_weights(steps, 5, 200, seed=1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    order = np.random.default_rng(0).permutation(len(steps))
    np.testing.assert_allclose(moving_block_weights(steps[order] + 90, 5, 200, seed=1), weights[:, order])


def test_windows_correlate_by_the_share_of_a_block_between_them() -> None:
    weights = moving_block_weights(np.arange(3200), 160, 4000, seed=0)
    found = np.corrcoef(weights[:, 0], weights[:, [0, 40, 80, 120, 240]].T)[0, 1:]
    np.testing.assert_allclose(found, [1, 0.75, 0.5, 0.25, -0.05], atol=0.06)


def test_blocks_of_one_are_the_bootstrap_of_independent_cases() -> None:
    weights = moving_block_weights(np.arange(500), 1, 400, seed=0)
    assert weights.var() == pytest.approx(1.0, rel=0.03)
    np.testing.assert_array_equal(weights, moving_block_weights(np.arange(500), 1, 400, seed=0))
    assert effective_cases(weights) == pytest.approx(500, rel=0.1)


def test_resamples_spread_as_student_asks_for() -> None:
    """The mean of 12 normal cases: +-1.96 of its resamples is the t interval."""
    x = np.random.default_rng(0).normal(size=12)
    resampled = moving_block_weights(np.arange(12), 1, 20_000) @ x / 12
    assert 1.96 * resampled.std() == pytest.approx(2.201 * x.std(ddof=1) / math.sqrt(12), rel=0.03)


def test_how_far_apart_independent_windows_stand_does_not_matter() -> None:
    x = np.random.default_rng(0).normal(size=12)
    spread = [(moving_block_weights(np.arange(12) * gap, 5, 20_000) @ x / 12).std() for gap in (5, 50, 100_000)]
    np.testing.assert_allclose(spread, (moving_block_weights(np.arange(12), 1, 20_000) @ x / 12).std(), rtol=0.05)


def test_windows_at_one_date_are_one_case() -> None:
    once, dates = np.arange(12), np.repeat(np.arange(12), 3)
    x = np.random.default_rng(0).normal(size=12)
    single, triple = ((moving_block_weights(steps, 1, 20_000) @ x[steps] / len(steps)).std() for steps in (once, dates))
    assert triple == pytest.approx(single, rel=0.05)
    most_at_one = np.concatenate([np.zeros(100, dtype=int), once[1:]])
    assert len(moving_block_weights(most_at_one, 1)) == 0


def test_effective_cases_are_what_would_stand_side_by_side() -> None:
    for n_dates in (840, 1400, 2800):
        weights = moving_block_weights(np.arange(n_dates), 105)
        assert effective_cases(weights) == pytest.approx(independent_stretches(np.arange(n_dates), 105), rel=0.15)
        twice = np.repeat(weights, 2, axis=1)  # a second window at every date is no further case
        assert effective_cases(twice) == pytest.approx(effective_cases(weights), rel=0.02)
    assert math.isnan(effective_cases(np.ones((5, 9))))


def test_too_few_cases_give_no_interval_instead_of_a_narrow_one() -> None:
    three_clusters = np.concatenate([np.arange(30) + begin for begin in (0, 700, 1400)])
    for steps in (np.arange(420), three_clusters):
        weights = moving_block_weights(steps, 105, 100, seed=0)
        assert weights.shape == (0, len(steps))
    e = estimate(np.array([0.7]), np.zeros((0, 1)), 420, UNIT, effective_cases(weights))
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


def test_without_time_the_interval_of_a_share_is_wilsons() -> None:
    hits = np.arange(200) < 180
    resampled = moving_block_weights(np.arange(200), 1, 8000) @ hits / 200
    e = estimate(np.array([0.9]), resampled[:, None], 200, UNIT, 200.0)
    assert (e.low, e.high) == pytest.approx(wilson_interval(180, 200), abs=0.003)


@pytest.mark.parametrize("perfect", [0.0, 1.0])
def test_a_perfect_figure_gets_the_interval_of_its_cases_not_of_its_windows(perfect: float) -> None:
    e = estimate(np.array([perfect]), np.full((1000, 1), perfect), 1400, UNIT, 14.0)
    assert (e.low, e.high) == pytest.approx(wilson_interval(round(14 * perfect), 14))
    mcc = estimate(np.array([1.0]), np.ones((1000, 1)), 1400, (-1.0, 1.0), 14.0)
    assert mcc.low == pytest.approx(2 * wilson_interval(14, 14)[0] - 1) and mcc.high == 1


def test_one_stretch_of_errors_is_believed_no_more_than_none() -> None:
    """All errors in one stretch of a long test: the resamples hardly show them, the interval is as for none."""
    weights = moving_block_weights(np.arange(1400), 105)
    hits = np.ones(1400)
    hits[700:704] = 0
    e = estimate(hits.mean(keepdims=True), (weights @ hits / 1400)[:, None], 1400, UNIT, effective_cases(weights))
    assert 0.7 < e.low < 0.9 and e.value < e.high <= 1


def test_a_constant_predictor_is_known_exactly() -> None:
    e = estimate(np.array([0.5]), np.full((1000, 1), 0.5), 100, UNIT, 14.0)
    assert (e.low, e.high) == (0.5, 0.5)


@given(
    st.floats(0, 1),
    st.floats(0, 0.5),
    st.floats(2, 1e4),
    st.integers(1, 4),
    st.tuples(st.floats(-2, 0), st.floats(1, 16)),
)
def test_an_interval_holds_its_point_within_the_bounds(
    share: float, spread: float, cases: float, n_seeds: int, bounds: tuple[float, float]
) -> None:
    low, high = bounds
    point = np.full(n_seeds, low + share * (high - low))
    resampled = np.clip(point + spread * np.linspace(-1, 1, 50)[:, None], low, high)
    e = estimate(point, resampled, 10, bounds, cases)
    assert low <= e.low <= e.value <= e.high <= high


def test_an_interval_covers_seeds_as_well() -> None:
    rng = np.random.default_rng(0)
    windows = 0.7 + 0.01 * rng.normal(size=(2000, 1))
    alike = estimate(np.full(5, 0.7), np.repeat(windows, 5, axis=1), 100, UNIT, 100.0)
    spread = np.array([-0.1, -0.05, 0.0, 0.05, 0.1])
    apart = estimate(0.7 + spread, windows + spread, 100, UNIT, 100.0)
    assert (apart.value, apart.n, apart.seeds) == (pytest.approx(0.7), 100, 5)
    assert alike.high - alike.low == pytest.approx(2 * 1.96 * 0.01, rel=0.05)
    # Student's t with 4 degrees of freedom on the mean of five, for the windows add next to nothing.
    expected = 2 * 2.776 * math.hypot(0.01, spread.std(ddof=1) / math.sqrt(5))
    assert apart.high - apart.low == pytest.approx(expected, rel=0.08)


def test_unusable_resamples_are_left_out_until_half_are_gone() -> None:
    values = np.linspace(0.4, 0.6, 101)[:, None]
    values[::3] = np.nan
    e = estimate(np.array([0.5]), values, 10, UNIT, 10.0)
    half = 1.96 * float(np.nanstd(values))
    assert (e.low, e.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.01)
    values[:60] = np.nan
    assert math.isnan(estimate(np.array([0.5]), values, 10, UNIT, 10.0).low)


def test_seeds_must_agree() -> None:
    with pytest.raises(DataError, match="values have shape"):
        estimate(np.zeros(2), np.zeros((10, 3)), 10, UNIT, 10.0)


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
