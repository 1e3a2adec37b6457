"""Windows to vectors with a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from moola.data.device_batches import Batch
from moola.models.encoder import Encoder

_BATCH = 256
"""Windows at once; on a CPU larger batches leave its cache."""


@torch.no_grad()
def embed(encoder: Encoder, inputs: np.ndarray, device: str) -> np.ndarray:
    """The embedding of each window; for few windows, all in memory.

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


@torch.no_grad()
def embeddings(encoder: Encoder, batches: Iterable[Batch]) -> Iterator[np.ndarray]:
    """The embedding of any number of windows, float32 [B, E] a batch; memory holds two batches.

    Each batch is given when the next one has been handed to the device, so that a GPU computes while the caller writes.

    Args:
        encoder: in evaluation mode, on the device of the batches.
        batches: in the order wanted.
    """
    waiting: _Arriving | None = None
    for batch in batches:
        arriving = _Arriving(encoder.encode(batch.inputs)[1].float())
        if waiting is not None:
            yield waiting.numpy()
        waiting = arriving
    if waiting is not None:
        yield waiting.numpy()


class _Arriving:
    """A tensor on its way to the host."""

    def __init__(self, vectors: Tensor) -> None:
        self._host = vectors.to("cpu", non_blocking=True)  # from a GPU into pinned memory
        self._copied = None
        if vectors.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record()

    def numpy(self) -> np.ndarray:
        """The numbers, once they are there."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host.numpy()
