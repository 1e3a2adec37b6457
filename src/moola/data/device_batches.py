"""Batches gathered where the model is: exact shuffles, resumable in mid-epoch, shared out over ranks."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moola.config import reject
from moola.data.draws import Draws, mix_seeds
from moola.data.gathering import HostBars, gathered, shared_tensor
from moola.errors import DataError, StorageError

_LOOKED_UP_AT_ONCE = 1 << 14
"""Windows whose first bars are looked up together: batch by batch, the bars of one would push them out of cache."""
_AUGMENTATION = 0x_A06
"""Sets the draws of the augmentation apart from those of the order."""


@dataclass(frozen=True)
class Batch:
    """One batch. Legend: B windows, T visible bars, D transformed channels.

    Attributes:
        inputs: float32 [B, T, D], transformed.
        labels: int64 [B] class numbers, or empty [0] where there are none.
        index: int64 [B], which windows these are.
        number: batches given before this one in the epoch; with `epoch` it seeds masks and augmentation.
        epoch: epoch of the batch.
        bars: float32 [B, T, C], from which `inputs` were made; augmented where an augmentation is on.
        first: place of the first of these windows in the batch over all ranks.
        total: windows of the batch over all ranks.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor
    number: int
    epoch: int
    bars: Tensor
    first: int
    total: int

    def draws(self, *seeds: int) -> Draws:
        """Random numbers for these windows that depend on `seeds`, the epoch and the number of the batch alone."""
        rows = slice(self.first, self.first + len(self.inputs))
        return Draws(mix_seeds(*seeds, self.epoch, self.number), self.total, rows, self.inputs.device)


class DeviceBatches:
    """Iterates over windows in a seeded order that depends on (seed, epoch) alone, so any epoch can be replayed.

    Over several ranks, each takes an equal slice of every batch: the slices of batch b together are batch b of one
    process, every window comes exactly once, and all ranks give equally many batches. In a last batch that is smaller,
    the first ranks may have one window more than the others. Means over ranks are then means over the batch only if
    they are weighed by ``len(batch.index)``; `drop_last` avoids that.

    Args:
        values: float32 [n_bars, n_channels], on the device, or bars that stay on the host; see `place_bars`.
        starts: int64 [n_windows], first bar of each window; shared, not copied, where the bars are on a CPU.
        n_bars: bars of each window to gather.
        transform: [B, n_bars, n_channels] -> [B, T, D], on the device.
        batch_size: windows a batch over all ranks; the last batch of an epoch may be smaller.
        seed: of the order.
        labels: int64 [n_windows] or None.
        shuffle: False keeps the order of `starts`.
        augment: changes bars [B, n_bars, n_channels] before they are transformed; its draws depend on (seed, epoch,
            batch number) alone.
        drop_last: leave out the last batch if it is smaller; with `shuffle` other windows are left out each epoch.
        rank: which slice of each batch to give.
        world_size: number of slices.

    Raises:
        ConfigError: `batch_size` is not a multiple of `world_size`, or there is no such rank.
        DataError: a window does not lie in the bars, no batch can be made, or the last one is smaller than the number
            of ranks.
    """

    def __init__(
        self,
        values: Tensor | HostBars,
        starts: np.ndarray,
        n_bars: int,
        transform: Callable[[Tensor], Tensor],
        batch_size: int,
        seed: int,
        labels: np.ndarray | None = None,
        shuffle: bool = True,
        *,
        augment: Callable[[Tensor, Draws], Tensor] | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        reject(
            (batch_size < 1, f"batch_size: {batch_size} must be at least 1"),
            (not 0 <= rank < world_size, f"rank: {rank} must lie between 0 and world_size - 1 ({world_size - 1})"),
            (
                batch_size % max(world_size, 1) != 0,
                f"batch_size: {batch_size} must be a multiple of {world_size} ranks",
            ),
        )
        _check_windows(starts, n_bars, len(values), batch_size, world_size, drop_last)
        beside_bars = torch.device("cpu") if isinstance(values, HostBars) else values.device
        self.values = values
        self.starts = _int64(starts).to(beside_bars)
        self.labels = _int64(labels if labels is not None else np.empty(0)).to(values.device)
        self.batch_size, self.seed, self.shuffle, self.drop_last = batch_size, seed, shuffle, drop_last
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._transform, self._n_bars, self._augment = transform, n_bars, augment
        self._begin_at = 0  # where the next iteration begins: not 0 only after a state was loaded
        self._next = 0  # the batch that comes next, for `state_dict`

    def __len__(self) -> int:
        return _n_batches(len(self.starts), self.batch_size, self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; the trainer calls it before each epoch, also after a resume.

        A loaded position inside the same epoch stays; in another epoch the first batch comes first.
        """
        if epoch != self.epoch:
            self.epoch, self._begin_at, self._next = epoch, 0, 0

    @property
    def sampler(self) -> DeviceBatches:
        """Where Lightning looks for `set_epoch`."""
        return self

    def order(self) -> Tensor:
        """int64 [n_windows]: the order of the current epoch over all ranks; the same on every device."""
        if not self.shuffle:
            return torch.arange(len(self.starts))
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, self.epoch))
        return torch.randperm(len(self.starts), generator=generator)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        first, self._begin_at = self._begin_at, 0
        with contextlib.closing(gathered(self.values, self._parts(first), self._n_bars)) as parts:
            for number in range(first, len(self)):  # nothing here holds a batch while the next one is gathered
                yield self._batch(number, epoch, *next(parts))

    def state_dict(self) -> dict[str, int]:
        """Where the epoch stands and what that position means: plain numbers, the same on every rank.

        ``epoch``, ``next_batch`` (the first that was not given), then what must not change: ``seed``, ``n_windows``,
        ``windows_crc32`` (of their starts), ``batch_size``, ``world_size``, ``shuffle``, ``drop_last``.
        """
        return {"epoch": self.epoch, "next_batch": self._next, **self._meaning()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to a saved position: the next iteration gives the batches that were left, bit for bit.

        Raises:
            StorageError: the position was saved with other windows or settings; all differences are named.
        """
        differences = [
            f"{name}: saved {state_dict.get(name)}, now {value}"
            for name, value in self._meaning().items()
            if state_dict.get(name) != value
        ]
        epoch, next_batch = _whole(state_dict, "epoch"), _whole(state_dict, "next_batch")
        if epoch < 0:
            differences.append(f"epoch: saved {state_dict.get('epoch')}, which is no epoch")
        if not 0 <= next_batch <= len(self):
            differences.append(f"next_batch: saved {state_dict.get('next_batch')}, of {len(self)} batches")
        if differences:
            raise StorageError(
                "the saved position does not belong to these batches",
                "\n".join(f"- {difference}" for difference in differences),
                "put the settings back, or delete the saved state to begin again",
            )
        self.epoch, self._begin_at, self._next = epoch, next_batch, next_batch

    def _parts(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Window numbers and first bars of each batch from `first` on, for this rank; beside the bars."""
        order = self.order().to(self.starts.device)
        at_once = max(_LOOKED_UP_AT_ONCE // self.batch_size, 1)
        for begin in range(first, len(self), at_once):
            end = min(begin + at_once, len(self))
            windows = order[begin * self.batch_size : end * self.batch_size]
            batches = (tensor.split(self.batch_size) for tensor in (windows, self.starts[windows]))
            for part in zip(*batches, strict=True):
                yield part if self.world_size == 1 else self._share(*part)

    def _share(self, index: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """What this rank takes of a batch."""
        return index.tensor_split(self.world_size)[self.rank], starts.tensor_split(self.world_size)[self.rank]

    def _batch(self, number: int, epoch: int, index: Tensor, bars: Tensor) -> Batch:
        labels = self.labels[index] if len(self.labels) else self.labels
        total = min(self.batch_size, len(self.starts) - number * self.batch_size)
        first = _first_of_rank(total, self.rank, self.world_size)
        if self._augment is not None:
            rows = slice(first, first + len(bars))
            seed = mix_seeds(self.seed, _AUGMENTATION, epoch, number)
            bars = self._augment(bars, Draws(seed, total, rows, bars.device))
        batch = Batch(self._transform(bars), labels, index, number, epoch, bars, first, total)
        self._next = number + 1
        return batch

    def _meaning(self) -> dict[str, int]:
        return {
            "seed": self.seed,
            "n_windows": len(self.starts),
            "windows_crc32": self._windows_crc32,
            "batch_size": self.batch_size,
            "world_size": self.world_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    @cached_property
    def _windows_crc32(self) -> int:
        return zlib.crc32(np.ascontiguousarray(self.starts.cpu().numpy()).data)


def _whole(state: Mapping[str, Any], name: str) -> int:
    """The number of that name, or -1 where it is missing or is none."""
    value = state.get(name)
    return value if isinstance(value, int) else -1


def _int64(numbers: np.ndarray) -> Tensor:
    """Shares the memory of numbers that are int64 already."""
    return shared_tensor(np.asarray(numbers, dtype=np.int64))


def _first_of_rank(total: int, rank: int, world_size: int) -> int:
    """Where the rank's slice of a batch begins, as `Tensor.tensor_split` cuts it."""
    share, left_over = divmod(total, world_size)
    return rank * share + min(rank, left_over)


def _n_batches(n_windows: int, batch_size: int, drop_last: bool) -> int:
    return n_windows // batch_size if drop_last else -(-n_windows // batch_size)


def _check_windows(
    starts: np.ndarray, n_bars: int, n_bars_in_all: int, batch_size: int, world_size: int, drop_last: bool
) -> None:
    """On a GPU a window outside the bars would end the process with no word of what was wrong.

    Raises:
        DataError: see `DeviceBatches`.
    """
    n_windows = len(starts)
    if not _n_batches(n_windows, batch_size, drop_last):
        raise DataError(
            "there is no batch to train on",
            f"{n_windows} windows, batches of {batch_size}, drop_last={drop_last}",
            "use more bars, a smaller batch_size or drop_last=False",
        )
    first, last = int(starts.min()), int(starts.max())
    if first < 0 or last + n_bars > n_bars_in_all:
        raise DataError(
            "the windows do not lie in the bars",
            f"windows of {n_bars} bars start between bar {first} and bar {last}; there are {n_bars_in_all} bars",
            "make the windows again from these bars",
        )
    left_over = n_windows % batch_size
    if 0 < left_over < world_size and not drop_last:
        raise DataError(
            "the last batch has too few windows for every rank",
            f"{n_windows} windows in batches of {batch_size} leave {left_over} for {world_size} ranks",
            "use drop_last=True or another batch_size",
        )
