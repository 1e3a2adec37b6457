"""Sums and moments over the last bars, in an order that depends on nothing but the length of the window.

A difference of running sums would carry the rounding of everything that came before, and torch's own reductions choose
their order by shape and memory layout. Here a window is put together from blocks of 1, 2, 4, 8... bars, each the sum of
two of the size before: about 2 log2(window) elementwise additions, every one of them rounded the same way everywhere.
So the value at bar t is a function of the bars in its window alone, to the last bit, in a batch as in a stream.

Legend: B windows, T bars, n values; all float64. Before the first bar there is nothing: windows expand at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

S = TypeVar("S")


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations from the mean of a block of bars that ends at each bar.

    Attributes:
        count: [T, 1], bars in the block.
        mean: [B, T, n].
        squares: [B, T, n], never negative.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    @property
    def deviation(self) -> Tensor:
        """Population standard deviation, [B, T, n]."""
        return (self.squares / self.count).sqrt()

    def joined(self, earlier: Moments, lag_bars: int) -> Moments:
        """With the block that ends `lag_bars` before.

        Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance", The American Statistician 37(3):
        ``S_ab = S_a + S_b + n_a n_b / (n_a + n_b) * (mean_b - mean_a)^2``. Only non-negative terms are added, so
        nothing cancels at any price level.
        """
        n_joined = len(self.count) - lag_bars  # the first bars have no block before theirs
        if n_joined <= 0:
            return self
        recent = Moments(self.count[lag_bars:], self.mean[:, lag_bars:], self.squares[:, lag_bars:])
        before = Moments(earlier.count[:n_joined], earlier.mean[:, :n_joined], earlier.squares[:, :n_joined])
        count = recent.count + before.count
        step = before.mean - recent.mean
        squares = step.square().mul_(recent.count * before.count / count).add_(recent.squares).add_(before.squares)
        mean = step.mul_(before.count / count).add_(recent.mean)
        return Moments(
            torch.cat([self.count[:lag_bars], count]),
            torch.cat([self.mean[:, :lag_bars], mean], dim=1),
            torch.cat([self.squares[:, :lag_bars], squares], dim=1),
        )


def lag(values: Tensor, bars: int) -> Tensor:
    """Values `bars` bars earlier, 0 where there are none: [B, T, n] -> [B, T, n]."""
    moved = torch.zeros_like(values)
    if bars < values.shape[1]:
        moved[:, bars:] = values[:, : values.shape[1] - bars]
    return moved


def rolling_count(values: Tensor, window_bars: int) -> Tensor:
    """Bars in the window that ends at each bar: 1, 2, ... `window_bars`, `window_bars`; float64 [T, 1]."""
    numbers = torch.arange(1, values.shape[1] + 1, device=values.device, dtype=torch.float64)
    return numbers.clamp_max(window_bars)[:, None]


def rolling_sum(values: Tensor, window_bars: int) -> Tensor:
    """Sum over bars t - window_bars + 1 to t: [B, T, n] -> [B, T, n]."""
    return _over_blocks(values, window_bars, lambda recent, earlier, lag_bars: recent + lag(earlier, lag_bars))


def rolling_mean(values: Tensor, window_bars: int) -> Tensor:
    """Mean over bars t - window_bars + 1 to t: [B, T, n] -> [B, T, n]."""
    return rolling_sum(values, window_bars) / rolling_count(values, window_bars)


def rolling_moments(values: Tensor, window_bars: int) -> Moments:
    """Count, mean and squared deviations over bars t - window_bars + 1 to t."""
    single = Moments(rolling_count(values, 1), values, torch.zeros_like(values))
    return _over_blocks(single, window_bars, Moments.joined)


def _over_blocks(single: S, window_bars: int, join: Callable[[S, S, int], S]) -> S:
    """Join blocks of one bar to one of `window_bars`, by the binary digits of that number."""
    block, size = single, 1
    total: S | None = None
    covered = 0
    while True:
        if window_bars & size:
            total = block if total is None else join(total, block, covered)
            covered += size
        if covered == window_bars:
            assert total is not None
            return total
        block, size = join(block, block, size), size * 2
