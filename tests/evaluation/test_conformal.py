"""Prediction sets hold the coverage that is asked for, on average and in each class."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moola.errors import DataError
from moola.evaluation.conformal import prediction_sets, score_sets
from moola.evaluation.intervals import moving_block_weights


def drawn(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of which the third is rare and hard; the probabilities are too sure by far."""
    labels = rng.choice(3, n, p=[0.5, 0.35, 0.15])
    logits = 4 * rng.normal(size=(n, 3))
    logits[np.arange(n), labels] += np.array([6.0, 5.0, 1.0])[labels]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_the_stated_coverage_is_reached(coverage: float) -> None:
    rng, marginal, by_class = np.random.default_rng(0), [], []
    for _ in range(25):
        learned, given = drawn(rng, 400)
        new, truth = drawn(rng, 800)
        rows = np.arange(len(truth))
        marginal.append(prediction_sets(learned, given, new, coverage)[rows, truth])
        conditional = prediction_sets(learned, given, new, coverage, by_class=True)[rows, truth]
        by_class.append([conditional[truth == k].mean() for k in range(3)])
        third = marginal[-1][truth == 2].mean()
        assert third < coverage - 0.05  # on average is not in each class
    assert np.mean(marginal) == pytest.approx(coverage, abs=0.012)
    np.testing.assert_allclose(np.mean(by_class, axis=0), coverage, atol=0.025)


def test_realised_coverage_comes_with_its_interval() -> None:
    rng = np.random.default_rng(1)
    learned, given = drawn(rng, 500)
    new, truth = drawn(rng, 600)
    sets = prediction_sets(learned, given, new, 0.9)
    assert sets.shape == (600, 3) and sets.dtype == bool
    got = score_sets(sets, truth, moving_block_weights(np.arange(600), 1), 0.9)
    unseen, theirs = drawn(rng, 50_000)
    held = prediction_sets(learned, given, unseen, 0.9)[np.arange(50_000), theirs].mean()
    assert got.coverage.low < held < got.coverage.high and got.coverage.high - got.coverage.low < 0.06
    assert got.mean_size.low < got.mean_size.value == pytest.approx(sets.sum(axis=1).mean())
    assert len(got.by_class) == 3 and got.stated == 0.9 and got.empty == (sets.sum(axis=1) == 0).mean()
    nothing = score_sets(sets, truth, np.zeros((0, 600)), 0.9)
    assert math.isnan(nothing.coverage.low)


def test_too_few_labels_for_a_coverage_are_named() -> None:
    p, labels = drawn(np.random.default_rng(0), 60)
    labels[:] = np.repeat([0, 1, 2], [30, 21, 9])
    prediction_sets(p, labels, p, 0.9)
    with pytest.raises(DataError, match="needs 10 labels of each class, there are 9 of class 2") as caught:
        prediction_sets(p, labels, p, 0.9, by_class=True)
    assert "no coverage by class" in caught.value.way_out
    with pytest.raises(DataError, match="needs 100 labels, there are 60"):
        prediction_sets(p, labels, p, 0.99)
    for coverage, n in ((0.9, 10), (0.8, 5), (0.5, 2), (0.4, 3)):  # as many as it says are enough
        with pytest.raises(DataError, match=f"needs {n} labels, there are {n - 1}"):
            prediction_sets(p[: n - 1], labels[: n - 1], p, coverage)
        assert prediction_sets(p[:n], labels[:n], p, coverage).shape == p.shape
    with pytest.raises(DataError, match="coverage is 1"):
        prediction_sets(p, labels, p, 1.0)
    with pytest.raises(DataError, match="cannot be scored"):
        score_sets(np.ones((5, 3), dtype=bool), np.arange(4), np.ones((2, 5)), 0.9)
