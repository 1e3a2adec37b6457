"""Whether probabilities mean what they say: calibration errors, the Brier score and its parts, reliability.

Arrays as in `moola.evaluation.weighted`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moola.evaluation.weighted import (
    FloatArray,
    IntArray,
    check_predictions,
    checked_weights,
    confidence_and_right,
    ratio,
    weighted_mean,
    weighted_sums,
)

N_BINS = 10
"""Bins of confidence (Naeini, Cooper & Hauskrecht 2015)."""


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram, seeds pooled; all [n_bins], nan where `count` (windows x seeds) is 0.

    `confidence` is the mean of the largest probability in the bin, `accuracy` the share of right answers.
    """

    confidence: FloatArray
    accuracy: FloatArray
    count: NDArray[np.int64]


@dataclass(frozen=True)
class BrierParts:
    """Brier score = reliability - resolution + uncertainty + within_bins; all [n_resamples, n_seeds].

    Attributes:
        reliability: squared distance of what was said from what happened, by bin: 0 when calibrated.
        resolution: squared distance of what happened in a bin from the class's share: more is better.
        uncertainty: of the classes themselves; the model has no part in it.
        within_bins: what probabilities that differ inside a bin add or take; 0 where each bin holds one value.
    """

    reliability: FloatArray
    resolution: FloatArray
    uncertainty: FloatArray
    within_bins: FloatArray


def reliability(probabilities: FloatArray, truth: IntArray, n_bins: int = N_BINS) -> Reliability:
    """Confidence against accuracy in equal-width bins; DataError if the arrays are not as they must be."""
    check_predictions(probabilities, truth)
    p, y = np.asarray(probabilities), np.asarray(truth)
    confidence, right = (values.ravel() for values in confidence_and_right(p, y))
    bins = _bin_of(confidence, n_bins)
    count = np.bincount(bins, minlength=n_bins)
    sums = np.stack([np.bincount(bins, values, n_bins) for values in (confidence, right)]).astype(np.float64)
    mean_confidence, accuracy = ratio(sums, count.astype(np.float64))
    return Reliability(mean_confidence, accuracy, count)


def brier_decomposition(
    probabilities: FloatArray, truth: IntArray, weights: FloatArray | IntArray | None = None, n_bins: int = N_BINS
) -> BrierParts:
    """The Brier score in parts (Murphy 1973, Journal of Applied Meteorology 12), summed over classes.

    Each class's probability is put in equal-width bins. Murphy's three parts add up only where a bin holds one
    value; the rest is the within-bin variance and covariance of Stephenson, Coelho & Jolliffe (2008, Weather and
    Forecasting 23).

    Raises:
        DataError: the arrays are not what they must be.
    """
    check_predictions(probabilities, truth)
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    w = checked_weights(weights, len(y))
    total = w.sum(axis=1)[:, None]
    happened = np.broadcast_to(np.eye(p.shape[2])[y], p.shape)
    one_hot = np.eye(n_bins)[_bin_of(p, n_bins)]  # [n_seeds, n_windows, n_classes, n_bins]

    def by_bin(values: FloatArray) -> FloatArray:
        """Sums over windows [n_resamples, n_seeds, n_classes, n_bins]."""
        sums = weighted_sums((values[..., None] * one_hot).reshape(*p.shape[:2], -1), w)
        return sums.reshape(*sums.shape[:2], p.shape[2], n_bins)

    in_bin = by_bin(np.ones_like(p))
    said, seen = np.nan_to_num(ratio(by_bin(p), in_bin)), np.nan_to_num(ratio(by_bin(happened), in_bin))
    share = ratio(weighted_sums(happened, w), total[..., None])

    def mean(values: FloatArray) -> FloatArray:
        return ratio((in_bin * values).sum(axis=(2, 3)), total)

    reliable, resolved = mean((said - seen) ** 2), mean((seen - share[..., None]) ** 2)
    uncertain = (share * (1 - share)).sum(axis=2)
    return BrierParts(reliable, resolved, uncertain, brier(p, y, w) - (reliable - resolved + uncertain))


def brier(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Brier 1950, summed over classes: 0 to 2; for two classes twice the one-sided form."""
    return weighted_mean(((p - np.eye(p.shape[2])[truth]) ** 2).sum(axis=2), w)


def ece(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """Sum over bins of (bin's share) x |accuracy - confidence| (Naeini et al. 2015; Guo et al. 2017)."""
    confidence, right = confidence_and_right(p, truth)
    gap = (right - confidence)[:, :, None] * np.eye(N_BINS)[_bin_of(confidence, N_BINS)]
    return ratio(np.abs(weighted_sums(gap, w)).sum(axis=2), w.sum(axis=1, keepdims=True))


def adaptive_ece(p: FloatArray, truth: IntArray, w: FloatArray) -> FloatArray:
    """The calibration error over bins of equal mass (Nguyen & O'Connor 2015, EMNLP), formed in each resample.

    A window on the border of two bins is split between them, and windows of one confidence are split alike, so
    that neither the order of windows nor a weight in place of repetitions changes the figure.
    """
    confidence, right = confidence_and_right(p, truth)
    return np.stack([_equal_mass_gap(*seed, w) for seed in zip(confidence, right, strict=True)], axis=1)


def _equal_mass_gap(confidence: FloatArray, right: FloatArray, w: FloatArray) -> FloatArray:
    """[n_windows], [n_windows], weights -> [n_resamples]."""
    order = np.argsort(confidence, kind="stable")
    first = np.flatnonzero(np.diff(confidence[order], prepend=-np.inf) != 0)
    mass = w[:, order]
    gap = mass * (right - confidence)[order]
    if len(first) < len(order):
        mass, gap = np.add.reduceat(mass, first, axis=1), np.add.reduceat(gap, first, axis=1)
    mass, gap = (np.concatenate([np.zeros((len(w), 1)), each.cumsum(axis=1)], axis=1) for each in (mass, gap))
    total, row = mass[:, -1:], np.arange(len(w))[:, None]
    borders = np.linspace(0, 1, N_BINS + 1)
    # One search for all resamples: each is moved to a stretch of its own.
    stretched = np.nan_to_num(ratio(mass, total)) + 2 * row
    found = np.searchsorted(stretched.ravel(), borders + 2 * row) - row * mass.shape[1]
    last = np.clip(found, 1, mass.shape[1] - 1)
    before, after = mass[row, last - 1], mass[row, last]
    part = np.nan_to_num(ratio(borders * total - before, after - before))
    at_border = gap[row, last - 1] + part * (gap[row, last] - gap[row, last - 1])
    return ratio(np.abs(np.diff(at_border, axis=1)).sum(axis=1), total[:, 0])


def _bin_of(confidence: FloatArray, n_bins: int) -> NDArray[np.int64]:
    # Bins are closed below and open above, the last one closed.
    return np.minimum((confidence * n_bins).astype(np.int64), n_bins - 1)
