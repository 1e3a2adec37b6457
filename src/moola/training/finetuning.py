"""Fine-tuning an encoder and a head on few labels, and the same from scratch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from moola.config import reject
from moola.data.device_batches import Batch, DeviceBatches
from moola.data.draws import mix_seeds
from moola.models import FitResources, LabelledWindows, Role
from moola.models.encoder import Encoder
from moola.models.heads import ClassificationHead
from moola.training.probe import build_encoder
from moola.training.schedule import FitConfig
from moola.training.weights import check_moved, snapshot, weight_deltas

_PORTION = 1024
"""Windows predicted at once; many at once would need memory that training does not."""


@dataclass(frozen=True)
class FinetunedEncoder:
    """Encoder and linear head, trained together for a fixed number of epochs: nothing is chosen on held-out data.

    Attributes:
        init: ``pretrained``, or ``random`` for the same training from scratch.
        head_dropout: on the pooled states.
        frozen_epochs: epochs in which only the head trains (0 from scratch).
        encoder_lr_factor: the encoder's learning rate as a share of the head's.
    """

    init: Literal["pretrained", "random"] = "pretrained"
    head_dropout: float = 0.2
    frozen_epochs: int = 3
    encoder_lr_factor: float = 0.5
    deterministic: ClassVar[bool] = False
    role: ClassVar[Role] = "model"

    def __post_init__(self) -> None:
        reject(
            (not 0 <= self.head_dropout < 1, f"head_dropout: {self.head_dropout} must lie in [0, 1)"),
            (self.frozen_epochs < 0, f"frozen_epochs: {self.frozen_epochs} must not be negative"),
            (self.encoder_lr_factor <= 0, f"encoder_lr_factor: {self.encoder_lr_factor} must be positive"),
        )

    def never_trains(self, schedule: FitConfig, path: str) -> tuple[bool, str]:
        """A rule for `moola.config.reject`: the encoder would stay frozen for the whole schedule."""
        return (
            self.frozen_epochs >= schedule.epochs,
            f"{path}.frozen_epochs: {self.frozen_epochs} leaves none of trainer.finetune.epochs={schedule.epochs}",
        )

    @property
    def needs_pretraining(self) -> bool:
        """Only the pretrained one."""
        return self.init == "pretrained"

    def fit(self, windows: LabelledWindows, resources: FitResources) -> FittedEncoder:
        """Train on these windows.

        Raises:
            TransferError: pretrained weights do not fit, or some weight never moved.
        """
        from moola.training.loop import ParameterGroup, fit  # brings Lightning, which takes seconds to import

        config = resources.trainer
        encoder = build_encoder(windows, self.init, resources)
        torch.manual_seed(mix_seeds(resources.seed, 1))
        task = ClassificationTask(encoder, windows.n_classes, self.head_dropout).to(resources.device)
        before = snapshot(encoder)
        batches = DeviceBatches(
            torch.from_numpy(windows.inputs).to(resources.device).flatten(0, 1),
            np.arange(len(windows)) * windows.inputs.shape[1],
            windows.inputs.shape[1],
            lambda inputs: inputs,
            config.batch_size,
            resources.seed,
            labels=windows.labels,
        )
        groups = [
            ParameterGroup(list(encoder.parameters()), self.encoder_lr_factor, self.frozen_epochs),
            ParameterGroup(list(task.head.parameters())),
        ]
        fit(task, batches, config, groups=groups)
        deltas = weight_deltas(before, snapshot(encoder))
        check_moved(deltas)
        return FittedEncoder(task, resources.device, deltas)


class ClassificationTask(nn.Module):
    """Encoder, head and cross-entropy."""

    def __init__(self, encoder: Encoder, n_classes: int, head_dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = ClassificationHead(encoder.embedding_width, n_classes, head_dropout)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``: mean cross-entropy of the batch."""
        return {"loss": nn.functional.cross_entropy(self.logits(batch.inputs), batch.labels)}

    def logits(self, inputs: Tensor) -> Tensor:
        """[B, T, D] -> [B, n_classes]."""
        return self.head(self.encoder.encode(inputs)[1])


@dataclass(frozen=True)
class FittedEncoder:
    """A fine-tuned classifier.

    Attributes:
        task: encoder and head.
        device: where it lives.
        deltas: relative change of each encoder tensor while fine-tuning.
    """

    task: ClassificationTask
    device: str
    deltas: dict[str, float] = field(default_factory=dict)

    @torch.no_grad()
    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """[n, n_classes]."""
        self.task.eval()
        portions = torch.from_numpy(windows.inputs).split(_PORTION)
        logits = torch.cat([self.task.logits(portion.to(self.device)).cpu() for portion in portions])
        return logits.double().softmax(dim=-1).numpy()
