"""Batches are the windows, each once an epoch, in an order that can be replayed."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.data.device_batches import Batch, DeviceBatches, mix_seeds

VALUES = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))


def batches_of(
    starts: list[int], n_bars: int = 5, size: int = 4, seed: int = 0, epoch: int = 0, **options: object
) -> DeviceBatches:
    batches = DeviceBatches(VALUES, np.array(starts), n_bars, lambda bars: bars, size, seed, **options)  # type: ignore[arg-type]
    batches.set_epoch(epoch)
    return batches


def indices(batches: DeviceBatches) -> list[int]:
    return torch.cat([batch.index for batch in batches]).tolist()


STARTS = st.lists(st.integers(0, 190), min_size=1, max_size=40)
SMALL = st.integers(0, 1000)


@given(starts=STARTS, n_bars=st.integers(1, 10), size=st.integers(1, 50), seed=SMALL, epoch=SMALL)
def test_an_epoch_is_every_window_once_with_the_bars_that_numpy_finds(
    starts: list[int], n_bars: int, size: int, seed: int, epoch: int
) -> None:
    batches = batches_of(starts, n_bars, size, seed, epoch)
    given_batches = list(batches)
    assert sorted(indices(batches)) == list(range(len(starts)))
    assert len(given_batches) == len(batches) == -(-len(starts) // size)
    assert [len(batch.index) for batch in given_batches[:-1]] == [size] * (len(given_batches) - 1)
    for number, batch in enumerate(given_batches):
        first = np.array(starts)[batch.index.numpy()]
        expected = VALUES.numpy()[first[:, None] + np.arange(n_bars)]
        np.testing.assert_array_equal(batch.inputs.numpy(), expected)
        assert (batch.number, batch.epoch, len(batch.labels)) == (number, epoch, 0)


@given(seed=SMALL, epoch=SMALL)
def test_the_order_depends_on_seed_and_epoch_alone(seed: int, epoch: int) -> None:
    starts = list(range(100))
    first = indices(batches_of(starts, seed=seed, epoch=epoch))
    torch.manual_seed(epoch)
    batches = batches_of(starts, size=7, seed=seed, epoch=epoch + 1)
    assert indices(batches) != first  # another epoch, another order
    batches.set_epoch(epoch)
    assert indices(batches) == first  # the same again, whatever came before
    assert indices(batches_of(starts, seed=seed + 1, epoch=epoch)) != first
    assert indices(batches_of(starts, seed=seed + 1, epoch=epoch)) != indices(
        batches_of(starts, seed=seed, epoch=epoch + 1)
    )


def test_near_seeds_are_not_the_next_epochs() -> None:
    assert len({mix_seeds(seed, epoch) for seed in range(20) for epoch in range(20)}) == 400
    assert mix_seeds(1, 2) == mix_seeds(1, 2) >= 0


def test_labels_come_with_their_windows() -> None:
    labels = np.arange(10) * 3
    for batch in batches_of(list(range(10)), labels=labels):
        assert batch.labels.tolist() == labels[batch.index.numpy()].tolist()


def test_without_shuffling_the_order_is_that_of_the_windows() -> None:
    assert indices(batches_of([9, 3, 7, 0, 1], shuffle=False)) == [0, 1, 2, 3, 4]


def test_the_transform_sees_the_bars_of_the_batch_once() -> None:
    seen: list[torch.Size] = []

    def double(bars: torch.Tensor) -> torch.Tensor:
        seen.append(bars.shape)
        return bars * 2

    (batch,) = DeviceBatches(VALUES, np.array([4]), 5, double, 8, 0)
    assert isinstance(batch, Batch)
    assert seen == [(1, 5, 3)]
    assert torch.equal(batch.inputs, 2 * VALUES[None, 4:9])
