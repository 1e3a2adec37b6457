"""Bar-to-bar log returns of the four prices, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from moola.features import Causality
from moola.features.candles import OHLC, candle_columns, log_candles, log_returns


@dataclass(frozen=True)
class LogReturns:
    """``log p_t - log p_{t-1}`` of open, high, low and close; 0 at t = 0.

    In natural-log units, about 1e-3 for minute bars: ``transform=scaled`` around it brings it to the size of 1.
    """

    causality: ClassVar[Causality] = "bar"
    scale_invariant: ClassVar[bool] = True
    memory_bars: ClassVar[int] = 2

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """``log_return_open`` to ``log_return_close``."""
        candle_columns(channels, "log_returns")
        return tuple(f"log_return_{name}" for name in OHLC)

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, 4]."""
        return log_returns(log_candles(bars, channels, "log_returns")).to(bars.dtype)

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """The return of the close."""
        return (3,)
