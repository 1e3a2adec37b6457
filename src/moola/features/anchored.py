"""Candles seen from the last visible close, in units of the window's own range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moola.config import reject
from moola.features import Causality
from moola.features.candles import OHLC, candle_columns, log_candles


@dataclass(frozen=True)
class Anchored:
    """Log prices relative to the last visible close, four channels, and bar-to-bar log returns, four more.

    With TR the mean of log high - log low over the visible bars, a window's own unit of movement:
    ``level = (log p_t - log close_T) / (TR * level_scale)`` and ``return = (log p_t - log p_{t-1}) / TR``, the first
    return being 0. Price-scale invariant. It looks at all visible bars at once (the anchor is the last of them) and
    at nothing after: causal for a prediction made at the last visible bar.

    Attributes:
        level_scale: in TR; brings levels to about the spread of returns.
        returns: whether the returns are there; levels alone say where prices went, returns how they went there.
        epsilon: smallest TR, so that a window that never moves gives zeros.
    """

    level_scale: float = 5.0
    returns: bool = True
    epsilon: float = 1e-8
    causality: ClassVar[Causality] = "window"
    scale_invariant: ClassVar[bool] = True
    memory_bars: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        reject((self.level_scale <= 0, f"level_scale: {self.level_scale} must be positive"))

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """``level_open`` to ``level_close``, then ``return_open`` to ``return_close``."""
        candle_columns(channels, "anchored")
        kinds = ("level", "return") if self.returns else ("level",)
        return tuple(f"{kind}_{name}" for kind in kinds for name in OHLC)

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, 8], or [B, T, 4] without returns."""
        prices = log_candles(bars, channels, "anchored")
        unit = self._unit(prices)
        levels = (prices - prices[:, -1:, 3:4]) / (unit * self.level_scale)
        if not self.returns:
            return levels.to(bars.dtype)
        returns = torch.zeros_like(prices)
        returns[:, 1:] = (prices[:, 1:] - prices[:, :-1]) / unit
        return torch.cat([levels, returns], dim=-1).to(bars.dtype)

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """The level of the close."""
        return (3,)

    def restore(self, outputs: Tensor, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """Candles [B, T, 4] from outputs [B, T, 8 or 4], given the bars that set anchor and unit."""
        prices = log_candles(bars, channels, "anchored")
        logs = outputs[..., :4].double() * self._unit(prices) * self.level_scale + prices[:, -1:, 3:4]
        return torch.exp(logs).to(bars.dtype)

    def _unit(self, prices: Tensor) -> Tensor:
        """TR of each window: [B, T, 4] -> [B, 1, 1]."""
        return (prices[..., 1] - prices[..., 2]).mean(dim=1).clamp_min(self.epsilon)[:, None, None]
