"""Bars of windows: the same from every place, never copied whole, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.data.gathering import HostBars, ahead, gathered, place_bars, shared_tensor


def gather_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("moola-gather")]


def paired(parts: Sequence[torch.Tensor], starts: np.ndarray) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Which windows, with the first bar of each."""
    return [(part, torch.from_numpy(starts)[part]) for part in parts]


@pytest.fixture
def mapped(tmp_path: Path) -> np.ndarray:
    """Read-only bars in a file."""
    np.save(tmp_path / "values.npy", np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32))
    return np.load(tmp_path / "values.npy", mmap_mode="r")


@given(n_bars=st.integers(1, 12), n_channels=st.integers(1, 5), data=st.data())
def test_every_place_gives_the_bars_that_numpy_finds(n_bars: int, n_channels: int, data: st.DataObject) -> None:
    values = np.random.default_rng(n_bars).normal(size=(40, n_channels)).astype(np.float32)
    starts = np.array(data.draw(st.lists(st.integers(0, 40 - n_bars), min_size=1, max_size=30)))
    parts = [torch.tensor(part) for part in data.draw(st.lists(st.lists(st.integers(0, len(starts) - 1)), max_size=6))]
    expected = [values[starts[part.numpy().astype(int)][:, None] + np.arange(n_bars)] for part in parts]
    places = (shared_tensor(values), HostBars(shared_tensor(values), torch.device("cpu"), prefetch=2))
    for bars in places:
        found = list(gathered(bars, paired([part.long() for part in parts], starts), n_bars))
        assert [part.tolist() for part, _ in found] == [part.tolist() for part in parts]
        for (_, windows), wanted in zip(found, expected, strict=True):  # all are held: none was written over
            np.testing.assert_array_equal(windows.numpy(), wanted)


def test_bars_on_a_cpu_are_the_mapped_file_itself(mapped: np.ndarray) -> None:
    placed = place_bars(mapped, "cpu")
    assert isinstance(placed, torch.Tensor)
    assert placed.data_ptr() == mapped.ctypes.data


def test_bars_that_take_more_than_their_share_of_the_device_stay_in_their_file(
    mapped: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * mapped.nbytes - 1, 10 * mapped.nbytes))
    placed = place_bars(mapped, "cuda", share_of_memory=0.5)
    assert isinstance(placed, HostBars)
    assert (placed.values.data_ptr(), placed.device.type, len(placed)) == (mapped.ctypes.data, "cuda", 300)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_work_is_done_at_most_so_many_items_ahead_and_given_in_order(depth: int) -> None:
    begun: list[int] = []
    for number, result in enumerate(ahead(lambda item: begun.append(item) or item * 2, range(20), depth)):
        assert result == 2 * number
        assert len(begun) <= number + 1 + depth
    assert begun == list(range(20))
    assert not gather_threads()


def test_what_the_thread_raises_comes_after_the_results_before_it_and_the_thread_ends() -> None:
    results = ahead(lambda item: 1 // (item - 3), range(10), 2)
    assert [next(results) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not gather_threads()


def test_leaving_the_loop_early_ends_the_thread() -> None:
    bars = HostBars(torch.zeros(50, 2), torch.device("cpu"))
    windows = gathered(bars, paired(torch.arange(40).split(2), np.arange(40)), 5)
    next(windows)
    assert gather_threads()
    windows.close()
    assert not gather_threads()


@pytest.mark.parametrize("prefetch", [1, 3])
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_bars_streamed_to_a_gpu_are_those_of_the_host(mapped: np.ndarray, prefetch: int) -> None:
    values = shared_tensor(mapped)
    shuffled = torch.randperm(290, generator=torch.Generator().manual_seed(0))
    parts = paired(list(shuffled.split(32)) * 20, np.arange(290))
    streamed = gathered(HostBars(values, torch.device("cuda"), prefetch), parts, 10)
    on_gpu = [(part.cpu(), (bars * 2).cpu()) for part, bars in streamed]  # work on the batch, as a model would
    for (part, bars), (wanted_part, wanted) in zip(on_gpu, gathered(values, parts, 10), strict=True):
        assert torch.equal(part, wanted_part)
        assert torch.equal(bars, 2 * wanted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_bars_that_fit_a_gpu_are_placed_there(mapped: np.ndarray) -> None:
    placed = place_bars(mapped, "cuda")
    assert isinstance(placed, torch.Tensor)
    assert placed.device.type == "cuda"
    np.testing.assert_array_equal(placed.cpu().numpy(), mapped)
