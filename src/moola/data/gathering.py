"""Bars of windows, gathered where the model is: one index operation, or ahead of time from bars that stay on the host.

Windows are a view of the bars with overlapping rows, so a batch is one selection of rows: no copy of the windows
exists, and no table of positions is made.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class HostBars:
    """Bars that do not fit the device: a thread gathers the next batches from them and sends them over.

    Attributes:
        values: float32 [n_bars, n_channels] on the CPU, usually mapped from a file; never copied whole.
        device: where the batches are wanted.
        prefetch: batches made ready beyond the one in use.
    """

    values: Tensor
    device: torch.device
    prefetch: int = 2

    def __len__(self) -> int:
        return len(self.values)


def place_bars(values: np.ndarray, device: str, share_of_memory: float = 0.5) -> Tensor | HostBars:
    """Bars on the device if they take at most this share of its free memory, else bars that stay on the host.

    On a CPU they are shared with `values`, also where that is mapped from a file: nothing is copied, and nothing may
    be written to them.

    Args:
        values: float32 [n_bars, n_channels].
        device: torch device name.
        share_of_memory: in (0, 1]; the rest is for the model and its activations.
    """
    shared, place = shared_tensor(values), torch.device(device)
    if place.type == "cpu":
        return shared
    free_bytes, _ = torch.cuda.mem_get_info(place)
    if values.nbytes <= share_of_memory * free_bytes:
        return shared.to(place)
    return HostBars(shared, place)


def shared_tensor(array: np.ndarray) -> Tensor:
    """A tensor over the memory of the array, which may be read-only; then the tensor is to be read only, too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)


def gatherer(values: Tensor, n_bars: int) -> Callable[[Tensor], Tensor]:
    """A function from the first bars of windows, int64 [B], to all of their bars, [B, n_bars, n_channels].

    On a CPU NumPy copies, on one thread: that is as fast as the memory, and does not wait for threads which the model
    or another process keeps busy. Torch's two threads were up to 1.6 times as fast on an idle machine of two cores, and
    a seventh as fast on a busy one.

    Args:
        values: [n_bars_in_all, n_channels], on the device of the starts to come.
        n_bars: bars a window.
    """
    if values.device.type == "cpu":
        rows = np.lib.stride_tricks.sliding_window_view(values.numpy(), n_bars, axis=0).transpose(0, 2, 1)
        return lambda starts: torch.from_numpy(rows[starts.numpy()])
    windows = values.unfold(0, n_bars, 1).transpose(1, 2)
    return lambda starts: torch.index_select(windows, 0, starts)


def gathered(
    bars: Tensor | HostBars, parts: Iterable[tuple[Tensor, Tensor]], n_bars: int
) -> Generator[tuple[Tensor, Tensor]]:
    """The windows of each part, in order, on the device; close the iterator to end its thread early.

    Args:
        bars: [n_bars_in_all, n_channels], on the device or on the host.
        parts: which windows, and the first bar of each, int64 [B] both; beside the bars.
        n_bars: bars a window.

    Yields:
        Which windows, int64 [B], and their bars, [B, n_bars, n_channels]. No later batch is written over them.
    """
    if isinstance(bars, HostBars):
        yield from _streamed(bars, parts, n_bars)
        return
    gather = gatherer(bars, n_bars)
    for index, starts in parts:
        yield index, gather(starts)


def ahead(work: Callable[[Item], Result], items: Iterable[Item], depth: int) -> Generator[Result]:
    """Results in order, computed by one thread up to `depth` items before they are asked for.

    What `work` raises is raised here at its place in the order. The thread has ended when the iterator has, also when
    it is closed early.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="moola-gather")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _streamed(bars: HostBars, parts: Iterable[tuple[Tensor, Tensor]], n_bars: int) -> Generator[tuple[Tensor, Tensor]]:
    gather = gatherer(bars.values, n_bars)
    sender = _CudaSender(bars.device) if bars.device.type == "cuda" else _NoSender()

    def fetch(part: tuple[Tensor, Tensor]) -> _Sent:
        index, starts = part
        return sender.send(index, gather(starts))

    with contextlib.closing(ahead(fetch, parts, bars.prefetch)) as sent:
        yield from map(sender.receive, sent)


@dataclass(frozen=True)
class _Sent:
    """A batch, and the event after which it has arrived; None where it need not travel."""

    index: Tensor
    bars: Tensor
    arrival: torch.cuda.Event | None = None


class _NoSender:
    """Batches that are wanted where they are gathered."""

    def send(self, index: Tensor, bars: Tensor) -> _Sent:
        return _Sent(index, bars)

    def receive(self, sent: _Sent) -> tuple[Tensor, Tensor]:
        return sent.index, sent.bars


class _CudaSender:
    """Copies on a stream of its own, beside the work of the model.

    Torch keeps pinned memory until the copies out of it are done, so buffers need no ring of our own.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def send(self, index: Tensor, bars: Tensor) -> _Sent:
        """In the thread: begin to copy."""
        with torch.cuda.stream(self._stream):
            index, bars = (tensor.pin_memory().to(self._device, non_blocking=True) for tensor in (index, bars))
            arrival = torch.cuda.Event()
            arrival.record(self._stream)
            return _Sent(index, bars, arrival)

    def receive(self, sent: _Sent) -> tuple[Tensor, Tensor]:
        """In the loop: the work that follows waits for the copy, and the memory is not reused before that work."""
        current = torch.cuda.current_stream(self._device)
        if sent.arrival is not None:
            current.wait_event(sent.arrival)
        for tensor in (sent.index, sent.bars):
            tensor.record_stream(current)
        return sent.index, sent.bars
