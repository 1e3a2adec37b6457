"""The metrics of class probabilities, by name: label, direction, bounds and what computes them.

Arrays as in `moola.evaluation.weighted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from moola.errors import ConfigError, did_you_mean
from moola.evaluation.calibration_error import Reliability, adaptive_ece, brier, ece, reliability
from moola.evaluation.confusion import accuracy, balanced_accuracy, macro_f1, matthews
from moola.evaluation.ranking import pr_auc, roc_auc
from moola.evaluation.weighted import FloatArray, IntArray, check_predictions, checked_weights, weighted_mean

__all__ = [
    "METRICS",
    "FloatArray",
    "IntArray",
    "Metric",
    "Reliability",
    "check_predictions",
    "compute_metrics",
    "reliability",
]

PROBABILITY_FLOOR = 1e-7
"""Smaller probabilities count as this in the log loss (float32 resolution): a sure error costs 16.1 nats."""
WORST_LOG_LOSS = float(-np.log(PROBABILITY_FLOOR))


@dataclass(frozen=True)
class Metric:
    """A metric: what tables call it, its direction, and (probabilities, truth, weights) -> its values.

    Attributes:
        label: for people.
        higher_is_better: its direction.
        compute: takes checked arrays and returns [n_resamples, n_seeds].
        bounds: least and greatest value.
        of_answers: it sees the most likely class of each window, not the probabilities.
    """

    label: str
    higher_is_better: bool
    compute: Callable[[FloatArray, IntArray, FloatArray], FloatArray]
    bounds: tuple[float, float] = (0.0, 1.0)
    of_answers: bool = False


def compute_metrics(
    probabilities: FloatArray,
    truth: IntArray,
    weights: FloatArray | IntArray | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, FloatArray]:
    """Every metric (or those named) on every resample and seed.

    Means over classes go over those for which the metric is defined (scikit-learn's conventions); a resample of
    total weight 0 gives nan.

    Args:
        probabilities, truth, weights: as in `moola.evaluation.weighted`.
        names: keys of `METRICS`; all when None.

    Returns:
        name -> values [n_resamples, n_seeds].

    Raises:
        DataError: the arrays do not fit each other, or hold no probabilities, labels or weights.
        ConfigError: a metric is unknown.
    """
    chosen = known_metrics(names)
    check_predictions(probabilities, truth)
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    w = checked_weights(weights, len(y))
    return {name: METRICS[name].compute(p, y, w) for name in chosen}


def known_metrics(names: Sequence[str] | None) -> tuple[str, ...]:
    """The names, all when None; ConfigError names every one that is unknown."""
    chosen = tuple(METRICS) if names is None else tuple(names)
    unknown = [name for name in chosen if name not in METRICS]
    if unknown:
        raise ConfigError(f"metric '{name}' is unknown: {did_you_mean(name, METRICS)}" for name in unknown)
    return chosen


def _log_loss(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Mean of -log p(true class), in nats."""
    of_truth = p[:, np.arange(len(truth)), truth]
    return weighted_mean(-np.log(np.clip(of_truth, PROBABILITY_FLOOR, 1.0)), w)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric("accuracy", True, accuracy, of_answers=True),
        "balanced_accuracy": Metric("balanced accuracy", True, balanced_accuracy, of_answers=True),
        "macro_f1": Metric("macro F1", True, macro_f1, of_answers=True),
        "mcc": Metric("MCC", True, matthews, bounds=(-1.0, 1.0), of_answers=True),
        "roc_auc": Metric("ROC AUC", True, roc_auc),
        "pr_auc": Metric("PR AUC", True, pr_auc),
        "log_loss": Metric("log loss", False, _log_loss, bounds=(0.0, WORST_LOG_LOSS)),
        "brier": Metric("Brier", False, brier, bounds=(0.0, 2.0)),
        "ece": Metric("ECE", False, ece),
        "adaptive_ece": Metric("adaptive ECE", False, adaptive_ece),
    }
)
