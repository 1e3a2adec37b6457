"""Metrics against scikit-learn, and the properties that hold for any predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from moola.errors import ConfigError, DataError
from moola.evaluation.calibration_error import brier_decomposition
from moola.evaluation.confusion import confusion_matrix, per_class
from moola.evaluation.metrics import METRICS, compute_metrics, reliability


def drawn(seed: int, n_seeds: int = 2, n_windows: int = 40, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n_windows)
    truth[:n_classes] = np.arange(n_classes)
    return rng.dirichlet(np.ones(n_classes), (n_seeds, n_windows)), truth


def reference_ece(p: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """The calibration error bin by bin, as the papers write it."""
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    total = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence >= low) & ((confidence < low + 0.1) | (low > 0.85))
        if weights[inside].sum() > 0:
            gap = np.average(right[inside], weights=weights[inside]) - np.average(
                confidence[inside], weights=weights[inside]
            )
            total += weights[inside].sum() * abs(gap)
    return total / weights.sum()


def reference_adaptive_ece(p: np.ndarray, truth: np.ndarray, repeats: np.ndarray) -> float:
    """Ten bins of equal size over whole repetitions, sorted by confidence; ten of each, so that bins cut none."""
    confidence = np.repeat(p.max(axis=1), 10 * repeats)
    right = np.repeat(p.argmax(axis=1) == truth, 10 * repeats)
    order = np.argsort(confidence, kind="stable")
    bins = zip(np.split(confidence[order], 10), np.split(right[order], 10), strict=True)
    return float(np.mean([abs(conf.mean() - hit.mean()) for conf, hit in bins]))


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("coarse", [False, True])
def test_weighted_metrics_match_scikit_learn(n_classes: int, coarse: bool) -> None:
    p, truth = drawn(n_classes, n_classes=n_classes)
    if coarse:  # few distinct probabilities: ties in every ranking, bin borders hit exactly
        p = np.round(8 * p)
        p[..., 0] += 8 - p.sum(axis=2)
        p = np.abs(p) / np.abs(p).sum(axis=2, keepdims=True)
    weights = np.random.default_rng(1).integers(0, 4, (5, len(truth)))
    weights[:, :n_classes] = 1
    got = compute_metrics(p, truth, weights)
    for row, w in enumerate(weights):
        for seed, one in enumerate(p):
            y = one.argmax(axis=1)
            labels = list(range(n_classes))
            expected = {
                "accuracy": reference.accuracy_score(truth, y, sample_weight=w),
                "balanced_accuracy": reference.balanced_accuracy_score(truth, y, sample_weight=w),
                "macro_f1": reference.f1_score(truth, y, average="macro", sample_weight=w),
                "mcc": reference.matthews_corrcoef(truth, y, sample_weight=w),
                "roc_auc": reference.roc_auc_score(
                    truth, one[:, 1] if n_classes == 2 else one, sample_weight=w, multi_class="ovr"
                ),
                "pr_auc": reference.average_precision_score(np.eye(n_classes)[truth], one, sample_weight=w),
                "brier": np.average(((one - np.eye(n_classes)[truth]) ** 2).sum(axis=1), weights=w),
            }
            if not coarse:
                expected |= {
                    "log_loss": reference.log_loss(truth, one, sample_weight=w, labels=labels),
                    "ece": reference_ece(one, truth, w),
                    "adaptive_ece": reference_adaptive_ece(one, truth, w),
                }
                assert expected.keys() == METRICS.keys()
            for name, value in expected.items():
                assert got[name][row, seed] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("n_classes", [2, 4])
def test_figures_by_class_match_scikit_learn(n_classes: int) -> None:
    p, truth = drawn(9, n_classes=n_classes)
    w = np.random.default_rng(1).integers(0, 4, (3, len(truth)))
    matrix, by_class = confusion_matrix(p, truth, w), per_class(p, truth, w)
    for row in range(3):
        for seed in range(2):
            y = p[seed].argmax(axis=1)
            np.testing.assert_allclose(
                matrix[row, seed],
                reference.confusion_matrix(truth, y, sample_weight=w[row], labels=range(n_classes)),
            )
            expected = reference.precision_recall_fscore_support(
                truth, y, sample_weight=w[row], labels=range(n_classes), zero_division=np.nan
            )
            for got, wanted in zip((by_class.precision, by_class.recall, by_class.f1), expected[:3], strict=True):
                np.testing.assert_allclose(got[row, seed], wanted, equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.booleans())
def test_the_parts_of_the_brier_score_add_up(seed: int, n_classes: int, few_values: bool) -> None:
    p, truth = drawn(seed, n_classes=n_classes)
    if few_values:  # one value in each bin: Murphy's three parts are all there is
        p = np.random.default_rng(seed).dirichlet(np.ones(n_classes), (2, 2))[:, np.arange(40) % 2]
    w = np.random.default_rng(seed).gamma(0.5, size=(3, len(truth)))
    parts = brier_decomposition(p, truth, w, n_bins=1000 if few_values else 10)
    whole = compute_metrics(p, truth, w, ["brier"])["brier"]
    murphy = parts.reliability - parts.resolution + parts.uncertainty
    np.testing.assert_allclose(murphy + parts.within_bins, whole)
    shares = w @ np.eye(n_classes)[truth] / w.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(parts.uncertainty, np.repeat((1 - (shares**2).sum(axis=1))[:, None], 2, axis=1))
    assert (parts.reliability >= 0).all() and (parts.resolution >= 0).all()
    if few_values:
        np.testing.assert_allclose(parts.within_bins, 0, atol=1e-12)


def test_a_constant_predictor_ranks_nothing() -> None:
    truth = np.arange(40) % 4 // 3
    got = compute_metrics(np.tile([[0.7, 0.3]], (1, 40, 1)), truth)
    assert (got["roc_auc"], got["mcc"], got["pr_auc"]) == (0.5, 0.0, 0.5)


def test_brier_for_two_classes_is_twice_scikit_learns() -> None:
    p, truth = drawn(0, n_classes=2)
    expected = 2 * reference.brier_score_loss(truth, p[0, :, 1])
    assert compute_metrics(p, truth)["brier"][0, 0] == pytest.approx(expected)


def test_a_weight_is_a_repetition() -> None:
    p, truth = drawn(3)
    w = np.random.default_rng(2).integers(0, 3, len(truth))
    repeated = compute_metrics(np.repeat(p, w, axis=1), np.repeat(truth, w))
    for name, values in compute_metrics(p, truth, w[None]).items():
        np.testing.assert_allclose(values, repeated[name], err_msg=name)


def test_classes_absent_from_a_resample() -> None:
    p = np.array([[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]])
    weights = np.array([[1, 1, 0], [0, 0, 0]])
    got = compute_metrics(p, np.array([0, 0, 1]), weights)
    assert got["balanced_accuracy"][0, 0] == 1.0
    assert got["macro_f1"][0, 0] == 1.0
    assert all(np.isnan(values[1, 0]) for values in got.values())


def test_a_sure_error_costs_a_finite_log_loss() -> None:
    p = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    assert compute_metrics(p, np.array([1, 1]))["log_loss"][0, 0] == pytest.approx(-np.log(1e-7) / 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(3, 40), st.integers(2, 3))
def test_bounds_and_invariances(seed: int, n_seeds: int, n_windows: int, n_classes: int) -> None:
    p, truth = drawn(seed, n_seeds, n_windows, n_classes)
    order = np.random.default_rng(seed).permutation(n_windows)
    got = compute_metrics(p, truth)
    shuffled, ones = (
        compute_metrics(p[:, order], truth[order]),
        compute_metrics(p, truth, np.ones((1, n_windows))),
    )
    for name, values in got.items():
        assert values.shape == (1, n_seeds)
        low, high = METRICS[name].bounds
        assert ((values >= low) & (values <= high + 1e-12)).all(), name
        np.testing.assert_allclose(values, shuffled[name], atol=1e-12, err_msg=name)
        np.testing.assert_array_equal(values, ones[name], err_msg=name)
        if METRICS[name].of_answers:
            sharper = p**3 / (p**3).sum(axis=2, keepdims=True)
            np.testing.assert_allclose(values, compute_metrics(sharper, truth)[name], atol=1e-12, err_msg=name)


def test_only_the_named_metrics_are_computed() -> None:
    p, truth = drawn(0)
    assert list(compute_metrics(p, truth, names=["brier"])) == ["brier"]
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        compute_metrics(p, truth, names=["acuracy"])


def test_reliability_agrees_with_the_calibration_error() -> None:
    p, truth = drawn(5, n_seeds=1, n_windows=300)
    bins = reliability(p, truth)
    assert bins.count.sum() == 300
    full = bins.count > 0
    assert np.isnan(bins.accuracy[~full]).all()
    gap = np.abs(bins.accuracy - bins.confidence)[full]
    assert (gap * bins.count[full]).sum() / 300 == pytest.approx(compute_metrics(p, truth)["ece"][0, 0])
    sure = reliability(np.array([[[1.0, 0.0]]]), np.array([0]))
    assert sure.count[-1] == 1


GOOD = np.full((1, 4, 2), 0.5)
TRUTH = np.array([0, 1, 0, 1])


def changed(index: tuple[int, ...], value: float) -> np.ndarray:
    p = GOOD.copy()
    p[index] = value
    return p


@pytest.mark.parametrize(
    ("p", "truth", "says"),
    [
        (GOOD[0], TRUTH, "n_seeds, n_windows"),
        (GOOD[:, :0], TRUTH[:0], "n_seeds, n_windows"),
        (GOOD, TRUTH[:3], "4 windows are predicted"),
        (changed((0, 2, 1), np.nan), TRUTH, "window 2 of seed 0 is NaN"),
        (changed((0, 3, 1), 0.9), TRUTH, r"window 3 of seed 0 holds \[0.5, 0.9\]"),
        (GOOD * [3, -1], TRUTH, "window 0 of seed 0 holds"),
        (GOOD, TRUTH + 1, "label 2 is outside 0..1"),
        (GOOD, TRUTH - 1, "label -1 is outside 0..1"),
        (GOOD, TRUTH.astype(float), "not integer"),
    ],
)
def test_wrong_predictions_are_named(p: np.ndarray, truth: np.ndarray, says: str) -> None:
    for scored in (compute_metrics, reliability):
        with pytest.raises(DataError, match=says) as caught:
            scored(p, truth)
        assert caught.value.way_out


@pytest.mark.parametrize(
    ("weights", "says"),
    [(np.ones(4), "weights are"), (np.ones((1, 3)), "weights are"), (-np.ones((1, 4)), "negative")],
)
def test_wrong_weights_are_named(weights: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=says):
        compute_metrics(GOOD, TRUTH, weights)
