"""Windows that look the same under different labels, and windows that look like no other.

Datalab answers both, too, with another package (`datasets`, 30 MB) for nearest neighbours that scikit-learn finds.
"""

from __future__ import annotations

import numpy as np

from moola.data.near_duplicates import window_shapes
from moola.features.summary import summarise, summary_spans

DUPLICATE_CORRELATION = 0.999
"""Correlation of all visible values from which two windows look the same."""
DUPLICATE_SHARE = 0.2
"""Of the usual distance to the window most alike, below which two windows look the same: where every window of a set is
like every other (the beats of one heart), a correlation says little. Equal ones look the same whatever is usual."""
_EQUAL = 1 - 1e-6
"""Correlation that is 1 but for the rounding of float32, which takes off up to 6e-7."""
OUTLIER_NEIGHBOURS = 10
OUTLIER_SCORE = 3.5
"""Modified z-score from which a distance is out of scale (Iglewicz & Hoaglin 1993, How to Detect Outliers)."""
_NORMAL_MAD = 0.6745
"""Median absolute deviation of a normal distribution, in standard deviations."""
_PORTION = 2_048


def contradicting_duplicates(bars: np.ndarray, labels: np.ndarray, starts: np.ndarray, reach: int) -> np.ndarray:
    """The window that looks the same as each and has another label.

    Shapes are compared as in `moola.data.near_duplicates`: neither level nor scale of a channel counts. Windows that
    share bars are never compared, for a label may well change from bar to bar.

    Args:
        bars: visible bars [n, T, C].
        labels: as given, int64 [n].
        starts: of each window in the store, int64 [n].
        reach: bars from which two windows share none.

    Returns:
        Its row, int64 [n]; -1 where there is none.
    """
    shapes = window_shapes(bars)
    other, nearest = np.full(len(shapes), -1, dtype=np.int64), np.full(len(shapes), -1.0)
    likeness = np.full(len(shapes), -1.0)
    for first in range(0, len(shapes), _PORTION):
        rows = np.arange(first, min(first + _PORTION, len(shapes)))
        alike = shapes[rows] @ shapes.T
        alike[np.abs(starts[rows][:, None] - starts) < reach] = -1.0
        nearest[rows] = alike.max(axis=1)
        alike[labels[rows][:, None] == labels] = -1.0
        other[rows] = alike.argmax(axis=1)
        likeness[rows] = alike[np.arange(len(rows)), other[rows]]
    usual = np.median(_distance(nearest))
    near = (likeness >= DUPLICATE_CORRELATION) & (_distance(likeness) <= DUPLICATE_SHARE * usual)
    return np.where(near | (likeness >= _EQUAL), other, -1)


def outlying(bars: np.ndarray, zone: tuple[int, int]) -> np.ndarray:
    """Windows whose mean distance to their 10 nearest is out of scale (Ramaswamy, Rastogi & Shim 2000, SIGMOD).

    Distances are between simple features of the shape and the logarithm of each channel's spread, each divided by its
    interquartile range.

    Args:
        bars: visible bars [n, T, C].
        zone: first and past-the-end bar that a label speaks of.

    Returns:
        bool [n].
    """
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import RobustScaler

    if len(bars) <= OUTLIER_NEIGHBOURS:
        return np.zeros(len(bars), dtype=bool)
    scaled = RobustScaler().fit_transform(_features(bars, zone))
    distances, _ = NearestNeighbors(n_neighbors=OUTLIER_NEIGHBOURS).fit(scaled).kneighbors()
    logs = np.log(distances.mean(axis=1).clip(1e-12))
    apart = logs - np.median(logs)
    deviation = np.median(np.abs(apart))
    return _NORMAL_MAD * apart > OUTLIER_SCORE * deviation if deviation > 0 else np.zeros(len(bars), dtype=bool)


def _features(bars: np.ndarray, zone: tuple[int, int]) -> np.ndarray:
    """Simple features of the shape, and how much each channel moves beside its own size."""
    n_windows, visible, n_channels = bars.shape
    shapes = window_shapes(bars).reshape(bars.shape)
    spans = summary_spans(visible, zone)
    summary = summarise(shapes, tuple(range(n_channels)), spans, moments=True)
    size = np.abs(bars).mean(axis=1, dtype=np.float64)
    spread = np.log((bars.std(axis=1, dtype=np.float64) + 1e-12) / (size + 1e-12))
    return np.concatenate([summary, spread.reshape(n_windows, n_channels)], axis=1)


def _distance(correlation: np.ndarray) -> np.ndarray:
    """Between unit vectors."""
    return np.sqrt(np.maximum(2 - 2 * correlation.astype(np.float64), 0.0))
