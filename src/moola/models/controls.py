"""Models that know nothing: what they reach is what nothing is worth."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from moola.models import Classifier, FitResources, LabelledWindows, Role
from moola.models.arrays import load_arrays, save_arrays

_FILE = "frequencies.safetensors"


@dataclass(frozen=True)
class Majority:
    """Always the class frequencies of the training windows, so always their most frequent class."""

    deterministic: ClassVar[bool] = True
    role: ClassVar[Role] = "control"
    needs_pretraining: ClassVar[bool] = False
    uses_encoder: ClassVar[bool] = False

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Count the labels."""
        return _Constant(_frequencies(windows))

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """The frequencies."""
        return _Constant(load_arrays(folder / _FILE, ["frequencies"])["frequencies"])


@dataclass(frozen=True)
class Stratified:
    """A class drawn at random for each window, as often as the training windows have it.

    The drawn class gets half of the probability beside its share of the other half, which are the frequencies: so
    it is always the most probable one, and no class that there is has probability 0. The draw is made of the seed and
    the window's inputs, so that a window gets the same one whatever else is asked.
    """

    deterministic: ClassVar[bool] = False
    role: ClassVar[Role] = "control"
    needs_pretraining: ClassVar[bool] = False
    uses_encoder: ClassVar[bool] = False

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Count the labels."""
        return _Drawn(_frequencies(windows), resources.seed)

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """The frequencies, and the seed that they were drawn with."""
        found = load_arrays(folder / _FILE, ["frequencies", "seed"])
        return _Drawn(found["frequencies"], int(found["seed"]))


@dataclass(frozen=True)
class _Constant:
    frequencies: np.ndarray

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes], every row the same."""
        return np.tile(self.frequencies, (len(windows.inputs), 1))

    def save(self, folder: Path) -> None:
        """The frequencies."""
        save_arrays(folder / _FILE, {"frequencies": self.frequencies})


@dataclass(frozen=True)
class _Drawn:
    frequencies: np.ndarray
    seed: int

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes]."""
        uniform = np.array([_uniform(self.seed, window) for window in windows.inputs])
        present = np.flatnonzero(self.frequencies)
        bounds = np.cumsum(self.frequencies[present])[:-1]  # without the last, which rounding may leave below 1
        drawn = present[np.searchsorted(bounds, uniform, side="right")]
        return (np.eye(len(self.frequencies))[drawn] + self.frequencies) / 2

    def save(self, folder: Path) -> None:
        """The frequencies and the seed."""
        save_arrays(folder / _FILE, {"frequencies": self.frequencies, "seed": np.array(self.seed)})


def _frequencies(windows: LabelledWindows) -> np.ndarray:
    counts = np.bincount(windows.labels, minlength=windows.n_classes)
    return counts / counts.sum()


def _uniform(seed: int, window: np.ndarray) -> float:
    """A number in [0, 1) that a window always draws with this seed."""
    digest = hashlib.blake2b(window.tobytes(), digest_size=8, salt=seed.to_bytes(16, "little")).digest()
    return int.from_bytes(digest, "little") / 2**64
