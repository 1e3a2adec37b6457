"""Windows to vectors with a frozen encoder."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from moola.models.heads import pool

_BATCH = 1024


@torch.no_grad()
def embed(encoder: nn.Module, inputs: np.ndarray, device: str) -> np.ndarray:
    """Pooled states of each window.

    Args:
        encoder: [B, T, D] -> [B, T, W]; set to evaluation mode.
        inputs: float32 [n, T, D].
        device: torch device name.

    Returns:
        float32 [n, 3 W]: mean, maximum and last state.
    """
    encoder = encoder.to(device).eval()
    parts = [
        pool(encoder(torch.from_numpy(inputs[i : i + _BATCH]).to(device))).cpu() for i in range(0, len(inputs), _BATCH)
    ]
    return torch.cat(parts).numpy()
