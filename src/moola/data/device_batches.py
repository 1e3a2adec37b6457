"""Batches gathered where the model is: bars stay on the device, a batch is one index operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One batch. Legend: B windows, T visible bars, D transformed channels.

    Attributes:
        inputs: float32 [B, T, D], transformed.
        labels: int64 [B] class numbers, or empty [0] where there are none.
        index: int64 [B], which windows these are.
        number: batches given before this one in the epoch; with `epoch` it seeds masks and augmentation.
        epoch: epoch of the batch.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor
    number: int
    epoch: int


def mix_seeds(*parts: int) -> int:
    """One seed from several whole numbers; near parts give unrelated seeds (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


class DeviceBatches:
    """Iterates over windows in a seeded order that depends on (seed, epoch) alone, so any epoch can be replayed.

    Args:
        values: float32 [n_bars, n_channels], on the device.
        starts: int64 [n_windows], first bar of each window.
        n_bars: bars of each window to gather.
        transform: [B, n_bars, n_channels] -> [B, T, D], on the device.
        batch_size: windows a batch; the last batch of an epoch may be smaller.
        seed: of the order.
        labels: int64 [n_windows] or None.
        shuffle: False keeps the order of `starts`.
    """

    def __init__(
        self,
        values: Tensor,
        starts: np.ndarray,
        n_bars: int,
        transform: Callable[[Tensor], Tensor],
        batch_size: int,
        seed: int,
        labels: np.ndarray | None = None,
        shuffle: bool = True,
    ) -> None:
        device = values.device
        self.values = values
        self.starts = torch.from_numpy(np.array(starts, dtype=np.int64)).to(device)
        self.labels = torch.from_numpy(np.array(labels if labels is not None else [], dtype=np.int64)).to(device)
        self.batch_size, self.seed, self.shuffle, self.epoch = batch_size, seed, shuffle, 0
        self._transform = transform
        self._span = torch.arange(n_bars, device=device)

    def __len__(self) -> int:
        return -(-len(self.starts) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; the trainer calls it before each epoch, also after a resume."""
        self.epoch = epoch

    @property
    def sampler(self) -> DeviceBatches:
        """Where Lightning looks for `set_epoch`."""
        return self

    def order(self) -> Tensor:
        """int64 [n_windows]: the order of the current epoch; the same on every device."""
        if not self.shuffle:
            return torch.arange(len(self.starts))
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, self.epoch))
        return torch.randperm(len(self.starts), generator=generator)

    def __iter__(self) -> Iterator[Batch]:
        order = self.order().to(self.starts.device)
        for number, index in enumerate(order.split(self.batch_size)):
            bars = self.values[self.starts[index][:, None] + self._span]
            labels = self.labels[index] if len(self.labels) else self.labels
            yield Batch(self._transform(bars), labels, index, number, self.epoch)
