"""Prediction sets: the classes that cannot be ruled out at a stated coverage, and whether that coverage held.

Split conformal prediction with the score 1 - p(class) (Vovk, Gammerman & Shafer 2005; Sadinle, Lei & Wasserman 2019,
JASA 114), by MAPIE. Calibrated on out-of-fold predictions it covers a new window with at least the stated
probability if windows are exchangeable and the model that predicts the new one is like those of the folds. Windows
that overlap in time are not exchangeable, so the coverage on the sealed test is reported with its interval.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moola.errors import DataError
from moola.evaluation.estimates import Estimate
from moola.evaluation.score_interval import effective_cases, estimate
from moola.evaluation.weighted import FloatArray, IntArray, check_predictions, checked_weights, weighted_mean

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin


@dataclass(frozen=True)
class SetScores:
    """What prediction sets are worth on windows they were not calibrated on.

    Attributes:
        stated: coverage that was asked for.
        coverage: share of windows whose set holds the true class; the interval is that of these very sets. Sets from
            n other labels would cover another share, by about sqrt(stated (1 - stated) / n) more or less.
        mean_size: mean number of classes in a set; smaller says more at the same coverage.
        by_class: coverage of each class's windows; nan for one without windows.
        empty: share of sets without any class: windows unlike all that the calibration saw.
    """

    stated: float
    coverage: Estimate
    mean_size: Estimate
    by_class: tuple[float, ...]
    empty: float


def prediction_sets(
    oof_probabilities: FloatArray,
    oof_labels: IntArray,
    probabilities: FloatArray,
    coverage: float = 0.9,
    by_class: bool = False,
) -> NDArray[np.bool_]:
    """Prediction sets of new windows from out-of-fold predictions.

    Args:
        oof_probabilities: [n_windows, n_classes], each window predicted by a model that did not learn from it.
        oof_labels: int [n_windows].
        probabilities: [n_new, n_classes] of the new windows.
        coverage: share of sets that is to hold the true class.
        by_class: hold the coverage in each class by itself, not only on average (label-conditional; Vovk 2012,
            ACML): sets grow where a class is rare or hard.

    Returns:
        Whether each class is in the set [n_new, n_classes]; a set may be empty.

    Raises:
        DataError: the arrays do not fit each other, or there are too few labels for that coverage.
    """
    p, y, new = np.asarray(oof_probabilities), np.asarray(oof_labels), np.asarray(probabilities)
    _check(p, y, new, coverage, by_class)
    if not by_class:
        return _sets(p, y, new, coverage)
    return np.stack([_sets(p[y == k], y[y == k], new, coverage)[:, k] for k in range(p.shape[1])], axis=1)


def score_sets(sets: NDArray[np.bool_], truth: IntArray, weights: FloatArray, stated: float) -> SetScores:
    """Realised coverage and size of prediction sets, with 95 % intervals.

    Args:
        sets: from `prediction_sets` [n_windows, n_classes].
        truth: int [n_windows].
        weights: from `moving_block_weights` [n_resamples, n_windows].
        stated: coverage that was asked for.

    Raises:
        DataError: the arrays do not fit each other.
    """
    held, y = np.asarray(sets, dtype=bool), np.asarray(truth)
    if held.ndim != 2 or y.shape != held.shape[:1] or not len(y) or y.min() < 0 or y.max() >= held.shape[1]:
        why = f"sets are {held.shape}, labels {y.shape}"
        raise DataError("prediction sets cannot be scored", why, "give [n_windows, n_classes] and class numbers")
    w, cases = checked_weights(weights, len(y)), effective_cases(weights)
    covered = held[np.arange(len(y)), y].astype(np.float64)
    size = held.sum(axis=1).astype(np.float64)

    def estimated(values: FloatArray, greatest: float) -> Estimate:
        return estimate(values.mean(keepdims=True), weighted_mean(values[None], w), len(y), (0.0, greatest), cases)

    classes = tuple(float(covered[y == k].mean()) if (y == k).any() else math.nan for k in range(held.shape[1]))
    empty = float((size == 0).mean())
    return SetScores(stated, estimated(covered, 1.0), estimated(size, float(held.shape[1])), classes, empty)


def _check(p: FloatArray, y: IntArray, new: FloatArray, coverage: float, by_class: bool) -> None:
    if p.ndim != 2 or new.ndim != 2 or p.shape[1:] != new.shape[1:] or not 0 < coverage < 1:
        why = f"probabilities have shapes {p.shape} and {new.shape}, coverage is {coverage}"
        raise DataError("no prediction set can be made", why, "give [n, n_classes] of both, and a share below 1")
    check_predictions(p[None], y)
    check_predictions(new[None], np.zeros(len(new), dtype=np.int64))
    # Of n scores the ceil((n + 1) coverage)-th is the threshold, so coverage / (1 - coverage) do; MAPIE wants more.
    needed = math.ceil(round(max(1 / coverage, 1 / (1 - coverage)), 9))
    counts = np.bincount(y, minlength=p.shape[1]) if by_class else np.array([len(y)])
    few = [f"{int(count)}{f' of class {k}' if by_class else ''}" for k, count in enumerate(counts) if count < needed]
    if few:
        why = f"a coverage of {coverage:g} needs {needed} labels{' of each class' if by_class else ''}, there are "
        way_out = f"ask for less coverage{', or for no coverage by class' if by_class else ''}, or label more windows"
        raise DataError("no prediction set can be made", why + ", ".join(few), way_out)


def _sets(p: FloatArray, y: IntArray, new: FloatArray, coverage: float) -> NDArray[np.bool_]:
    from mapie.classification import SplitConformalClassifier

    conformal = SplitConformalClassifier(_given(p.shape[1]), confidence_level=coverage, conformity_score="lac")
    with warnings.catch_warnings():
        # Labels of one class alone are what coverage by class is calibrated on.
        warnings.filterwarnings(
            "ignore", message=".*your conformalization dataset has less labels", category=UserWarning
        )
        conformal.conformalize(p, y)
    return np.asarray(conformal.predict_set(new)[1][:, :, 0], dtype=bool)


def _given(n_classes: int) -> ClassifierMixin:
    """A classifier whose inputs are the probabilities: MAPIE asks for a model, here the predictions are made."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(n_classes)

        def fit(self, probabilities: FloatArray, labels: IntArray) -> Given:
            return self

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict_proba(self, probabilities: FloatArray) -> FloatArray:
            return probabilities

        def predict(self, probabilities: FloatArray) -> NDArray[np.int64]:
            return probabilities.argmax(axis=1)

    return Given()
