"""MiniRocket (Dempster, Schmidt & Webb 2021, arXiv:2012.08791) through aeon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from moola.config import reject
from moola.errors import DataError
from moola.models import Classifier, FitResources, LabelledWindows, Role
from moola.models.arrays import load_arrays, save_arrays
from moola.models.classical import FittedOnFeatures, linear_probe
from moola.models.guests import aeon_as_guest

KERNEL_PARTS = ("channels_per_kernel", "channel_indices", "dilations", "features_per_dilation", "biases")
"""What aeon learns of kernels, in its order; the first two only where windows have several channels."""
_FILE = "kernels.safetensors"


@dataclass(frozen=True)
class MiniRocket:
    """Convolution features of the transformed window, then a penalised logistic regression.

    The paper's ridge classifier gives no probabilities, and every model here must; so the linear layer is a
    logistic regression on standardised features.

    Attributes:
        kernels: number of features.
        c: inverse strength of the penalty; small, because there are far more features than windows.
    """

    kernels: int = 10_000
    c: float = 1e-3
    deterministic: ClassVar[bool] = False
    role: ClassVar[Role] = "baseline"
    needs_pretraining: ClassVar[bool] = False
    uses_encoder: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reject(
            (self.kernels < 84, f"kernels: {self.kernels} must be at least 84, one a fixed pattern"),
            (not 0 < self.c < float("inf"), f"c: {self.c} must be positive and finite"),
        )

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Biases are drawn from these windows alone.

        Raises:
            DataError: windows are shorter than the 9 steps of a kernel, or show fewer than two classes.
        """
        require_bars(windows, 9, "MiniRocket", "minirocket")
        features = MiniRocketFeatures.fit(windows.inputs, self.kernels, resources.seed)
        return FittedOnFeatures.fit(linear_probe(self.c), features, windows)

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """The kernels and the linear layer."""
        return FittedOnFeatures.load(folder, MiniRocketFeatures.load(folder))


@dataclass(frozen=True)
class MiniRocketFeatures:
    """Share of positive values of each convolution, [n, kernels].

    Attributes:
        rocket: aeon's transformer, fitted.
    """

    rocket: Any

    @classmethod
    def fit(cls, inputs: np.ndarray, kernels: int, seed: int) -> Self:
        """Draw from windows [n, T, D]."""
        from aeon.transformations.collection.convolution_based import MiniRocket as AeonMiniRocket

        with aeon_as_guest():
            rocket = AeonMiniRocket(n_kernels=kernels, random_state=seed, n_jobs=1)
            return cls(rocket.fit(channels_first(inputs)))

    def __call__(self, windows: LabelledWindows) -> np.ndarray:
        """float64 [n, kernels]."""
        with aeon_as_guest():
            return np.asarray(self.rocket.transform(channels_first(windows.inputs)), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """The five arrays that aeon learns."""
        save_arrays(folder / _FILE, dict(zip(KERNEL_PARTS, self.rocket.parameters, strict=True)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """With aeon's transformer around the arrays."""
        from aeon.transformations.collection.convolution_based import MiniRocket as AeonMiniRocket

        found = load_arrays(folder / _FILE, KERNEL_PARTS)
        rocket = as_fitted(AeonMiniRocket(n_jobs=1))
        rocket.parameters = tuple(found[name] for name in KERNEL_PARTS)
        return cls(rocket)


def as_fitted(transformer: Any) -> Any:
    """Aeon's transformer in the state in which `fit` leaves it, but for what it learns."""
    transformer._n_jobs = 1
    transformer.is_fitted = True
    return transformer


def require_bars(windows: LabelledWindows, least: int, what: str, name: str) -> None:
    """Refuse windows that are shorter than a kernel.

    Raises:
        DataError: they are.
    """
    if windows.inputs.shape[1] < least:
        raise DataError(
            f"{what} needs windows of at least {least} bars",
            f"these show {windows.inputs.shape[1]}",
            f"drop it with '~model.{name}'",
        )


def channels_first(inputs: np.ndarray) -> np.ndarray:
    """[n, T, D] -> [n, D, T], contiguous, as aeon has it."""
    return np.ascontiguousarray(inputs.transpose(0, 2, 1), dtype=np.float32)
