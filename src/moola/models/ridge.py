"""Ridge regression on class targets: a linear classifier that chooses its own penalty, in closed form.

With Z the standardised features of n windows, Y their classes as -1 and +1 and U S V' the decomposition of Z, the
weights are ``Z' U (S^2 + penalty)^-1 U' (Y - mean)``. The penalty is the one whose squared leave-one-out error is
smallest; that error is the residual divided by one minus the leverage (Golub, Heath & Wahba 1979, Technometrics 21(2)).
So choosing it needs no folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PENALTIES = tuple(10.0**power for power in range(-1, 6))
_SMALLEST_SPREAD, _NO_SPREAD = 1e-6, 1e6
"""A feature that spreads less than the first says nothing; divided by the second it gets no weight."""


@dataclass(frozen=True)
class Ridge:
    """A fitted classifier.

    Attributes:
        classes: class numbers that it was fitted on, int64 [K], ascending.
        centre: of each feature, [E].
        spread: of each feature, [E]; 1e6 where the feature was constant, 1 where features are taken as they are.
        weights: of the standardised features, [E, K].
        bias: [K].
        penalty: the chosen one.
        held_out: scores of the windows it was fitted on, each by a fit without it, [n, K].
    """

    classes: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    penalty: float
    held_out: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        """About -1 to +1 a class: [n, E] -> [n, K]."""
        return (features - self.centre) / self.spread @ self.weights + self.bias

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class numbers: [n, E] -> [n]."""
        return self.classes[self.scores(features).argmax(axis=1)]


def fit_ridge(
    features: np.ndarray, labels: np.ndarray, penalties: Sequence[float] = PENALTIES, *, standardise: bool = True
) -> Ridge:
    """Fit on features [n, E] and class numbers [n]; two classes at least.

    Args:
        features: of the windows.
        labels: of the windows.
        penalties: to choose from.
        standardise: whether the spread of a feature is made 1; else it is only centred.
    """
    features = features.astype(np.float64)
    classes = np.unique(labels)
    targets = np.where(labels[:, None] == classes, 1.0, -1.0)
    centre, bias, spread = features.mean(axis=0), targets.mean(axis=0), np.ones(features.shape[1])
    if standardise:
        spread = features.std(axis=0)
        spread[spread < _SMALLEST_SPREAD] = _NO_SPREAD
    features -= centre
    features /= spread
    u, squares = _left_singular(features)
    projected = u.T @ (targets - bias)
    held_out: list[np.ndarray] = []
    for penalty in penalties:
        shrinkage = squares / (squares + penalty)
        leverage = (u**2 * shrinkage).sum(axis=1) + 1 / len(labels)  # that of the bias is 1 / n
        residual = targets - bias - (u * shrinkage) @ projected
        held_out.append(targets - residual / (1 - leverage + 1e-9)[:, None])
    best = int(np.argmin([np.square(targets - scores).mean() for scores in held_out]))
    weights = features.T @ (u @ (projected / (squares + penalties[best])[:, None]))
    return Ridge(classes, centre, spread, weights, bias, penalties[best], held_out[best])


def _left_singular(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U and S^2; by way of the windows' products where features are more, for there can be 50,000 of them."""
    if len(features) > features.shape[1]:
        u, s, _ = np.linalg.svd(features, full_matrices=False)
        return u, s**2
    squares, u = np.linalg.eigh(features @ features.T)
    return u, squares.clip(0)
