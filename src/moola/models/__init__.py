"""Encoders, heads, classical models and controls; every name in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from moola.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from moola.models.encoder import Encoder, InputShape


Role = Literal["model", "baseline", "control"]


class EncoderConfig(Protocol):
    """Configuration of an encoder."""

    def build(self, shape: InputShape) -> Encoder:
        """An encoder for such windows with random weights.

        Raises:
            ConfigError: it does not fit such windows.
        """
        ...


@dataclass(frozen=True)
class LabelledWindows:
    """Few windows with labels; small enough to hold in memory.

    Attributes:
        bars: float32 [n, visible, n_channels], as the source gives them.
        inputs: float32 [n, visible, n_inputs], transformed.
        labels: int64 [n] class numbers.
        n_classes: classes there are, also those without a window here.
    """

    bars: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    n_classes: int

    def __getitem__(self, rows: np.ndarray) -> LabelledWindows:
        return LabelledWindows(self.bars[rows], self.inputs[rows], self.labels[rows], self.n_classes)

    def __len__(self) -> int:
        return len(self.labels)

    def without_labels(self) -> LabelledWindows:
        """The same windows with -1 for every label: what a model gets to predict."""
        return LabelledWindows(self.bars, self.inputs, np.full_like(self.labels, -1), self.n_classes)


@dataclass(frozen=True)
class FitResources:
    """What a model may use besides its training windows.

    Attributes:
        seed: of everything random in the fit.
        summary: inputs [n, visible, n_inputs] -> simple features [n, n_features].
        device: torch device name.
        encoder: configuration of the encoder of this run.
        pretrained: encoder weights pretrained with this seed, or None where that stage is off.
        trainer: fine-tuning schedule (`moola.training.schedule.FitConfig`).
        spans: parts of a window that the configuration tells apart; see `moola.models.encoder.InputShape`.
    """

    seed: int
    summary: Callable[[np.ndarray], np.ndarray]
    device: str
    encoder: EncoderConfig | None = None
    pretrained: Mapping[str, Tensor] | None = None
    trainer: Any = None
    spans: tuple[tuple[int, int], ...] = ()


class Classifier(Protocol):
    """A fitted model."""

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """Class probabilities, float64 [n, n_classes]; the labels of `windows` are not looked at."""
        ...


class Model(Protocol):
    """Configuration of a model; what `moola.testing.check_model` checks.

    Attributes:
        deterministic: the seed changes nothing, so one fit stands for all seeds.
        role: ``model``; ``baseline``, the simple thing a model has to beat; or ``control``, which knows nothing and is
            never chosen and never stacked.
        needs_pretraining: uses the pretrained encoder.
    """

    deterministic: ClassVar[bool]

    @property
    def role(self) -> Role:
        """What it is there for."""
        ...

    @property
    def needs_pretraining(self) -> bool:
        """Whether it starts from the pretrained encoder."""
        ...

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Fit on these windows and nothing else."""
        ...


ENCODERS: Registry[EncoderConfig] = Registry("encoder", {"bilstm": "moola.models.bilstm:BiLstm"})

MODELS: Registry[Model] = Registry(
    "model",
    {
        "encoder_probe": "moola.training.probe:EncoderProbe",
        "finetuned_encoder": "moola.training.finetuning:FinetunedEncoder",
        "logistic_regression": "moola.models.classical:LogisticRegression",
        "majority": "moola.models.controls:Majority",
        "minirocket": "moola.models.rocket:MiniRocket",
        "random_forest": "moola.models.classical:RandomForest",
    },
)
