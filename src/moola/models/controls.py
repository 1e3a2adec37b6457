"""Models that know nothing: what they reach is what nothing is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moola.models import Classifier, FitResources, LabelledWindows, Role


@dataclass(frozen=True)
class Majority:
    """Always the class frequencies of the training windows, so always their most frequent class."""

    deterministic: ClassVar[bool] = True
    role: ClassVar[Role] = "control"
    needs_pretraining: ClassVar[bool] = False

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Count the labels."""
        counts = np.bincount(windows.labels, minlength=windows.n_classes)
        return _Constant(counts / counts.sum())


@dataclass(frozen=True)
class _Constant:
    frequencies: np.ndarray

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes], every row the same."""
        return np.tile(self.frequencies, (len(windows.inputs), 1))
