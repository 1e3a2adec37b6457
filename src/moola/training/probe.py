"""What an encoder that does not train is worth: simple classifiers on its pooled states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from moola.config import reject
from moola.errors import ConfigError
from moola.models import Classifier, FitResources, LabelledWindows, Role
from moola.models.classical import FittedOnFeatures, linear_probe
from moola.models.encoder import Encoder, InputShape
from moola.training.embedding import embed
from moola.training.memory import within_memory
from moola.training.weights import TransferReport, transfer_weights


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
        encoder, _ = build_encoder(windows, self.init, resources)

        def features(some: LabelledWindows) -> np.ndarray:
            return embed(encoder, some.inputs, resources.device)

        return FittedOnFeatures(
            linear_probe(self.c).fit(features(windows), windows.labels), features, windows.n_classes
        )


def knn_probe(neighbours: int, n_train: int) -> Any:
    """Standardisation and a vote of the nearest neighbours by cosine, as one scikit-learn pipeline.

    As Wu et al. 2018 (arXiv:1805.01978) judge embeddings, with two differences: every neighbour has one vote, and
    the vectors are standardised on the training windows first, because those of a recurrent encoder all point
    nearly the same way.

    Args:
        neighbours: how many vote.
        n_train: windows to choose from; where they are fewer, all of them vote.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), KNeighborsClassifier(min(neighbours, n_train), metric="cosine"))


def build_encoder(
    windows: LabelledWindows, init: Literal["pretrained", "random"], resources: FitResources
) -> tuple[Encoder, TransferReport | None]:
    """The run's encoder: fresh weights from the seed, then the pretrained ones over them where they are asked for.

    A random one settles on these windows, as a pretrained one did on those that it learned from.

    Returns:
        The encoder, and what was loaded into it; None where nothing was.

    Raises:
        ConfigError: pretrained weights are asked for and that stage is switched off.
        OutOfMemoryError: the encoder does not fit into memory.
        TransferError: they do not fit.
    """
    assert resources.encoder is not None
    torch.manual_seed(resources.seed)
    _, n_bars, n_inputs = windows.inputs.shape
    with within_memory(resources.encoder, "encoder"):
        encoder = resources.encoder.build(InputShape(n_inputs, n_bars, resources.spans))
    if init == "random":
        encoder.settle(torch.from_numpy(windows.inputs))
        return encoder, None
    if resources.pretrained is None:
        raise ConfigError(
            ["model: one with init=pretrained needs the pretrain stage, which is switched off"],
            "switch the stage on, or remove the model: '~model.finetuned' '~model.pretrained_probe'",
        )
    return encoder, transfer_weights(encoder, resources.pretrained, resources.origin)
