"""Linear probe: a logistic regression on the pooled states of an encoder that does not train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from moola.config import reject
from moola.errors import ConfigError
from moola.models import Classifier, FitResources, LabelledWindows, Role
from moola.models.classical import FittedOnFeatures, linear_probe
from moola.models.encoder import Encoder, InputShape
from moola.training.embedding import embed
from moola.training.weights import transfer_weights


@dataclass(frozen=True)
class EncoderProbe:
    """Frozen encoder and linear classifier.

    Attributes:
        init: ``pretrained``, or ``random``: what the same encoder is worth before it has learned anything.
        c: inverse strength of the penalty.
    """

    init: Literal["pretrained", "random"] = "pretrained"
    c: float = 0.1
    deterministic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reject((not 0 < self.c < float("inf"), f"c: {self.c} must be positive and finite"))

    @property
    def role(self) -> Role:
        """A random encoder is there to be beaten."""
        return "control" if self.init == "random" else "model"

    @property
    def needs_pretraining(self) -> bool:
        """Only the pretrained one."""
        return self.init == "pretrained"

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Only the linear layer is fitted."""
        encoder = build_encoder(windows, self.init, resources)

        def features(some: LabelledWindows) -> np.ndarray:
            return embed(encoder, some.inputs, resources.device)

        return FittedOnFeatures(
            linear_probe(self.c).fit(features(windows), windows.labels), features, windows.n_classes
        )


def build_encoder(windows: LabelledWindows, init: Literal["pretrained", "random"], resources: FitResources) -> Encoder:
    """The run's encoder: fresh weights from the seed, then the pretrained ones over them where they are asked for.

    Raises:
        ConfigError: pretrained weights are asked for and that stage is switched off.
        TransferError: they do not fit.
    """
    assert resources.encoder is not None
    torch.manual_seed(resources.seed)
    _, n_bars, n_inputs = windows.inputs.shape
    encoder = resources.encoder.build(InputShape(n_inputs, n_bars, resources.spans))
    if init == "pretrained":
        if resources.pretrained is None:
            raise ConfigError(
                ["model: one with init=pretrained needs the pretrain stage, which is switched off"],
                "switch the stage on, or remove the model: '~model.finetuned' '~model.pretrained_probe'",
            )
        transfer_weights(encoder, resources.pretrained)
    return encoder
