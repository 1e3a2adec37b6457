"""Figures with intervals, and paired differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moola.errors import ConfigError, DataError
from moola.evaluation.comparison import (
    compare,
    estimates,
    excludes_zero,
    holds_every_class,
    plain,
    signed,
)
from moola.evaluation.estimates import Estimate
from moola.evaluation.intervals import moving_block_weights
from moola.evaluation.metrics import METRICS, compute_metrics

N = 400
TRUTH = np.random.default_rng(7).integers(0, 2, N)
WEIGHTS = moving_block_weights(np.arange(N), 1, 800, seed=0)


def predictions(skill: float, n_seeds: int = 3, seed: int = 0, shared: float = 0.9) -> np.ndarray:
    """Two-class probabilities whose errors mostly fall on the same windows, whatever the skill or seed."""
    hard = np.random.default_rng(99).normal(size=N)
    own = np.random.default_rng(seed).normal(size=(n_seeds, N))
    noise = math.sqrt(shared) * hard + math.sqrt(1 - shared) * own
    one = 1 / (1 + np.exp(-(skill * (2 * TRUTH - 1) + noise)))
    return np.stack([1 - one, one], axis=2)


def test_estimates_hold_every_metric_and_its_point() -> None:
    p = predictions(0.5)
    got = estimates(p, TRUTH, WEIGHTS)
    assert got.keys() == METRICS.keys()
    for name, e in got.items():
        assert e.value == pytest.approx(compute_metrics(p, TRUTH)[name].mean())
        assert e.low <= e.value <= e.high and (e.n, e.seeds) == (N, 3)
    assert got == estimates(p, TRUTH, WEIGHTS)
    assert list(estimates(p, TRUTH, WEIGHTS, names=("brier",))) == ["brier"]


def test_the_interval_of_an_accuracy_is_that_of_the_binomial() -> None:
    e = estimates(predictions(0.5, n_seeds=1), TRUTH, WEIGHTS)["accuracy"]
    assert e.high - e.low == pytest.approx(2 * 1.96 * math.sqrt(e.value * (1 - e.value) / N), rel=0.1)


def test_resamples_without_a_class_are_left_out() -> None:
    truth = np.array([0] * 39 + [1])
    weights = moving_block_weights(np.arange(40), 1, 500, seed=0)
    assert holds_every_class(truth, weights).all()  # a weight may be small, but the class is always there
    p = np.tile([[0.4, 0.6]], (1, 40, 1))
    assert estimates(p, truth, weights)["balanced_accuracy"] == Estimate(0.5, 0.5, 0.5, 40, 1)
    e = estimates(p, truth, weights * (np.arange(40) < 39))["balanced_accuracy"]
    assert e.value == 0.5 and math.isnan(e.low)


def test_a_perfect_model_is_not_taken_for_certain() -> None:
    got = estimates(np.eye(2)[TRUTH][None], TRUTH, WEIGHTS)
    for name, e in got.items():
        assert e.high - e.low > 0.002 and e.value in METRICS[name].bounds, name
    overlapping = moving_block_weights(np.arange(N), 40)
    assert estimates(np.eye(2)[TRUTH][None], TRUTH, overlapping)["accuracy"].low < 0.8


def test_a_better_model_is_told_from_a_worse_one() -> None:
    a, b = predictions(1.0, seed=1), predictions(0.3, seed=2)
    better = compare(a, b, TRUTH, WEIGHTS)
    assert better.low > 0 and excludes_zero(better)
    assert compare(b, a, TRUTH, WEIGHTS).high < 0
    assert compare(a, b, TRUTH, WEIGHTS, "log_loss").high < 0
    point = (
        compute_metrics(a, TRUTH)["balanced_accuracy"].mean() - compute_metrics(b, TRUTH)["balanced_accuracy"].mean()
    )
    assert better.value == pytest.approx(point) and (better.n, better.seeds) == (N, 3)


def test_a_model_does_not_differ_from_itself() -> None:
    same = compare(predictions(0.5), predictions(0.5), TRUTH, WEIGHTS)
    assert (same.value, same.low, same.high) == (0, 0, 0) and not excludes_zero(same)


def test_models_of_one_answer_may_still_differ_elsewhere() -> None:
    a = predictions(0.5, 1)
    same = compare(a, 0.9 * a + 0.05, TRUTH, WEIGHTS)
    assert same.value == 0 and -0.02 < same.low < -0.005 and 0.005 < same.high < 0.02
    assert compare(a, 0.9 * a + 0.05, TRUTH, WEIGHTS, "log_loss").low > -0.2


def test_pairing_is_narrower_than_two_intervals_side_by_side() -> None:
    a, b = predictions(0.6, seed=1), predictions(0.5, seed=2)
    one, other = (estimates(p, TRUTH, WEIGHTS)["accuracy"] for p in (a, b))
    paired = compare(a, b, TRUTH, WEIGHTS, "accuracy")
    assert paired.high - paired.low < 0.7 * math.hypot(one.high - one.low, other.high - other.low)


def test_seeds_are_paired_when_their_number_is_the_same() -> None:
    a = np.concatenate([predictions(skill, 1) for skill in (0.1, 0.5, 0.9)])
    b = np.concatenate([predictions(skill, 1) for skill in (0.05, 0.45, 0.85)])
    paired, unpaired = compare(a, b, TRUTH, WEIGHTS), compare(a, b[::-1], TRUTH, WEIGHTS)
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)


@pytest.mark.parametrize(("n_a", "n_b", "seeds"), [(3, 1, 3), (1, 4, 4), (3, 5, 3), (1, 1, 1)])
def test_models_with_other_numbers_of_seeds_can_be_compared(n_a: int, n_b: int, seeds: int) -> None:
    got = compare(predictions(1.0, n_a), predictions(0.3, n_b), TRUTH, WEIGHTS)
    assert got.seeds == seeds and excludes_zero(got)


def test_no_resamples_means_no_claim() -> None:
    for n_seeds in (1, 2):
        got = compare(predictions(2.0, n_seeds), predictions(0.0, 1), TRUTH, WEIGHTS[:0])
        assert got.value > 0 and math.isnan(got.low) and not excludes_zero(got)


def test_what_cannot_be_compared_is_named() -> None:
    with pytest.raises(DataError, match="same windows"):
        compare(predictions(1.0)[:, :-1], predictions(1.0), TRUTH, WEIGHTS)
    with pytest.raises(ConfigError, match="did you mean 'brier'"):
        compare(predictions(1.0), predictions(1.0), TRUTH, WEIGHTS, "briar")


def test_how_figures_are_written() -> None:
    assert plain(Estimate(0.8123, 0.7, 0.9, 5, 1)) == "0.812 [0.700, 0.900]"
    assert signed(Estimate(0.012, -0.03, 0.051, 5, 1)) == "+0.012 [−0.030, 0.051]"
    assert signed(Estimate(-0.0001, -0.2, 0.1, 5, 1)) == "0.000 [−0.200, 0.100]"
    assert signed(Estimate(0.1, math.nan, math.nan, 5, 1)) == "+0.100 [no interval: too little data]"
