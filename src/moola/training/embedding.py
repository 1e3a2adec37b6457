"""Windows to vectors with a frozen encoder."""

from __future__ import annotations

import numpy as np
import torch

from moola.models.encoder import Encoder

_BATCH = 1024


@torch.no_grad()
def embed(encoder: Encoder, inputs: np.ndarray, device: str) -> np.ndarray:
    """The embedding of each window.

    Args:
        encoder: set to evaluation mode.
        inputs: float32 [n, T, D].
        device: torch device name.

    Returns:
        float32 [n, E].
    """
    encoder = encoder.to(device).eval()
    portions = torch.from_numpy(inputs).split(_BATCH)
    return torch.cat([encoder.encode(portion.to(device))[1].cpu() for portion in portions]).numpy()
