"""Which steps of a window are hidden."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_patches(n_bars: int, patch_bars: int, ratio: float) -> tuple[int, int]:
    """Whole patches in a window and how many of them are hidden: at least one, never all.

    >>> masked_patches(105, 7, 0.15)
    (15, 2)
    """
    n_patches = n_bars // patch_bars
    return n_patches, min(max(round(n_patches * ratio), 1), n_patches - 1)


def patch_mask(n_windows: int, n_bars: int, patch_bars: int, ratio: float, generator: torch.Generator) -> Tensor:
    """Hide whole patches: exactly the same number in every window, drawn without replacement.

    Bars after the last whole patch are never hidden.

    Returns:
        bool [n_windows, n_bars] on the CPU, True where hidden; the same on every device for one generator state.
    """
    n_patches, n_masked = masked_patches(n_bars, patch_bars, ratio)
    order = torch.rand(n_windows, n_patches, generator=generator).argsort(dim=1)
    chosen = torch.zeros(n_windows, n_patches, dtype=torch.bool).scatter_(1, order[:, :n_masked], True)
    mask = torch.zeros(n_windows, n_bars, dtype=torch.bool)
    mask[:, : n_patches * patch_bars] = chosen.repeat_interleave(patch_bars, dim=1)
    return mask
