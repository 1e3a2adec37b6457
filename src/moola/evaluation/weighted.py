"""The arrays that every metric takes, their checks, and weighted sums over windows.

Arrays, here and in the modules beside this one:
    probabilities: float [n_seeds, n_windows, n_classes], rows sum to 1 (a deterministic model: n_seeds = 1)
    truth: int [n_windows], each in 0..n_classes-1
    weights: [n_resamples, n_windows], how much each window counts; None stands for one row of ones

A metric of all resamples and seeds is [n_resamples, n_seeds]: a few matrix products, whatever their number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moola.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer]

ROW_TOLERANCE = 1e-4


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


def checked_weights(weights: FloatArray | IntArray | None, n_windows: int) -> FloatArray:
    """Weights as floats, one row of ones for None; DataError unless they are weights of these windows."""
    w = np.ones((1, n_windows)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.ndim != 2 or w.shape[1] != n_windows:
        raise _wrong(f"weights are {w.shape}, not [n_resamples, {n_windows}]", "draw them for these windows")
    if not np.isfinite(w).all() or (w < 0).any():
        raise _wrong("a weight is negative, NaN or infinite", "give what moving_block_weights gives")
    return w


def _wrong(why: str, way_out: str) -> DataError:
    return DataError("predictions cannot be scored", why, way_out)


def ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    """Top / bottom, nan where bottom is 0."""
    top, bottom = np.broadcast_arrays(top, bottom)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def mean_of_defined(values: FloatArray) -> FloatArray:
    """Mean over the last axis of what is not nan; nan where there is nothing."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1).astype(np.float64))


def weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Values [n_seeds, n_windows], weights [n_resamples, n_windows] -> [n_resamples, n_seeds]."""
    return ratio(weights @ values.T, weights.sum(axis=1, keepdims=True))


def weighted_sums(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Values [n_seeds, n_windows, k] -> sums over windows [n_resamples, n_seeds, k]."""
    n_seeds, n_windows, k = values.shape
    return (weights @ values.transpose(1, 0, 2).reshape(n_windows, -1)).reshape(len(weights), n_seeds, k)


def confidence_and_right(p: FloatArray, truth: IntArray) -> tuple[FloatArray, FloatArray]:
    """Largest probability, and 1 where it is on the true class; both [n_seeds, n_windows]."""
    return p.max(axis=2).astype(np.float64), (p.argmax(axis=2) == truth).astype(np.float64)
