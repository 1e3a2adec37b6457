"""What is taken for what: the confusion matrix, and the metrics that are made of it alone.

Arrays as in `moola.evaluation.weighted`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moola.evaluation.weighted import (
    FloatArray,
    IntArray,
    check_predictions,
    checked_weights,
    mean_of_defined,
    ratio,
    weighted_sums,
)


@dataclass(frozen=True)
class PerClass:
    """Metrics of each class, all [n_resamples, n_seeds, n_classes]; nan where one is not defined.

    Precision is not defined for a class that is never predicted, recall for one that the resample does not hold,
    F1 where both are so (scikit-learn writes 0 for all three, with a warning).
    """

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray


def confusion_matrix(
    probabilities: FloatArray, truth: IntArray, weights: FloatArray | IntArray | None = None
) -> FloatArray:
    """Weight of the windows of class i whose most likely class is j: [n_resamples, n_seeds, n_classes, n_classes].

    Raises:
        DataError: the arrays are not what they must be.
    """
    check_predictions(probabilities, truth)
    return _confusion(np.asarray(probabilities), np.asarray(truth), checked_weights(weights, len(truth)))


def per_class(probabilities: FloatArray, truth: IntArray, weights: FloatArray | IntArray | None = None) -> PerClass:
    """Precision, recall and F1 of each class; DataError as `confusion_matrix`."""
    matrix = confusion_matrix(probabilities, truth, weights)
    right, true, predicted = _margins(matrix)
    return PerClass(ratio(right, predicted), ratio(right, true), ratio(2 * right, true + predicted))


def _confusion(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    k = p.shape[2]
    cell = truth[None] * k + p.argmax(axis=2)
    return weighted_sums(np.eye(k * k)[cell], w).reshape(len(w), len(p), k, k)


def _margins(matrix: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weight that is right, true and predicted, by class."""
    return np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1), matrix.sum(axis=-2)


def accuracy(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Share of windows whose most likely class is the true one."""
    right, true, _ = _margins(_confusion(p, truth, w))
    return ratio(right.sum(axis=-1), true.sum(axis=-1))


def balanced_accuracy(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Mean recall over the classes that the resample holds."""
    right, true, _ = _margins(_confusion(p, truth, w))
    return mean_of_defined(ratio(right, true))


def macro_f1(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Mean F1 over the classes that the resample holds or the model predicts there."""
    right, true, predicted = _margins(_confusion(p, truth, w))
    return mean_of_defined(ratio(2 * right, true + predicted))


def matthews(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Correlation of answers with the truth over all classes (Gorodkin 2004, Computational Biology and Chemistry 28).

    From -1 to 1; 0 for a model, or a truth, of one class, as in scikit-learn.
    """
    right, true, predicted = _margins(_confusion(p, truth, w))
    total = true.sum(axis=-1)
    top = right.sum(axis=-1) * total - (true * predicted).sum(axis=-1)
    spread = (total**2 - (true**2).sum(axis=-1)) * (total**2 - (predicted**2).sum(axis=-1))
    # One class leaves rounding where 0 should stand, of the size of total**4.
    correlation = np.where(spread > 1e-12 * total**4, ratio(top, np.sqrt(np.maximum(spread, 0))), 0.0)
    return np.where(total > 0, np.clip(correlation, -1, 1), np.nan)
