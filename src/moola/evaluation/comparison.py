"""Figures of one model and paired differences of two, on the same resamples; and how they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moola.errors import DataError
from moola.evaluation.estimates import Comparison, Estimate
from moola.evaluation.metrics import METRICS, compute_metrics
from moola.evaluation.score_interval import difference, effective_cases, estimate, unseen_variance
from moola.evaluation.significance import holm
from moola.evaluation.weighted import FloatArray, IntArray


def holds_every_class(truth: IntArray, weights: FloatArray | IntArray) -> NDArray[np.bool_]:
    """Which resamples hold every class that the sample holds [n_resamples].

    The others measure something else (balanced accuracy over fewer classes) and are left out of every
    interval, of all metrics and of paired differences alike, which is the same as drawing them again.
    """
    y, w = np.asarray(truth), np.asarray(weights)
    holds = np.stack([w[:, y == label].sum(axis=1) > 0 for label in np.unique(y)], axis=1)
    return np.all(holds, axis=1)


def resampled_metrics(
    probabilities: FloatArray,
    truth: IntArray,
    weights: FloatArray | IntArray,
    names: tuple[str, ...] | None = None,
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Name -> (values on the sample [n_seeds], on each resample [n_resamples, n_seeds]).

    Resamples that lack a class of the sample are nan in every metric, see `holds_every_class`.
    """
    point = compute_metrics(probabilities, truth, None, names)
    resampled = compute_metrics(probabilities, truth, weights, names)
    usable = holds_every_class(truth, weights)[:, None]
    return {name: (point[name][0], np.where(usable, values, np.nan)) for name, values in resampled.items()}


def estimates(
    probabilities: FloatArray,
    truth: IntArray,
    weights: FloatArray | IntArray,
    names: tuple[str, ...] | None = None,
) -> dict[str, Estimate]:
    """Every metric (or those named) with its 95 % interval over windows and seeds.

    How it is made: `moola.evaluation.score_interval`; how far to trust it: `moola.evaluation.intervals`. A calibration
    error is itself biased upwards in a small sample, and its interval with it.

    Args:
        probabilities: [n_seeds, n_windows, n_classes].
        truth: [n_windows].
        weights: from `moving_block_weights` [n_resamples, n_windows].
        names: keys of `METRICS`; all when None.

    Raises:
        DataError, ConfigError: as `compute_metrics`.
    """
    both, cases = resampled_metrics(probabilities, truth, weights, names), effective_cases(weights)
    return {
        name: estimate(point, values, len(truth), METRICS[name].bounds, cases) for name, (point, values) in both.items()
    }


def compare(
    a: FloatArray,
    b: FloatArray,
    truth: IntArray,
    weights: FloatArray | IntArray,
    metric: str = "balanced_accuracy",
) -> Estimate:
    """The difference of `paired_comparison` alone."""
    return paired_comparison(a, b, truth, weights, metric).difference


def paired_comparison(
    a: FloatArray,
    b: FloatArray,
    truth: IntArray,
    weights: FloatArray | IntArray,
    metric: str = "balanced_accuracy",
) -> Comparison:
    """The metric of `a` minus that of `b`, with its 95 % interval over windows and seeds.

    Both models are scored on the same resample each time, so what is hard for both cancels (a paired
    bootstrap). With the same number (> 1) of seeds, seed i of `a` is paired with seed i of `b`: both must
    then stand for the same draw of labels and initialisation, in the same order. Otherwise each model's seeds
    count by themselves. The sign is that of the metric: for log loss, Brier score and calibration error a
    negative difference is in favour of `a`.

    Args:
        a: probabilities [n_seeds_a, n_windows, n_classes].
        b: probabilities [n_seeds_b, n_windows, n_classes].
        truth: [n_windows].
        weights: from `moving_block_weights` [n_resamples, n_windows].
        metric: a key of `METRICS`.

    Returns:
        The difference; `seeds` is the number of the model that has fewer, models with one seed apart. The
        ends are nan when no interval can be made, see `estimate`, and both 0 for a model against itself.

    Raises:
        DataError: the two models differ in windows or classes, or as `compute_metrics`.
        ConfigError: the metric is unknown.
    """
    if np.shape(a)[1:] != np.shape(b)[1:]:
        why = f"one predicts {np.shape(a)[1:]} (windows, classes), the other {np.shape(b)[1:]}"
        raise DataError("the models cannot be compared", why, "score both on the same windows and classes")
    point_a, values_a = resampled_metrics(a, truth, weights, (metric,))[metric]
    point_b, values_b = resampled_metrics(b, truth, weights, (metric,))[metric]
    low, high = METRICS[metric].bounds
    unseen = 0.0
    if METRICS[metric].of_answers and not np.array_equal(a, b):
        unseen = (high - low) ** 2 * unseen_variance(answers_differ(a, b), weights, effective_cases(weights))
    return difference((point_a, point_b), (values_a, values_b), len(truth), high - low, unseen)


def against_chance(
    probabilities: FloatArray, truth: IntArray, weights: FloatArray | IntArray, metric: str = "balanced_accuracy"
) -> Comparison:
    """A model against one that always gives the class that is most frequent in `truth`: `paired_comparison`.

    Balanced accuracy of the latter is 1 / n_classes, of the classes there are.
    """
    p = np.asarray(probabilities)
    nothing = np.zeros((1, *p.shape[1:]))
    nothing[..., np.bincount(truth, minlength=p.shape[2]).argmax()] = 1.0
    return paired_comparison(p, nothing, truth, weights, metric)


def corrected(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's correction (`moola.evaluation.significance.holm`) among the p-values that are known; nan stays nan."""
    known = [number for number, p in enumerate(p_values) if math.isfinite(p)]
    adjusted = dict(zip(known, holm([p_values[number] for number in known]), strict=True))
    return tuple(adjusted.get(number, math.nan) for number in range(len(p_values)))


def answers_differ(a: FloatArray, b: FloatArray) -> FloatArray:
    """How much the seeds of two models disagree about each window's most likely class, 0 to 1 [n_windows]."""
    one_hot = np.eye(np.shape(a)[2])
    votes_a, votes_b = (one_hot[np.asarray(p).argmax(axis=2)].mean(axis=0) for p in (a, b))
    return np.abs(votes_a - votes_b).sum(axis=1) / 2


def excludes_zero(difference: Estimate) -> bool:
    """Whether the interval lies wholly on one side of zero; False when its ends are not known."""
    return difference.low > 0 or difference.high < 0


def plain(e: Estimate) -> str:
    """``0.812 [0.771, 0.850]``, or the figure alone with "no interval"."""
    return f"{_number(e.value)} {_ends(e)}"


def signed(e: Estimate) -> str:
    """``+0.012 [−0.030, 0.051]``: a difference shows its sign."""
    return f"{'+' if round(e.value, 3) > 0 else ''}{_number(e.value)} {_ends(e)}"


def _ends(e: Estimate) -> str:
    if math.isnan(e.low) or math.isnan(e.high):
        return "[no interval: too little data]"
    return f"[{_number(e.low)}, {_number(e.high)}]"


def _number(value: float) -> str:
    """Three decimals, a true minus sign, and no minus before a zero."""
    text = f"{round(value, 3) + 0.0:.3f}"
    return text.replace("-", "−")
