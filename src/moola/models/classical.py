"""scikit-learn models on documented inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from moola.config import reject
from moola.models import Classifier, FitResources, LabelledWindows, Role

Features = Callable[[LabelledWindows], np.ndarray]


@dataclass(frozen=True)
class FittedOnFeatures:
    """An estimator with the features it was fitted on."""

    estimator: Any
    features: Features
    n_classes: int

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes]; a class the fit never saw has probability 0."""
        found = self.estimator.predict_proba(self.features(windows))
        probabilities = np.zeros((len(found), self.n_classes))
        probabilities[:, self.estimator.classes_] = found
        return probabilities


@dataclass(frozen=True)
class LogisticRegression:
    """Standardised simple features (`moola.features.summary`), L2 penalty.

    Attributes:
        c: inverse strength of the penalty.
    """

    c: float = 1.0
    deterministic: ClassVar[bool] = True
    role: ClassVar[Role] = "baseline"
    needs_pretraining: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reject((not 0 < self.c < float("inf"), f"c: {self.c} must be positive and finite"))

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Mean and spread of the features come from these windows alone."""

        def features(some: LabelledWindows) -> np.ndarray:
            return resources.summary(some.inputs)

        return FittedOnFeatures(
            linear_probe(self.c).fit(features(windows), windows.labels), features, windows.n_classes
        )


@dataclass(frozen=True)
class RandomForest:
    """Random forest (Breiman 2001) on the flat transformed window, or on the simple features.

    Attributes:
        trees: how many.
        inputs: ``window`` or ``summary``.
    """

    trees: int = 500
    inputs: Literal["window", "summary"] = "window"
    deterministic: ClassVar[bool] = False
    role: ClassVar[Role] = "baseline"
    needs_pretraining: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reject((self.trees < 1, f"trees: {self.trees} must be at least 1"))

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Classes are weighted inversely to their frequency in each bootstrap."""
        from sklearn.ensemble import RandomForestClassifier

        def features(some: LabelledWindows) -> np.ndarray:
            flat = some.inputs.reshape(len(some.inputs), -1)
            return flat if self.inputs == "window" else resources.summary(some.inputs)

        forest = RandomForestClassifier(
            self.trees, class_weight="balanced_subsample", random_state=resources.seed, n_jobs=1
        )
        return FittedOnFeatures(forest.fit(features(windows), windows.labels), features, windows.n_classes)


def linear_probe(c: float) -> Any:
    """Standardisation and L2-penalised logistic regression in one scikit-learn pipeline."""
    from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), SklearnLogisticRegression(C=c, max_iter=2000))
