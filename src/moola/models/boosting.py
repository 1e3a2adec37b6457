"""Gradient-boosted trees (Chen & Guestrin 2016, arXiv:1603.02754) through XGBoost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from moola.config import reject
from moola.layout import write_bytes
from moola.models import Classifier, FitResources, LabelledWindows, Role, require_classes
from moola.models.arrays import load_arrays, save_arrays, unreadable
from moola.models.classical import Features, in_columns, window_features

_BOOSTER, _CLASSES = "booster.json", "classes.safetensors"


@dataclass(frozen=True)
class XgBoost:
    """Boosted trees on the flat transformed window, or on the simple features.

    Attributes:
        trees: rounds; one tree each for two classes, and one a class for more.
        depth: of a tree.
        learning_rate: weight of each tree.
        row_share: of the windows, drawn for each tree.
        column_share: of the features, drawn for each tree.
        inputs: ``window`` or ``summary``.
    """

    trees: int = 200
    depth: int = 4
    learning_rate: float = 0.1
    row_share: float = 0.8
    column_share: float = 0.8
    inputs: Literal["window", "summary"] = "window"
    deterministic: ClassVar[bool] = False
    role: ClassVar[Role] = "baseline"
    needs_pretraining: ClassVar[bool] = False
    uses_encoder: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reject(
            (self.trees < 1, f"trees: {self.trees} must be at least 1"),
            (self.depth < 1, f"depth: {self.depth} must be at least 1"),
            (not 0 < self.learning_rate <= 1, f"learning_rate: {self.learning_rate} must lie in (0, 1]"),
            (not 0 < self.row_share <= 1, f"row_share: {self.row_share} must lie in (0, 1]"),
            (not 0 < self.column_share <= 1, f"column_share: {self.column_share} must lie in (0, 1]"),
        )

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """On one thread, so that a seed gives the same trees everywhere.

        Raises:
            DataError: the windows show fewer than two classes.
        """
        import xgboost

        require_classes(windows)
        features = window_features(self.inputs, resources)
        classes, columns = np.unique(windows.labels, return_inverse=True)
        several = {"objective": "multi:softprob", "num_class": len(classes)}
        settings = {
            **(several if len(classes) > 2 else {"objective": "binary:logistic"}),
            "max_depth": self.depth,
            "learning_rate": self.learning_rate,
            "subsample": self.row_share,
            "colsample_bytree": self.column_share,
            "seed": resources.seed % 2**31,  # XGBoost keeps it in 31 bits
            "nthread": 1,
        }
        rows = xgboost.DMatrix(features(windows), columns, nthread=1)
        return FittedBooster(xgboost.train(settings, rows, self.trees), features, classes, windows.n_classes)

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """The features are those of `resources`."""
        import xgboost

        path = folder / _BOOSTER
        known = load_arrays(folder / _CLASSES, ["classes", "n_classes"])
        booster = xgboost.Booster({"nthread": 1})
        try:
            booster.load_model(bytearray(path.read_bytes()))
        except (OSError, xgboost.core.XGBoostError) as error:
            raise unreadable(path, str(error).splitlines()[0]) from error
        return FittedBooster(
            booster, window_features(self.inputs, resources), known["classes"], int(known["n_classes"])
        )


@dataclass(frozen=True)
class FittedBooster:
    """Trees with the features they were fitted on.

    Attributes:
        booster: ``xgboost.Booster``.
        features: of windows.
        classes: class numbers that it was fitted on, int64 [K], ascending.
        n_classes: classes there are.
    """

    booster: Any
    features: Features
    classes: np.ndarray
    n_classes: int

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes]; a class the fit never saw has probability 0."""
        import xgboost

        found = self.booster.predict(xgboost.DMatrix(self.features(windows), nthread=1)).astype(np.float64)
        if found.ndim == 1:  # of two classes XGBoost says the second
            found = np.column_stack([1 - found, found])
        return in_columns(found / found.sum(axis=1, keepdims=True), self.classes, self.n_classes)

    def save(self, folder: Path) -> None:
        """``booster.json`` in XGBoost's own format, and the classes."""
        write_bytes(folder / _BOOSTER, bytes(self.booster.save_raw("json")))
        save_arrays(folder / _CLASSES, {"classes": self.classes, "n_classes": np.array(self.n_classes)})
        self.features.save(folder)
