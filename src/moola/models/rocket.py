"""MiniRocket (Dempster, Schmidt & Webb 2021, arXiv:2012.08791) through aeon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moola.config import reject
from moola.errors import DataError
from moola.models import Classifier, FitResources, LabelledWindows, Role
from moola.models.classical import FittedOnFeatures, linear_probe


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

    def __post_init__(self) -> None:
        reject(
            (self.kernels < 84, f"kernels: {self.kernels} must be at least 84, one a fixed pattern"),
            (not 0 < self.c < float("inf"), f"c: {self.c} must be positive and finite"),
        )

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Biases are drawn from these windows alone.

        Raises:
            DataError: windows are shorter than the 9 steps of a kernel.
        """
        from aeon.transformations.collection.convolution_based import MiniRocket as AeonMiniRocket

        if windows.inputs.shape[1] < 9:
            raise DataError(
                "MiniRocket needs windows of at least 9 bars",
                f"these show {windows.inputs.shape[1]}",
                "drop it with '~model.minirocket'",
            )
        rocket = AeonMiniRocket(n_kernels=self.kernels, random_state=resources.seed, n_jobs=1)
        rocket.fit(_channels_first(windows.inputs))

        def features(some: LabelledWindows) -> np.ndarray:
            return np.asarray(rocket.transform(_channels_first(some.inputs)), dtype=np.float64)

        return FittedOnFeatures(
            linear_probe(self.c).fit(features(windows), windows.labels), features, windows.n_classes
        )


def _channels_first(inputs: np.ndarray) -> np.ndarray:
    """[n, T, D] -> [n, D, T], contiguous, as aeon has it."""
    return np.ascontiguousarray(inputs.transpose(0, 2, 1), dtype=np.float32)
