"""Nearest neighbour by dynamic time warping, through aeon: what is still the reference among distances.

Sakoe & Chiba (1978), IEEE Trans. ASSP 26(1), with their band; over several channels the dependent form of
Shokoohi-Yekta et al. (2017), Data Mining and Knowledge Discovery 31(1): one warping for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from moola.config import reject
from moola.models import Classifier, FitResources, LabelledWindows, Role, require_classes
from moola.models.arrays import load_arrays, save_arrays
from moola.models.classical import in_columns
from moola.models.guests import aeon_as_guest
from moola.models.softmax_scale import fit_scale, scaled_softmax

_FILE = "neighbours.safetensors"


@dataclass(frozen=True)
class Dtw:
    """1-NN DTW with probabilities.

    The distance of a window to a class is that to the nearest training window of the class, and the probabilities are
    ``softmax(-scale * distance)``: so the most probable class is that of the nearest neighbour, and every class that
    there is has some probability. The scale is the one of least log loss on the training windows, each of which is left
    out of its own neighbours.

    Attributes:
        bands: half widths of the Sakoe-Chiba band to choose from, as shares of the window: the one with which most
            training windows have a nearest neighbour of their class, the narrowest of equals. One alone is taken as
            it is.
    """

    bands: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2)
    deterministic: ClassVar[bool] = True
    role: ClassVar[Role] = "baseline"
    needs_pretraining: ClassVar[bool] = False
    uses_encoder: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reject(
            (not self.bands, "bands: needs at least one"),
            (any(not 0 <= band <= 1 for band in self.bands), f"bands: {list(self.bands)} must lie in [0, 1]"),
        )

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Remember the windows; choose the band and the scale among them.

        Raises:
            DataError: the windows show fewer than two classes.
        """
        require_classes(windows)
        classes, columns = np.unique(windows.labels, return_inverse=True)
        chosen, nearest = _choose(windows.inputs, columns, self.bands)
        finite = nearest[np.isfinite(nearest)]
        unit = float(np.median(finite)) or 1.0  # 0 where most windows are there twice
        scale = fit_scale(-nearest / unit, columns) / unit
        return FittedDtw(windows.inputs, columns, classes, windows.n_classes, chosen, scale)

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """The training windows with band and scale."""
        names = ("inputs", "columns", "classes", "n_classes", "band", "scale")
        found = load_arrays(folder / _FILE, names)
        inputs, columns, classes, n_classes, band, scale = (found[name] for name in names)
        return FittedDtw(inputs, columns, classes, int(n_classes), float(band), float(scale))


@dataclass(frozen=True)
class FittedDtw:
    """Training windows, and what was chosen among them.

    Attributes:
        inputs: float32 [n, T, D].
        columns: place of each window's class among `classes`, [n].
        classes: class numbers of the training windows, ascending.
        n_classes: classes there are.
        band: half width of the Sakoe-Chiba band, as a share of the window.
        scale: of the distances, see `Dtw`.
    """

    inputs: np.ndarray
    columns: np.ndarray
    classes: np.ndarray
    n_classes: int
    band: float
    scale: float

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes]; a class the fit never saw has probability 0."""
        nearest = nearest_of_class(distances(windows.inputs, self.inputs, self.band), self.columns)
        return in_columns(scaled_softmax(-nearest, self.scale), self.classes, self.n_classes)

    def save(self, folder: Path) -> None:
        """All of it as arrays."""
        save_arrays(folder / _FILE, {name: np.asarray(value) for name, value in vars(self).items()})


def nearest_of_class(found: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Distance to the nearest window of each class: [m, n] -> [m, K]; inf where a class has none.

    Args:
        found: distance of m windows to n, inf where one must not be looked at.
        columns: class of each of the n, 0 to K - 1.
    """
    return np.stack([found[:, columns == column].min(axis=1) for column in range(columns.max() + 1)], axis=1)


def distances(some: np.ndarray, others: np.ndarray, band: float) -> np.ndarray:
    """Root of the summed squared differences along the best warping: [m, T, D] and [n, T, D] -> float64 [m, n]."""
    from aeon.distances import dtw_pairwise_distance

    with aeon_as_guest():
        return np.sqrt(dtw_pairwise_distance(_channels_first(some), _channels_first(others), window=band))


def _choose(inputs: np.ndarray, columns: np.ndarray, bands: Sequence[float]) -> tuple[float, np.ndarray]:
    """The best band, and with it the distance of each window to the other windows of each class, [n, K]."""
    best: tuple[float, np.ndarray] | None = None
    most = -1
    for band in sorted(bands):
        found = distances(inputs, inputs, band)
        np.fill_diagonal(found, np.inf)
        nearest = nearest_of_class(found, columns)
        right = int((nearest.argmin(axis=1) == columns).sum())
        if right > most:
            most, best = right, (band, nearest)
    assert best is not None
    return best


def _channels_first(inputs: np.ndarray) -> np.ndarray:
    """[n, T, D] -> float64 [n, D, T], as aeon has it."""
    return np.ascontiguousarray(inputs.transpose(0, 2, 1), dtype=np.float64)
