"""A batch made by hand, for the tests of what takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from moola.data.device_batches import Batch


def make_batch(inputs: Tensor, bars: Tensor | None = None, *, epoch: int = 0, number: int = 0) -> Batch:
    """One whole batch without labels.

    Args:
        inputs: float32 [B, T, D].
        bars: float32 [B, T, C]; default the inputs themselves, as if nothing transformed them.
        epoch: of the batch.
        number: of the batch in its epoch.
    """
    import torch

    from moola.data.device_batches import Batch

    index = torch.arange(len(inputs))
    given = inputs if bars is None else bars
    return Batch(inputs, torch.zeros(0, dtype=torch.int64), index, number, epoch, given, 0, len(inputs))
