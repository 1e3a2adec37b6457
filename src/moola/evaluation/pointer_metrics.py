"""Metrics of pointers: the first and last bar of what a label speaks of, in each window.

Arrays:
    predicted: [n_seeds, n_windows, 2] first and last bar, whole or not, in bars from the window's start
    truth: [n_windows, 2] first and last bar
    right: bool [n_seeds, n_windows], whether the class was right too; None for all
    weights: [n_resamples, n_windows] as in `moola.evaluation.weighted`
"""

from __future__ import annotations

import numpy as np

from moola.errors import DataError
from moola.evaluation.estimates import Estimate
from moola.evaluation.score_interval import effective_cases, estimate
from moola.evaluation.weighted import FloatArray, IntArray, checked_weights, weighted_mean

WITHIN = 3
"""Bars that a pointer may be off and still hit."""


def pointer_metrics(
    predicted: FloatArray,
    truth: IntArray,
    weights: FloatArray | IntArray | None = None,
    *,
    within: int = WITHIN,
    right: np.ndarray | None = None,
) -> dict[str, FloatArray]:
    """Pointer metrics on every resample and seed.

    Args:
        predicted, truth, weights, right: as at the head of this module. A prediction whose end lies before its start
            spans no bar.
        within: hits are counted at up to so many bars.

    Returns:
        name -> values [n_resamples, n_seeds]:

        - ``start_hit``, ``end_hit``: share of windows whose pointer is at most `within` bars off;
        - ``hit``: the mean of the two;
        - ``start_mae``, ``end_mae``, ``mae``: mean absolute error in bars, of each and of both;
        - ``span_f1``: mean over windows of 2 |A and B| / (|A| + |B|), bars counted with both ends (Dice 1945);
        - ``joint``: share of windows whose class is right and whose two pointers both hit.

    Raises:
        DataError: the arrays do not fit each other, a pointer is not finite, or a true span ends before it starts.
    """
    p, y, right = _checked(predicted, truth, right, within)
    w = checked_weights(weights, len(y))
    off = np.abs(p - y)
    hits = (off <= within).astype(np.float64)
    joint = (hits.min(axis=2) * right).astype(np.float64)
    by_window = {
        "start_hit": hits[:, :, 0],
        "end_hit": hits[:, :, 1],
        "hit": hits.mean(axis=2),
        "start_mae": off[:, :, 0],
        "end_mae": off[:, :, 1],
        "mae": off.mean(axis=2),
        "span_f1": _overlap(p, y),
        "joint": joint,
    }
    return {name: weighted_mean(values, w) for name, values in by_window.items()}


def pointer_estimates(
    predicted: FloatArray,
    truth: IntArray,
    weights: FloatArray,
    length: int,
    *,
    within: int = WITHIN,
    right: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """Pointer metrics with their 95 % intervals over windows and seeds, see `moola.evaluation.score_interval`.

    Args:
        predicted, truth, within, right: as `pointer_metrics`.
        weights: from `moving_block_weights` [n_resamples, n_windows].
        length: bars of a window; no pointer can be further off than length - 1.

    Raises:
        DataError: as `pointer_metrics`, or a pointer lies outside the window.
    """
    for who, bars in (("predicted", np.asarray(predicted)), ("true", np.asarray(truth))):
        if np.size(bars) and (np.min(bars) < 0 or np.max(bars) > length - 1):
            why = f"a {who} pointer is at {np.min(bars):g} or {np.max(bars):g}, outside 0..{length - 1}"
            raise DataError("pointers cannot be scored", why, "count bars from the start of the window, and clip them")
    points = pointer_metrics(predicted, truth, None, within=within, right=right)
    resampled = pointer_metrics(predicted, truth, weights, within=within, right=right)
    cases, longest = effective_cases(weights), float(length - 1)
    return {
        name: estimate(
            points[name][0],
            values,
            len(truth),
            (0.0, longest) if name.endswith("mae") else (0.0, 1.0),
            cases,
        )
        for name, values in resampled.items()
    }


def _overlap(p: FloatArray, y: FloatArray) -> FloatArray:
    """Dice overlap of spans in bars [n_seeds, n_windows]."""
    common = np.minimum(p[..., 1], y[:, 1]) - np.maximum(p[..., 0], y[:, 0]) + 1
    bars = np.maximum(p[..., 1] - p[..., 0] + 1, 0) + (y[:, 1] - y[:, 0] + 1)
    return np.where(p[..., 1] >= p[..., 0], 2 * np.maximum(common, 0) / bars, 0.0)


def _checked(
    predicted: FloatArray, truth: IntArray, right: np.ndarray | None, within: int
) -> tuple[FloatArray, FloatArray, np.ndarray]:
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    problems: list[str] = []
    if within < 0:
        problems.append(f"within is {within}, less than 0 bars")
    if p.ndim != 3 or p.shape[2] != 2 or 0 in p.shape:
        problems.append(f"predictions have shape {p.shape}, not [n_seeds, n_windows, 2]")
    elif y.shape != p.shape[1:]:
        problems.append(f"{p.shape[1]} windows are predicted, true pointers are {y.shape}")
    if right is not None and np.shape(right) != p.shape[:2]:
        problems.append(f"right has shape {np.shape(right)}, not {p.shape[:2]}")
    if not (np.isfinite(p).all() and np.isfinite(y).all()):
        problems.append("a pointer is NaN or infinite")
    elif y.ndim == 2 and y.shape[1] == 2 and (y[:, 1] < y[:, 0]).any():
        problems.append(f"the true span of window {int(np.argmax(y[:, 1] < y[:, 0]))} ends before it starts")
    if problems:
        way_out = "give first and last bar of each window, and leave out windows without pointers"
        raise DataError("pointers cannot be scored", "; ".join(problems), way_out)
    return p, y, np.ones(p.shape[:2], dtype=bool) if right is None else np.asarray(right, dtype=bool)
