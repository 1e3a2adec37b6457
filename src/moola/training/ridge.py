"""Ridge regression on class targets: a linear classifier that chooses its own penalty, in closed form.

With Z the standardised features of n windows, Y their classes as -1 and +1 and U S V' the decomposition of Z, the
weights are ``V (S^2 + penalty)^-1 S U' (Y - mean)``. The penalty is the one whose squared leave-one-out error is
smallest; that error is the residual divided by one minus the leverage (Golub, Heath & Wahba 1979, Technometrics 21(2)).
So choosing it needs no folds.
"""

from __future__ import annotations

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
        spread: of each feature, [E]; 1e6 where the feature was constant.
        weights: of the standardised features, [E, K].
        bias: [K].
        penalty: the chosen one.
    """

    classes: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    penalty: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """About -1 to +1 a class: [n, E] -> [n, K]."""
        return (features - self.centre) / self.spread @ self.weights + self.bias

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class numbers: [n, E] -> [n]."""
        return self.classes[self.scores(features).argmax(axis=1)]


def fit_ridge(features: np.ndarray, labels: np.ndarray) -> Ridge:
    """Fit on features [n, E] and class numbers [n]; two classes at least."""
    features = features.astype(np.float64)
    classes = np.unique(labels)
    targets = np.where(labels[:, None] == classes, 1.0, -1.0)
    centre, bias, spread = features.mean(axis=0), targets.mean(axis=0), features.std(axis=0)
    spread[spread < _SMALLEST_SPREAD] = _NO_SPREAD
    u, s, v = np.linalg.svd((features - centre) / spread, full_matrices=False)
    projected = u.T @ (targets - bias)
    errors: list[float] = []
    for penalty in PENALTIES:
        shrinkage = s**2 / (s**2 + penalty)
        leverage = (u**2 * shrinkage).sum(axis=1) + 1 / len(labels)  # that of the bias is 1 / n
        residual = targets - bias - (u * shrinkage) @ projected
        errors.append(float(np.square(residual / (1 - leverage + 1e-9)[:, None]).mean()))
    penalty = PENALTIES[int(np.argmin(errors))]
    return Ridge(classes, centre, spread, v.T @ ((s / (s**2 + penalty))[:, None] * projected), bias, penalty)
