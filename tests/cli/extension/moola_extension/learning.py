"""An encoder and an objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Convolution:
    """One causal-free convolution."""

    width: int = 8

    def build(self, n_inputs: int) -> nn.Module:
        return _Convolution(n_inputs, self.width)


class _Convolution(nn.Module):
    def __init__(self, n_inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.convolution = nn.Conv1d(n_inputs, width, 5, padding=2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.convolution(inputs.transpose(1, 2))).transpose(1, 2)


@dataclass(frozen=True)
class Autoencoder:
    """Rebuilds its inputs, masking nothing."""

    weight: float = 1.0

    def build(self, encoder: nn.Module, n_inputs: int, n_bars: int) -> nn.Module:
        return _Autoencoder(encoder, n_inputs, self.weight)


class _Autoencoder(nn.Module):
    def __init__(self, encoder: nn.Module, n_inputs: int, weight: float) -> None:
        super().__init__()
        self.encoder, self.weight = encoder, weight
        self.decoder = nn.Linear(encoder.width, n_inputs)  # type: ignore[arg-type]

    def forward(self, batch):
        error = (self.decoder(self.encoder(batch.inputs)) - batch.inputs).square().mean()
        return {"loss": self.weight * error, "reconstruction": error}

    @torch.no_grad()
    def validate(self, inputs: torch.Tensor) -> dict[str, float]:
        error = float((self.decoder(self.encoder(inputs)) - inputs).square().mean())
        return {"val_reconstruction": error, "val_copy_last": 1.0, "val_mean": 1.0}

    @torch.no_grad()
    def reconstruct(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.decoder(self.encoder(inputs)), torch.zeros(inputs.shape[:2], dtype=torch.bool)
