"""A model that gives every window to the first class: what the alarm is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from moola.layout import read_json, write_json
from moola.models import Classifier, FitResources, LabelledWindows


@dataclass(frozen=True)
class FirstClass:
    """Always the first class, with the same probability."""

    confidence: float = 0.9
    deterministic: ClassVar[bool] = True
    role: ClassVar[Literal["model"]] = "model"
    needs_pretraining: ClassVar[bool] = False
    uses_encoder: ClassVar[bool] = False

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        return _First(self.confidence)

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        return _First(read_json(folder / "confidence.json"))


@dataclass(frozen=True)
class _First:
    confidence: float

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        others = (1 - self.confidence) / (windows.n_classes - 1)
        row = np.full(windows.n_classes, others)
        row[0] = self.confidence
        return np.tile(row, (len(windows), 1))

    def save(self, folder: Path) -> None:
        write_json(folder / "confidence.json", self.confidence)
