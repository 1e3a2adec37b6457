"""Meta models: what makes one prediction of those of several models (stacking, Wolpert 1992)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from moola.config import reject
from moola.registry import Registry

FittedMeta = Callable[[np.ndarray], np.ndarray]
"""Base probabilities [n_models, n, n_classes] -> probabilities [n, n_classes]."""


class MetaModel(Protocol):
    """Configuration of a meta model."""

    def fit(self, probabilities: np.ndarray, labels: np.ndarray, seed: int) -> FittedMeta:
        """Learn from predictions of base models that had not seen these windows.

        Args:
            probabilities: float64 [n_models, n, n_classes].
            labels: int64 [n].
            seed: of everything random.
        """
        ...


@dataclass(frozen=True)
class SimplexMean:
    """Weighted mean of the bases, weights not negative and of sum 1, of least log loss.

    The weights of a mixture whose parts are known, by expectation maximisation (Dempster, Laird & Rubin 1977), begun at
    equal weights. The fewest parameters that a stack can have: with few labels it can hardly learn noise.

    Attributes:
        iterations: of expectation maximisation; few keep the weights near equal ones.
    """

    iterations: int = 100

    def __post_init__(self) -> None:
        reject((self.iterations < 0, f"iterations: {self.iterations} must not be negative"))

    def fit(self, probabilities: np.ndarray, labels: np.ndarray, seed: int) -> FittedMeta:
        """The problem is convex, so there is nothing random in it."""
        of_truth = probabilities[:, np.arange(len(labels)), labels].clip(1e-6)
        weights = np.full(len(probabilities), 1 / len(probabilities))
        for _ in range(self.iterations):
            share = weights[:, None] * of_truth
            weights = (share / share.sum(axis=0)).mean(axis=1)
        return lambda some: np.tensordot(weights, some, axes=1)


@dataclass(frozen=True)
class LogisticMeta:
    """Standardised `meta_features` and L2-penalised logistic regression.

    Attributes:
        c: inverse strength of the penalty.
    """

    c: float = 0.1

    def __post_init__(self) -> None:
        reject((not 0 < self.c < float("inf"), f"c: {self.c} must be positive and finite"))

    def fit(self, probabilities: np.ndarray, labels: np.ndarray, seed: int) -> FittedMeta:
        """Means, spreads and coefficients come from these windows alone."""
        from moola.models.classical import linear_probe

        return _on_features(linear_probe(self.c), probabilities, labels)


@dataclass(frozen=True)
class ForestMeta:
    """`meta_features` and a random forest (Breiman 2001).

    Attributes:
        trees: how many.
        min_leaf: windows a leaf holds at least; a few keep it from learning single windows by heart.
    """

    trees: int = 300
    min_leaf: int = 5

    def __post_init__(self) -> None:
        reject(
            (self.trees < 1, f"trees: {self.trees} must be at least 1"),
            (self.min_leaf < 1, f"min_leaf: {self.min_leaf} must be at least 1"),
        )

    def fit(self, probabilities: np.ndarray, labels: np.ndarray, seed: int) -> FittedMeta:
        """Classes are weighted inversely to their frequency in each bootstrap."""
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(
            self.trees,
            min_samples_leaf=self.min_leaf,
            class_weight="balanced_subsample",
            random_state=seed,
            n_jobs=1,
        )
        return _on_features(forest, probabilities, labels)


META_MODELS: Registry[MetaModel] = Registry(
    "meta model",
    {
        "logistic_regression": "moola.models.meta:LogisticMeta",
        "random_forest": "moola.models.meta:ForestMeta",
        "simplex_mean": "moola.models.meta:SimplexMean",
    },
)


def meta_features(probabilities: np.ndarray) -> np.ndarray:
    """Base probabilities and their disagreement.

    Args:
        probabilities: float [n_models, n_windows, n_classes].

    Returns:
        float [n_windows, n_models * n_classes + 3]: all probabilities, then the standard deviation over models of the
        largest probability, the entropy of the mean, and the largest confidence of any model.
    """
    confidence = probabilities.max(axis=2)
    mean = probabilities.mean(axis=0).clip(1e-12, 1.0)
    disagreement = [confidence.std(axis=0), -(mean * np.log(mean)).sum(axis=1), confidence.max(axis=0)]
    flat = probabilities.transpose(1, 0, 2).reshape(probabilities.shape[1], -1)
    return np.column_stack([flat, *disagreement])


def _on_features(estimator: Any, probabilities: np.ndarray, labels: np.ndarray) -> FittedMeta:
    estimator.fit(meta_features(probabilities), labels)

    def predict(some: np.ndarray) -> np.ndarray:
        found = np.zeros(some.shape[1:])
        found[:, estimator.classes_] = estimator.predict_proba(meta_features(some))
        return found

    return predict
