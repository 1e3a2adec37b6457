"""What an encoder that does not train is worth: simple classifiers on its pooled states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch

from moola.config import reject
from moola.errors import ConfigError, StorageError
from moola.layout import write_json
from moola.models import Classifier, FitResources, LabelledWindows, Role
from moola.models.classical import FittedOnFeatures, linear_probe
from moola.models.encoder import Encoder, InputShape
from moola.training.embedding import embed
from moola.training.encoder_files import EncoderPlan, read_group
from moola.training.memory import within_memory
from moola.training.weights import TransferError, TransferReport, load_weights, save_weights, transfer_weights

_RECORD, _WEIGHTS = "encoder.json", "encoder.safetensors"


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
    uses_encoder: ClassVar[bool] = True

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
        features = EncoderFeatures(encoder, encoder_plan(windows, resources), resources.device)
        return FittedOnFeatures.fit(linear_probe(self.c), features, windows)

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """The encoder and the linear layer."""
        return FittedOnFeatures.load(folder, EncoderFeatures.load(folder, resources))


@dataclass(frozen=True)
class EncoderFeatures:
    """The embedding of each window.

    Attributes:
        encoder: with its weights.
        plan: what it is without them.
        device: where it lives.
    """

    encoder: Encoder
    plan: EncoderPlan
    device: str

    def __call__(self, windows: LabelledWindows) -> np.ndarray:
        """float32 [n, E]."""
        return embed(self.encoder, windows.inputs, self.device)

    def save(self, folder: Path) -> None:
        """``encoder.safetensors`` and ``encoder.json``."""
        save_weights(folder / _WEIGHTS, self.encoder.state_dict())
        write_json(folder / _RECORD, self.plan.to_json())

    @classmethod
    def load(cls, folder: Path, resources: FitResources) -> Self:
        """With the encoder of `resources`, which has to be the same.

        Raises:
            StorageError: a file is missing or damaged, or belongs to another encoder.
        """
        path = folder / _RECORD
        plan = EncoderPlan.from_json(read_group(path, ("encoder", "shape")), resources.encoder, path)
        encoder = plan.build()
        try:
            transfer_weights(encoder, load_weights(folder / _WEIGHTS))
        except TransferError as error:
            raise StorageError(f"{path} does not fit its weights", error.why, "fit the model again") from error
        return cls(encoder, plan, resources.device)


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


def encoder_plan(windows: LabelledWindows, resources: FitResources) -> EncoderPlan:
    """The run's encoder for such windows, without weights."""
    assert resources.encoder is not None
    _, n_bars, n_inputs = windows.inputs.shape
    return EncoderPlan(resources.encoder, InputShape(n_inputs, n_bars, resources.spans))


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
    plan = encoder_plan(windows, resources)
    torch.manual_seed(resources.seed)
    with within_memory(plan.config, "encoder"):
        encoder = plan.config.build(plan.shape)
    if init == "random":
        encoder.settle(torch.from_numpy(windows.inputs))
        return encoder, None
    if resources.pretrained is None:
        raise ConfigError(
            ["model: one with init=pretrained needs the pretrain stage, which is switched off"],
            "switch the stage on, or remove the model: '~model.finetuned' '~model.pretrained_probe'",
        )
    return encoder, transfer_weights(encoder, resources.pretrained, resources.origin)
