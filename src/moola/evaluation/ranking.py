"""How well probabilities rank the windows of one class before the others, on all resamples at once.

Arrays as in `moola.evaluation.weighted`. Each is the mean, over the classes that a resample holds beside others,
of the class against the rest; two classes have one ROC curve between them, so there it is the second class's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moola.evaluation.weighted import FloatArray, IntArray, mean_of_defined, ratio


def roc_auc(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Area under the ROC curve: how often a window of the class ranks above another, a tie counting half.

    Mann & Whitney 1947; one-vs-rest macro mean as in scikit-learn. nan where a resample holds a single class.
    """
    classes = range(1, 2) if p.shape[2] == 2 else range(p.shape[2])
    return _mean_over_classes(_area_under_roc, p, truth, w, classes)


def pr_auc(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Average precision: the sum of precision x gain in recall over thresholds, from high to low.

    It does not interpolate (Davis & Goadrich 2006, ICML); macro mean as in scikit-learn. A class that a resample
    does not hold is left out of its mean.
    """
    return _mean_over_classes(_average_precision, p, truth, w, range(p.shape[2]))


def average_precision(scores: FloatArray, positive: NDArray[np.bool_], w: FloatArray) -> FloatArray:
    """The same of one class: how early a ranking finds what is sought.

    Args:
        scores: [n_windows], the highest comes first.
        positive: what is sought, [n_windows].
        w: weights [n_resamples, n_windows].

    Returns:
        [n_resamples]; nan where a resample holds nothing that is sought.
    """
    return _average_precision(_ranked(scores, positive, np.ascontiguousarray(w.T)))


@dataclass(frozen=True)
class _Ranked:
    """Weights at the windows of the class, from the highest score to the lowest, all [n_positive, n_resamples].

    Attributes:
        own: of the window itself.
        positives: of windows of the class that rank as high or higher.
        above, at_least: of other windows that rank higher, and as high or higher.
        negatives: of all other windows [n_resamples].
    """

    own: FloatArray
    positives: FloatArray
    above: FloatArray
    at_least: FloatArray
    negatives: FloatArray


def _mean_over_classes(
    area: Callable[[_Ranked], FloatArray], p: FloatArray, truth: IntArray, w: FloatArray, classes: range
) -> FloatArray:
    by_window = np.ascontiguousarray(w.T)  # picking windows copies whole rows
    found = [[area(_ranked(scores[:, k], truth == k, by_window)) for k in classes] for scores in p]
    return mean_of_defined(np.array(found).transpose(2, 0, 1))


def _ranked(scores: FloatArray, positive: np.ndarray, by_window: FloatArray) -> _Ranked:
    depth = -scores
    order, others = (np.flatnonzero(group) for group in (positive, ~positive))
    order, others = order[np.argsort(depth[order])], others[np.argsort(depth[others])]
    at, other_at = depth[order], depth[others]
    own = by_window[order]
    summed = np.concatenate([np.zeros((1, by_window.shape[1])), by_window[others].cumsum(axis=0)])
    positives = own.cumsum(axis=0)[np.searchsorted(at, at, side="right") - 1]
    above, at_least = (summed[np.searchsorted(other_at, at, side=side)] for side in ("left", "right"))
    return _Ranked(own, positives, above, at_least, summed[-1])


def _area_under_roc(ranked: _Ranked) -> FloatArray:
    passed = np.einsum("ir,ir->r", ranked.own, ranked.above + ranked.at_least) / 2
    return np.clip(1 - ratio(passed, ranked.own.sum(axis=0) * ranked.negatives), 0, 1)


def _average_precision(ranked: _Ranked) -> FloatArray:
    precision = np.nan_to_num(ratio(ranked.positives, ranked.positives + ranked.at_least))
    return np.clip(ratio(np.einsum("ir,ir->r", ranked.own, precision), ranked.own.sum(axis=0)), 0, 1)
