"""Batches are the windows, each once an epoch, in an order that can be replayed."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from moola.data.device_batches import Batch, DeviceBatches, mix_seeds
from moola.data.gathering import HostBars
from moola.errors import ConfigError, DataError, StorageError

VALUES = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
ON_HOST = HostBars(VALUES, torch.device("cpu"))
PLACES = pytest.mark.parametrize("values", [VALUES, ON_HOST], ids=["resident", "streamed"])


def batches_of(
    starts: list[int],
    n_bars: int = 5,
    size: int = 4,
    seed: int = 0,
    epoch: int = 0,
    values: torch.Tensor | HostBars = VALUES,
    **options: Any,
) -> DeviceBatches:
    batches = DeviceBatches(values, np.array(starts), n_bars, lambda bars: bars, size, seed, **options)
    batches.set_epoch(epoch)
    return batches


def same(left: Batch, right: Batch) -> bool:
    """Bit for bit, at the same place of the same epoch."""
    tensors = ((left.inputs, right.inputs), (left.labels, right.labels), (left.index, right.index))
    return (left.number, left.epoch) == (right.number, right.epoch) and all(torch.equal(*pair) for pair in tensors)


def all_same(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(map(same, left, right))


def indices(batches: DeviceBatches) -> list[int]:
    return torch.cat([batch.index for batch in batches]).tolist()


STARTS = st.lists(st.integers(0, 190), min_size=1, max_size=40)
SMALL = st.integers(0, 1000)
WINDOWS = range(190)


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


PARTS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=6)


@given(PARTS, PARTS)
@example([5], [5, 0])
@example([1 << 32], [0, 1])
@example([], [0])
def test_other_parts_give_another_seed(one: list[int], other: list[int]) -> None:
    assert (mix_seeds(*one) == mix_seeds(*other)) == (one == other)


@pytest.mark.parametrize("part", [-1, 1 << 64])
def test_a_part_that_is_no_seed_is_refused(part: int) -> None:
    with pytest.raises(ValueError, match="0 to 2"):
        mix_seeds(1, part)


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


@given(starts=STARTS, n_bars=st.integers(1, 10), size=st.integers(1, 50), seed=SMALL, drop_last=st.booleans())
def test_bars_that_stay_on_the_host_give_the_same_batches_bit_for_bit(
    starts: list[int], n_bars: int, size: int, seed: int, drop_last: bool
) -> None:
    size = min(size, len(starts))
    labels = np.arange(len(starts))
    resident, streamed = (
        batches_of(starts, n_bars, size, seed, values=values, labels=labels, drop_last=drop_last)
        for values in (VALUES, ON_HOST)
    )
    assert all_same(list(resident), list(streamed))


@given(n_windows=st.integers(1, 60), size=st.integers(1, 12), drop_last=st.booleans())
def test_dropping_the_last_batch_drops_the_short_one_and_nothing_else(
    n_windows: int, size: int, drop_last: bool
) -> None:
    size = min(size, n_windows)
    whole = list(batches_of(list(range(n_windows)), size=size))
    batches = batches_of(list(range(n_windows)), size=size, drop_last=drop_last)
    expected = [batch for batch in whole if len(batch.index) == size] if drop_last else whole
    assert all_same(list(batches), expected)
    assert len(batches) == len(expected)


@given(n_windows=st.integers(1, 150), world_size=st.integers(1, 6), share=st.integers(1, 8), drop_last=st.booleans())
def test_the_ranks_share_each_batch_of_one_process_without_overlap(
    n_windows: int, world_size: int, share: int, drop_last: bool
) -> None:
    size, starts = share * world_size, list(range(n_windows))

    def over(rank: int, ranks: int) -> list[Batch]:
        return list(batches_of(starts, size=size, rank=rank, world_size=ranks, drop_last=drop_last))

    if (n_windows < size and drop_last) or (0 < n_windows % size < world_size and not drop_last):
        with pytest.raises(DataError):
            over(0, world_size)
        return
    alone, shared = over(0, 1), [over(rank, world_size) for rank in range(world_size)]
    assert {len(batches) for batches in shared} == {len(alone)}
    for batch, *parts in zip(alone, *shared, strict=True):
        assert torch.equal(torch.cat([part.index for part in parts]), batch.index)
        assert torch.equal(torch.cat([part.inputs for part in parts]), batch.inputs)
        assert {part.number for part in parts} == {batch.number}
        sizes = [len(part.index) for part in parts]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= (0 if len(batch.index) == size else 1)


@PLACES
@pytest.mark.parametrize("options", [{}, {"drop_last": True}, {"rank": 1, "world_size": 2}, {"shuffle": False}])
def test_an_epoch_goes_on_from_every_position_to_the_batches_that_were_left(values: Any, options: Any) -> None:
    def fresh(epoch: int = 0) -> DeviceBatches:
        return batches_of(list(range(30)), seed=5, epoch=epoch, values=values, **options)

    uninterrupted = list(fresh(epoch=3))
    for position in range(len(uninterrupted) + 1):
        stopped = fresh(epoch=3)
        left_early = iter(stopped)
        for _ in range(position):
            next(left_early)
        state = stopped.state_dict()
        resumed = fresh()
        resumed.load_state_dict(state)
        resumed.set_epoch(3)  # as a trainer does before each epoch
        assert resumed.state_dict() == state
        assert all_same(list(resumed), uninterrupted[position:])
        assert all_same(list(resumed), uninterrupted)  # the next time around, the epoch is whole
        resumed.load_state_dict(state)
        resumed.set_epoch(4)
        assert all_same(list(resumed), list(fresh(epoch=4)))  # a position is one of its own epoch


def test_the_position_is_that_of_the_consumer_not_of_what_was_gathered_ahead() -> None:
    batches = batches_of(list(WINDOWS), values=ON_HOST)
    for number, batch in enumerate(batches):
        assert batches.state_dict()["next_batch"] == number + 1 == batch.number + 1


def test_a_position_saved_under_other_settings_is_refused_with_every_difference() -> None:
    state = batches_of(list(range(40)), size=8, seed=1).state_dict()
    other = batches_of([*range(1, 40), 0], size=4, seed=2, drop_last=True, shuffle=False, world_size=2)
    with pytest.raises(StorageError) as refused:
        other.load_state_dict(state)
    changed = ("seed", "windows_crc32", "batch_size", "world_size", "shuffle", "drop_last")
    assert [line[2:].split(":")[0] for line in refused.value.why.splitlines()] == list(changed)
    assert other.state_dict()["next_batch"] == 0  # and nothing was taken over


@pytest.mark.parametrize("broken", [{"next_batch": 11}, {"next_batch": -1}, {"epoch": "3"}, {"epoch": None}])
def test_a_position_that_is_none_is_refused(broken: dict[str, Any]) -> None:
    batches = batches_of(list(range(40)))
    with pytest.raises(StorageError, match=next(iter(broken))):
        batches.load_state_dict(batches.state_dict() | broken)


def test_an_empty_state_is_refused() -> None:
    batches = batches_of(list(range(40)))
    with pytest.raises(StorageError, match=r"seed.*\n.*n_windows"):
        batches.load_state_dict({})


def test_leaving_an_epoch_early_leaves_no_thread() -> None:
    before = threading.active_count()
    for _ in batches_of(list(WINDOWS), values=ON_HOST):
        break
    assert threading.active_count() == before


@PLACES
def test_a_batch_that_was_let_go_is_freed_before_the_next_one_is_gathered(values: Any) -> None:
    batches = iter(batches_of(list(WINDOWS), values=values))
    batch = next(batches)
    inputs = weakref.ref(batch.inputs)
    del batch
    assert inputs() is None


def test_starts_are_shared_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "starts.npy", np.arange(100))
    starts = np.load(tmp_path / "starts.npy", mmap_mode="r")
    batches = DeviceBatches(VALUES, starts, 5, lambda bars: bars, 8, 0)
    assert batches.starts.data_ptr() == starts.ctypes.data


@PLACES
@pytest.mark.parametrize("starts", [[0, 196], [-1, 5], [10_000]])
def test_windows_outside_the_bars_are_refused(values: Any, starts: list[int]) -> None:
    with pytest.raises(DataError, match="there are 200 bars"):
        batches_of(starts, n_bars=5, values=values)


def test_an_epoch_without_a_batch_is_refused() -> None:
    for n_windows, drop_last in ((0, False), (3, True)):
        with pytest.raises(DataError, match=f"{n_windows} windows"):
            batches_of(list(range(n_windows)), size=4, drop_last=drop_last)


def test_settings_that_cannot_be_are_refused_in_one_go() -> None:
    with pytest.raises(ConfigError) as refused:
        batches_of([0], size=-1, rank=3, world_size=2)
    assert [problem.split(":")[0] for problem in refused.value.problems] == ["batch_size", "rank", "batch_size"]
    with pytest.raises(ConfigError, match="multiple of 3 ranks"):
        batches_of(list(WINDOWS), size=4, world_size=3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_gpu_gives_the_batches_of_the_cpu_from_either_place() -> None:
    labels = np.arange(190)
    on_cpu = list(batches_of(list(WINDOWS), labels=labels))
    for values in (VALUES.cuda(), HostBars(VALUES, torch.device("cuda"))):
        on_gpu = batches_of(list(WINDOWS), labels=labels, values=values)
        for left, right in zip(on_cpu, on_gpu, strict=True):
            assert right.inputs.is_cuda and right.labels.is_cuda and right.index.is_cuda
            moved = Batch(right.inputs.cpu(), right.labels.cpu(), right.index.cpu(), right.number, right.epoch)
            assert same(left, moved)
