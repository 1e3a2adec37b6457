"""Metrics of class probabilities, in weighted form: a whole bootstrap is a few matrix products.

Arrays, here and in the modules beside this one:
    probabilities: float [n_seeds, n_windows, n_classes], rows sum to 1 (a deterministic model: n_seeds = 1)
    truth: int [n_windows], each in 0..n_classes-1
    weights: [n_resamples, n_windows], how often each window was drawn; None stands for one row of ones
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moola.errors import ConfigError, DataError, did_you_mean

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer]

N_BINS = 10
"""Equal-width confidence bins of the calibration error (Naeini, Cooper & Hauskrecht 2015)."""
PROBABILITY_FLOOR = 1e-7
"""Smaller probabilities count as this in the log loss (float32 resolution): a sure error costs 16.1 nats."""
ROW_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Metric:
    """A metric: what tables call it, its direction, and (probabilities, truth, weights) -> its values.

    `compute` takes checked arrays and returns [n_resamples, n_seeds].
    """

    label: str
    higher_is_better: bool
    compute: Callable[[FloatArray, IntArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram, seeds pooled; all [n_bins], nan where `count` (windows x seeds) is 0.

    `confidence` is the mean of the largest probability in the bin, `accuracy` the share of right answers.
    """

    confidence: FloatArray
    accuracy: FloatArray
    count: NDArray[np.int64]


def compute_metrics(
    probabilities: FloatArray,
    truth: IntArray,
    weights: FloatArray | IntArray | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, FloatArray]:
    """Every metric (or those named) on every resample and seed.

    Balanced accuracy averages over the classes that the resample holds, macro F1 over those that it holds or
    the model predicts there (scikit-learn's conventions); a resample of total weight 0 gives nan.

    Args:
        probabilities, truth, weights: as at the head of this module.
        names: keys of `METRICS`; all when None.

    Returns:
        name -> values [n_resamples, n_seeds].

    Raises:
        DataError: the arrays do not fit each other, or hold no probabilities, labels or weights.
        ConfigError: a metric is unknown.
    """
    chosen = tuple(METRICS) if names is None else tuple(names)
    unknown = [name for name in chosen if name not in METRICS]
    if unknown:
        raise ConfigError(f"metric '{name}' is unknown: {did_you_mean(name, METRICS)}" for name in unknown)
    check_predictions(probabilities, truth)
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    w = np.ones((1, len(y))) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.ndim != 2 or w.shape[1] != len(y):
        raise _wrong(f"weights are {w.shape}, not [n_resamples, {len(y)}]", "draw them for these windows")
    if not np.isfinite(w).all() or (w < 0).any():
        raise _wrong("a weight is negative, NaN or infinite", "give counts, as moving_block_weights does")
    return {name: METRICS[name].compute(p, y, w) for name in chosen}


def reliability(probabilities: FloatArray, truth: IntArray, n_bins: int = N_BINS) -> Reliability:
    """Confidence against accuracy in equal-width bins; DataError if the arrays are not as they must be."""
    check_predictions(probabilities, truth)
    p, y = np.asarray(probabilities), np.asarray(truth)
    confidence, right = (values.ravel() for values in _confidence_and_right(p, y))
    bins = _bin_of(confidence, n_bins)
    count = np.bincount(bins, minlength=n_bins)
    sums = np.stack([np.bincount(bins, values, n_bins) for values in (confidence, right)]).astype(np.float64)
    mean_confidence, accuracy = _ratio(sums, count.astype(np.float64))
    return Reliability(mean_confidence, accuracy, count)


def check_predictions(probabilities: FloatArray, truth: IntArray) -> None:
    """Raise DataError unless the two arrays are what the module's head says."""
    p, y = np.asarray(probabilities), np.asarray(truth)
    if p.ndim != 3 or 0 in p.shape or p.shape[-1] < 2:
        raise _wrong(f"shape {p.shape} is not [n_seeds, n_windows, n_classes >= 2]", "add the missing axis")
    if y.ndim != 1 or len(y) != p.shape[1]:
        raise _wrong(f"{p.shape[1]} windows are predicted, truth is {y.shape}", "align both by window id")
    if not np.isfinite(p).all():
        seed, window = np.argwhere(~np.isfinite(p))[0][:2]
        raise _wrong(f"window {window} of seed {seed} is NaN or infinite", "look for a diverged training run")
    off = (np.abs(p.sum(axis=2) - 1) > ROW_TOLERANCE) | (p < 0).any(axis=2)
    if off.any():
        seed, window = np.argwhere(off)[0]
        row = np.round(p[seed, window].astype(float), 4).tolist()
        raise _wrong(f"window {window} of seed {seed} holds {row}", "give probabilities, not scores")
    if not np.issubdtype(y.dtype, np.integer):
        raise _wrong(f"truth is {y.dtype}, not integer", "encode the labels as class numbers")
    if y.min() < 0 or y.max() >= p.shape[2]:
        bad = int(y.min() if y.min() < 0 else y.max())
        raise _wrong(f"label {bad} is outside 0..{p.shape[2] - 1}", "leave out unlabeled windows")


def _wrong(why: str, way_out: str) -> DataError:
    return DataError("predictions cannot be scored", why, way_out)


def _ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    """Top / bottom, nan where bottom is 0."""
    top, bottom = np.broadcast_arrays(top, bottom)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Values [n_seeds, n_windows], weights [n_resamples, n_windows] -> [n_resamples, n_seeds]."""
    return _ratio(weights @ values.T, weights.sum(axis=1, keepdims=True))


def _weighted_sums(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Values [n_seeds, n_windows, k] -> sums over windows [n_resamples, n_seeds, k]."""
    n_seeds, n_windows, k = values.shape
    return (weights @ values.transpose(1, 0, 2).reshape(n_windows, -1)).reshape(len(weights), n_seeds, k)


def _confidence_and_right(p: FloatArray, truth: IntArray) -> tuple[FloatArray, FloatArray]:
    """Largest probability, and 1 where it is on the true class; both [n_seeds, n_windows]."""
    return p.max(axis=2).astype(np.float64), (p.argmax(axis=2) == truth).astype(np.float64)


def _bin_of(confidence: FloatArray, n_bins: int) -> NDArray[np.int64]:
    # Bins are closed below and open above, the last one closed.
    return np.minimum((confidence * n_bins).astype(np.int64), n_bins - 1)


def _mean_over_classes(p: FloatArray, truth: IntArray, w: FloatArray, f1: bool) -> FloatArray:
    """Mean recall, or F1, over the classes for which it is defined; nan where there is none."""
    one_hot = np.eye(p.shape[2])
    true, predicted = one_hot[truth][None], one_hot[p.argmax(axis=2)]
    n_true, n_predicted, n_right = (_weighted_sums(kind, w) for kind in (true, predicted, true * predicted))
    by_class = _ratio(2 * n_right, n_true + n_predicted) if f1 else _ratio(n_right, n_true)
    return _ratio(np.nansum(by_class, axis=-1), (~np.isnan(by_class)).sum(axis=-1).astype(np.float64))


def _accuracy(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    return _weighted_mean(_confidence_and_right(p, truth)[1], w)


def _log_loss(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Mean of -log p(true class), in nats."""
    of_truth = p[:, np.arange(len(truth)), truth]
    return _weighted_mean(-np.log(np.maximum(of_truth, PROBABILITY_FLOOR)), w)


def _brier(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Brier 1950, summed over classes: 0 to 2; for two classes twice the one-sided form."""
    return _weighted_mean(((p - np.eye(p.shape[2])[truth]) ** 2).sum(axis=2), w)


def _ece(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Sum over bins of (bin's share) x |accuracy - confidence| (Naeini et al. 2015; Guo et al. 2017)."""
    confidence, right = _confidence_and_right(p, truth)
    gap = (right - confidence)[:, :, None] * np.eye(N_BINS)[_bin_of(confidence, N_BINS)]
    return _ratio(np.abs(_weighted_sums(gap, w)).sum(axis=2), w.sum(axis=1, keepdims=True))


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric("accuracy", True, _accuracy),
        "balanced_accuracy": Metric("balanced accuracy", True, partial(_mean_over_classes, f1=False)),
        "macro_f1": Metric("macro F1", True, partial(_mean_over_classes, f1=True)),
        "log_loss": Metric("log loss", False, _log_loss),
        "brier": Metric("Brier", False, _brier),
        "ece": Metric("ECE", False, _ece),
    }
)
