"""Each window and channel to mean 0 and standard deviation 1: for sensors and anything else that is not candles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from moola.features import Causality


@dataclass(frozen=True)
class Standardised:
    """``(x - mean) / std`` over the visible bars of a window, channel by channel; constant channels become 0.

    Attributes:
        epsilon: smallest standard deviation.
    """

    epsilon: float = 1e-6
    causality: ClassVar[Causality] = "window"
    scale_invariant: ClassVar[bool] = True
    memory_bars: ClassVar[int | None] = None

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """The source's own names."""
        return channels

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        bars = bars.contiguous()  # the order in which torch sums depends on the memory layout
        shifted = bars - bars[:, :1]  # exactly 0 for a constant, whose float32 mean may be off by a rounding step
        centred = shifted - shifted.mean(dim=1, keepdim=True)
        return centred / centred.square().mean(dim=1, keepdim=True).sqrt().clamp_min(self.epsilon)

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """Every channel."""
        return tuple(range(len(channels)))
