"""From per-step states to one vector a window, and from there to classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pool(states: Tensor) -> Tensor:
    """Mean, maximum and last state, side by side: [B, T, W] -> [B, 3 W]."""
    return torch.cat([states.mean(dim=1), states.amax(dim=1), states[:, -1]], dim=-1)


class ClassificationHead(nn.Module):
    """Dropout and one linear layer on pooled states: [B, T, W] -> logits [B, n_classes]."""

    def __init__(self, width: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(3 * width, n_classes)

    def forward(self, states: Tensor) -> Tensor:
        """Logits, not probabilities."""
        return self.linear(self.dropout(pool(states)))
