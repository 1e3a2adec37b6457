"""MultiRocket-Hydra through aeon: the transforms of two papers side by side, then one linear layer.

Tan et al. 2022, arXiv:2102.00457 (MultiRocket); Dempster, Schmidt & Webb 2023, arXiv:2203.13652 (Hydra, and the two
together).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from moola.config import reject
from moola.models import Classifier, FitResources, LabelledWindows, Role, require_classes
from moola.models.arrays import load_arrays, save_arrays, unreadable
from moola.models.classical import in_columns
from moola.models.guests import aeon_as_guest
from moola.models.ridge import fit_ridge
from moola.models.rocket import KERNEL_PARTS, as_fitted, channels_first, require_bars
from moola.models.softmax_scale import fit_scale, scaled_softmax

PENALTIES = tuple(float(value) for value in np.logspace(-3, 3, 10))
"""Of the ridge classifier, as in the authors' code."""
_PORTION = 256
"""Windows that Hydra convolves at once; all its kernels at every bar are in memory for them."""
_SPARSITY_POWER, _LEAST_SPREAD = 4, 1e-8
_TRANSFORM, _LAYER = "transform.safetensors", "linear.safetensors"
_SHAPE: tuple[str, ...] = ("n_channels", "n_bars", "kernels_per_group", "groups")
_SCALING = ("hydra_centre", "hydra_spread", "multirocket_centre", "multirocket_spread")


@dataclass(frozen=True)
class MultiRocketHydra:
    """Some 50,000 features of MultiRocket and 4,000 of Hydra, each scaled as in its paper; then a ridge classifier.

    MultiRocket's are standardised. Hydra's are counts, often 0: of their roots, the mean is taken off where they are
    not 0, and the spread they are divided by is larger the more often they are 0.

    The class of the largest score is the one that the authors' classifier gives. What differs: the scores become
    probabilities through a softmax with one scale, which is learnt from the leave-one-out scores that the choice of the
    penalty needs anyway (`moola.models.softmax_scale`).

    Attributes:
        kernels: of MultiRocket; each gives eight features.
        hydra_kernels: of Hydra in a group; they compete.
        hydra_groups: of Hydra at each dilation.
    """

    kernels: int = 6_250
    hydra_kernels: int = 8
    hydra_groups: int = 64
    deterministic: ClassVar[bool] = False
    role: ClassVar[Role] = "baseline"
    needs_pretraining: ClassVar[bool] = False
    uses_encoder: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reject(
            (self.kernels < 84, f"kernels: {self.kernels} must be at least 84, one a fixed pattern"),
            (self.hydra_kernels < 2, f"hydra_kernels: {self.hydra_kernels} must be at least 2, for they compete"),
            (
                self.hydra_groups < 2 or self.hydra_groups % 2 > 0,
                f"hydra_groups: {self.hydra_groups} must be even: half of them look at differences",
            ),
        )

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Biases, scaling and linear layer come from these windows alone.

        Raises:
            DataError: windows are shorter than a kernel and a difference, or show fewer than two classes.
        """
        require_bars(windows, 10, "MultiRocket-Hydra", "multirocket_hydra")
        require_classes(windows)
        features, fitted_on = _fit_features(self, windows.inputs, resources.seed)
        ridge = fit_ridge(fitted_on, windows.labels, PENALTIES, standardise=False)
        scale = fit_scale(ridge.held_out, np.searchsorted(ridge.classes, windows.labels))
        layer = {
            "classes": ridge.classes,
            "centre": ridge.centre,
            "weights": ridge.weights,
            "bias": ridge.bias,
            "scale": np.array(scale),
            "n_classes": np.array(windows.n_classes),
        }
        return FittedMultiRocketHydra(features, layer)

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """The kernels, their scaling and the linear layer."""
        names = ("classes", "centre", "weights", "bias", "scale", "n_classes")
        return FittedMultiRocketHydra(MultiRocketHydraFeatures.load(folder), load_arrays(folder / _LAYER, names))


@dataclass(frozen=True)
class FittedMultiRocketHydra:
    """Transforms and linear layer.

    Attributes:
        features: of windows, scaled.
        layer: ``classes`` [K], ``centre`` [E], ``weights`` [E, K], ``bias`` [K], ``scale`` and ``n_classes``.
    """

    features: MultiRocketHydraFeatures
    layer: Mapping[str, np.ndarray]

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes]; a class the fit never saw has probability 0."""
        layer = self.layer
        scores = (self.features(windows) - layer["centre"]) @ layer["weights"] + layer["bias"]
        return in_columns(scaled_softmax(scores, float(layer["scale"])), layer["classes"], int(layer["n_classes"]))

    def save(self, folder: Path) -> None:
        """``transform.safetensors`` and ``linear.safetensors``."""
        self.features.save(folder)
        save_arrays(folder / _LAYER, self.layer)


@dataclass(frozen=True)
class MultiRocketHydraFeatures:
    """Both transforms, scaled: float64 [n, E].

    Attributes:
        multirocket, hydra: aeon's transformers, fitted.
        scaling: centre and spread of the features of each.
        shape: channels and bars of a window, kernels a group and groups of Hydra.
    """

    multirocket: Any
    hydra: Any
    scaling: Mapping[str, np.ndarray]
    shape: Mapping[str, int]

    def __call__(self, windows: LabelledWindows) -> np.ndarray:
        """[n, E]: Hydra's, then MultiRocket's."""
        return _scaled(*_transformed(self.hydra, self.multirocket, windows.inputs), self.scaling)

    def save(self, folder: Path) -> None:
        """Every array that a transformer holds."""
        inner = self.hydra._hydra
        arrays = {
            **{name: np.array(value) for name, value in self.shape.items()},
            **self.scaling,
            "hydra_weights": inner.W.numpy(),
            **{f"hydra_channels_{i}": index.numpy() for i, index in enumerate(inner.idx)},
            "multirocket_seed": np.array(self.multirocket.random_state_),
        }
        for series, parameters in (("series", self.multirocket.parameter), ("steps", self.multirocket.parameter1)):
            named = zip(KERNEL_PARTS[-len(parameters) :], parameters, strict=True)
            arrays |= {f"{series}_{name}": value for name, value in named}
        save_arrays(folder / _TRANSFORM, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """With aeon's transformers around the arrays."""
        import torch
        from aeon.transformations.collection.convolution_based import MultiRocket

        path = folder / _TRANSFORM
        found = load_arrays(path, [*_SHAPE, *_SCALING, "hydra_weights", "multirocket_seed"])
        shape = {name: int(found[name]) for name in _SHAPE}
        hydra = _draw_hydra(shape, seed=0)
        try:
            hydra._hydra.W = torch.from_numpy(found["hydra_weights"])
            hydra._hydra.idx = [
                torch.from_numpy(found[f"hydra_channels_{i}"]) for i in range(hydra._hydra.num_dilations)
            ]
            parts = KERNEL_PARTS[0 if shape["n_channels"] > 1 else 2 :]
            series, steps = (tuple(found[f"{of}_{name}"] for name in parts) for of in ("series", "steps"))
        except KeyError as error:
            raise unreadable(path, f"it holds no {error.args[0]}") from error
        multirocket = as_fitted(MultiRocket(n_jobs=1))
        multirocket.parameter, multirocket.parameter1 = series, steps
        multirocket.random_state_ = int(found["multirocket_seed"])
        return cls(multirocket, hydra, {name: found[name] for name in _SCALING}, shape)


def _fit_features(
    config: MultiRocketHydra, inputs: np.ndarray, seed: int
) -> tuple[MultiRocketHydraFeatures, np.ndarray]:
    """The transforms fitted on windows [n, T, D], and the features of these windows, which they need for scaling."""
    from aeon.transformations.collection.convolution_based import MultiRocket

    _, n_bars, n_channels = inputs.shape
    shape = dict(zip(_SHAPE, (n_channels, n_bars, config.hydra_kernels, config.hydra_groups), strict=True))
    hydra = _draw_hydra(shape, seed)
    with aeon_as_guest():
        multirocket = MultiRocket(n_kernels=config.kernels, random_state=seed, n_jobs=1).fit(channels_first(inputs))
    counts, values = _transformed(hydra, multirocket, inputs)
    spread = values.std(axis=0)
    scaling = {
        "hydra_centre": counts.mean(axis=0),
        "hydra_spread": counts.std(axis=0, ddof=1) + (counts == 0).mean(axis=0) ** _SPARSITY_POWER + _LEAST_SPREAD,
        "multirocket_centre": values.mean(axis=0),
        "multirocket_spread": np.where(spread < _LEAST_SPREAD, 1.0, spread),
    }
    return MultiRocketHydraFeatures(multirocket, hydra, scaling, shape), _scaled(counts, values, scaling)


def _scaled(counts: np.ndarray, values: np.ndarray, scaling: Mapping[str, np.ndarray]) -> np.ndarray:
    """Hydra's features and MultiRocket's, side by side."""
    hydra = (counts - scaling["hydra_centre"]) * (counts != 0) / scaling["hydra_spread"]
    multirocket = (values - scaling["multirocket_centre"]) / scaling["multirocket_spread"]
    return np.concatenate([hydra, multirocket], axis=1)


def _transformed(hydra: Any, multirocket: Any, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Roots of Hydra's counts, and MultiRocket's features, of windows [n, T, D]."""
    series = channels_first(inputs)
    with aeon_as_guest():
        portions = [hydra.transform(series[i : i + _PORTION]).numpy() for i in range(0, len(series), _PORTION)]
        values = np.asarray(multirocket.transform(series), dtype=np.float64)
    return np.sqrt(np.concatenate(portions).astype(np.float64).clip(0)), values


def _draw_hydra(shape: Mapping[str, int], seed: int) -> Any:
    """Aeon's transformer with kernels of this seed; it looks at nothing but the shape of windows."""
    from aeon.transformations.collection.convolution_based import HydraTransformer

    hydra = HydraTransformer(shape["kernels_per_group"], shape["groups"], n_jobs=1, random_state=seed)
    with aeon_as_guest():
        return hydra.fit(np.zeros((1, shape["n_channels"], shape["n_bars"]), dtype=np.float32))
