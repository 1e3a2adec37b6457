"""How far rebuilt windows are from the true ones where they were hidden, and two predictors that need no model.

Legend: B windows, T bars, D inputs. Masks are bool [B, T], True where hidden; where nothing is, errors are 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mse(guess: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``(guess - input)^2`` over hidden bars: [B, T, D], [B, T, D], bool [B, T] -> scalar."""
    return _masked_mean((guess - inputs).square(), mask)


def masked_l1(guess: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``|guess - input|`` over hidden bars: [B, T, D], [B, T, D], bool [B, T] -> scalar."""
    return _masked_mean((guess - inputs).abs(), mask)


def masked_huber(guess: Tensor, inputs: Tensor, mask: Tensor, delta: float) -> Tensor:
    """Huber's loss (1964) over hidden bars: [B, T, D], [B, T, D], bool [B, T] -> scalar.

    With r = |guess - input|: ``r^2 / 2`` up to `delta`, ``delta (r - delta / 2)`` beyond; the mean of it.
    """
    distance = (guess - inputs).abs()
    near = distance.clamp_max(delta)
    return _masked_mean(near * (distance - 0.5 * near), mask)


def variance_shortfall(embedding: Tensor) -> Tensor:
    """How far the spread of each component falls short of 1: [B, W] -> scalar.

    The variance term of VICReg (Bardes et al. 2022, arXiv:2105.04906, equation 1):
    ``mean_j relu(1 - sqrt(var(embedding_j) + 1e-4))``. 0 for a single window, which has no spread.
    """
    if len(embedding) < 2:
        return embedding.new_zeros(())
    return torch.relu(1.0 - torch.sqrt(embedding.var(dim=0) + 1e-4)).mean()


def copy_last(inputs: Tensor, mask: Tensor) -> Tensor:
    """Each hidden step repeats the last shown one; before the first shown step, that first one. [B, T, D]."""
    steps = torch.arange(inputs.shape[1], device=inputs.device).expand_as(mask)
    last = torch.where(mask, -1, steps).cummax(dim=1).values
    first = mask.int().argmin(dim=1, keepdim=True)
    source = torch.where(last < 0, first, last)
    return inputs.gather(1, source[..., None].expand_as(inputs))


def visible_mean(inputs: Tensor, mask: Tensor) -> Tensor:
    """Each hidden step is the mean of the window's shown steps, 0 where none is shown. [B, T, D]."""
    shown = (~mask)[..., None].to(inputs.dtype)
    return ((inputs * shown).sum(dim=1, keepdim=True) / shown.sum(dim=1, keepdim=True).clamp_min(1)).expand_as(inputs)


def _masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    hidden = mask[..., None].to(error.dtype)
    return (error * hidden).sum() / (hidden.sum().clamp_min(1) * error.shape[-1])
