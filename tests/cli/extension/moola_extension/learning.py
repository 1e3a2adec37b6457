"""An encoder and an objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch
from moola.models.encoder import Encoder, InputShape
from moola.pretraining import WindowInputs


@dataclass(frozen=True)
class Convolution:
    """One causal-free convolution."""

    width: int = 8

    def build(self, shape: InputShape) -> Encoder:
        return _Convolution(shape.n_inputs, self.width)


class _Convolution(Encoder):
    def __init__(self, n_inputs: int, width: int) -> None:
        super().__init__()
        self.width = self.embedding_width = width
        self.convolution = nn.Conv1d(n_inputs, width, 5, padding=2)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(self.convolution(inputs.transpose(1, 2))).transpose(1, 2)

    def pool(self, states: Tensor) -> Tensor:
        return states.mean(dim=1)


@dataclass(frozen=True)
class Autoencoder:
    """Rebuilds its inputs, masking nothing."""

    weight: float = 1.0
    draws: ClassVar[bool] = False

    def build(self, encoder: Encoder, inputs: WindowInputs) -> nn.Module:
        return _Autoencoder(encoder, inputs.shape.n_inputs, self.weight)


class _Autoencoder(nn.Module):
    def __init__(self, encoder: Encoder, n_inputs: int, weight: float) -> None:
        super().__init__()
        self.encoder, self.weight = encoder, weight
        self.decoder = nn.Linear(encoder.width, n_inputs)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        error = self.weight * (self.decoder(self.encoder(batch.inputs)) - batch.inputs).square().mean()
        return {"loss": error, "reconstruction": error}

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        error = float((self.decoder(self.encoder(batch.inputs)) - batch.inputs).square().mean())
        return {"val_loss": error, "val_reconstruction": error, "val_copy_last": 1.0, "val_mean": 1.0}

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.decoder(self.encoder(batch.inputs)), torch.zeros(batch.inputs.shape[:2], dtype=torch.bool)
