"""scikit-learn models on documented inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np

from moola.config import reject
from moola.layout import read_json, write_json
from moola.models import Classifier, FitResources, LabelledWindows, Role, require_classes
from moola.models.arrays import unreadable
from moola.models.estimators import load_estimator, save_estimator


class Features(Protocol):
    """What a classifier sees of windows."""

    def __call__(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_features]."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was learnt for them."""
        ...


@dataclass(frozen=True)
class SummaryFeatures:
    """The simple features of `moola.features.summary`; nothing is learnt for them."""

    of: Callable[[np.ndarray], np.ndarray]

    def __call__(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_features]."""
        return self.of(windows.inputs)

    def save(self, folder: Path) -> None:
        """Nothing."""


@dataclass(frozen=True)
class FlatWindow:
    """Every input at every bar; nothing is learnt for it."""

    def __call__(self, windows: LabelledWindows) -> np.ndarray:
        """[n, T * D]."""
        return windows.inputs.reshape(len(windows.inputs), -1)

    def save(self, folder: Path) -> None:
        """Nothing."""


def window_features(inputs: Literal["window", "summary"], resources: FitResources) -> Features:
    """The flat window or the simple features."""
    return FlatWindow() if inputs == "window" else SummaryFeatures(resources.summary)


@dataclass(frozen=True)
class FittedOnFeatures:
    """An estimator with the features it was fitted on.

    Attributes:
        estimator: of scikit-learn.
        features: of windows.
        n_classes: classes there are, also those that the estimator never saw.
    """

    estimator: Any
    features: Features
    n_classes: int

    @classmethod
    def fit(cls, estimator: Any, features: Features, windows: LabelledWindows) -> Self:
        """Fit the estimator in place.

        Raises:
            DataError: the windows show fewer than two classes.
        """
        require_classes(windows)
        return cls(estimator.fit(features(windows), windows.labels), features, windows.n_classes)

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes]; a class the fit never saw has probability 0."""
        return in_columns(self.estimator.predict_proba(self.features(windows)), self.estimator.classes_, self.n_classes)

    def save(self, folder: Path) -> None:
        """``estimator.skops``, ``classes.json`` and what the features need."""
        save_estimator(folder / "estimator.skops", self.estimator)
        save_class_count(folder, self.n_classes)
        self.features.save(folder)

    @classmethod
    def load(cls, folder: Path, features: Features) -> Self:
        """With features that are loaded already.

        Raises:
            StorageError: a file is missing or damaged.
        """
        return cls(load_estimator(folder / "estimator.skops"), features, load_class_count(folder))


def in_columns(found: np.ndarray, classes: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities [n, K] of the classes seen, each in its column of [n, n_classes]; the others are 0."""
    probabilities = np.zeros((len(found), n_classes))
    probabilities[:, classes] = found
    return probabilities


def save_class_count(folder: Path, n_classes: int) -> None:
    """Write how many classes there are."""
    write_json(folder / "classes.json", {"n_classes": n_classes})


def load_class_count(folder: Path) -> int:
    """Read what `save_class_count` wrote.

    Raises:
        StorageError: the file is missing or says nothing.
    """
    path = folder / "classes.json"
    said = read_json(path)
    n_classes = said.get("n_classes") if isinstance(said, dict) else None
    if not isinstance(n_classes, int) or n_classes < 2:
        raise unreadable(path, f"{said!r} names no number of classes")
    return n_classes


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
    uses_encoder: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reject((not 0 < self.c < float("inf"), f"c: {self.c} must be positive and finite"))

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Mean and spread of the features come from these windows alone."""
        return FittedOnFeatures.fit(linear_probe(self.c), SummaryFeatures(resources.summary), windows)

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """The features are those of `resources`."""
        return FittedOnFeatures.load(folder, SummaryFeatures(resources.summary))


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
    uses_encoder: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reject((self.trees < 1, f"trees: {self.trees} must be at least 1"))

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Classes are weighted inversely to their frequency in each bootstrap."""
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(
            self.trees, class_weight="balanced_subsample", random_state=resources.seed, n_jobs=1
        )
        return FittedOnFeatures.fit(forest, window_features(self.inputs, resources), windows)

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """The features are those of `resources`."""
        return FittedOnFeatures.load(folder, window_features(self.inputs, resources))


def linear_probe(c: float) -> Any:
    """Standardisation and L2-penalised logistic regression in one scikit-learn pipeline."""
    from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), SklearnLogisticRegression(C=c, max_iter=2000))
