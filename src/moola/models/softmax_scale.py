"""Scores to probabilities by one number, learnt from windows that the scores had not seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_SMALLEST, _LARGEST = 1e-2, 1e3


def scaled_softmax(scores: np.ndarray, scale: float) -> np.ndarray:
    """``exp(scale * score)``, each row divided by its sum: [n, K] -> [n, K]; a score of -inf has probability 0."""
    shifted = np.exp(scale * (scores - scores.max(axis=1, keepdims=True)))
    return shifted / shifted.sum(axis=1, keepdims=True)


def fit_scale(scores: np.ndarray, columns: np.ndarray) -> float:
    """The scale of least log loss (temperature scaling, Guo et al. 2017, arXiv:1706.04599).

    As in Platt (1999) the targets stay short of certainty, the true class at ``(n + 1) / (n + K)`` with n the windows
    it has and the others sharing the rest: so that scores without an error do not end in probabilities of 1.

    Args:
        scores: float [n, K], each row by a fit that had not seen the window; -inf where there was nothing to score.
        columns: of the true class, [n]; rows whose true class has no score say nothing.

    Returns:
        The scale; 1 where no row says anything.
    """
    from scipy.optimize import minimize_scalar

    told = np.isfinite(scores[np.arange(len(columns)), columns])
    scores, columns = scores[told], columns[told]
    if not len(columns):
        return 1.0
    possible = np.isfinite(scores)
    n_of_class, n_columns = np.bincount(columns)[columns], scores.shape[1]
    targets = np.where(possible, 1.0 / (n_of_class + n_columns)[:, None], 0.0)
    targets[np.arange(len(columns)), columns] = (n_of_class + 1) / (n_of_class + n_columns)

    def loss(log_scale: float) -> float:
        logits = np.exp(log_scale) * (scores - scores.max(axis=1, keepdims=True))
        log_sum = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float((targets * np.where(possible, log_sum - logits, 0.0)).sum())

    found: Any = minimize_scalar(loss, bounds=(math.log(_SMALLEST), math.log(_LARGEST)), method="bounded")
    return float(np.exp(found.x))
