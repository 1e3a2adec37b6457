"""Draws that never change, for validation."""

from __future__ import annotations

import torch

from moola.data.device_batches import Batch
from moola.data.draws import Draws, mix_seeds

VALIDATION_SEED = 20_130_101
"""Draws on validation windows are the same in every epoch, run and seed, so losses can be compared."""


def fixed_draws(batch: Batch, *seeds: int, device: torch.device | None = None) -> Draws:
    """Random numbers for these windows that depend on `seeds` and the number of the batch alone.

    Args:
        batch: of windows to validate on.
        seeds: tell several draws for one batch apart.
        device: where the numbers are made. Default the CPU: they are then the same for every device.
    """
    rows = slice(batch.first, batch.first + len(batch.inputs))
    seed = mix_seeds(VALIDATION_SEED, *seeds, batch.number)
    return Draws(seed, batch.total, rows, device or torch.device("cpu"))
