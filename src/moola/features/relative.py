"""RelativeTransform: eleven channels that do not know the price level, causal bar by bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moola.config import reject
from moola.features import Causality
from moola.features.candles import OHLC, candle_columns, log_returns
from moola.features.rolling import rolling_moments


@dataclass(frozen=True)
class RelativeTransform:
    """Log returns, candle shape and rolling z-scores: output t depends on bars 0..t alone.

    Order: ``log_return_*`` of open, high, low, close (0 at t = 0); ``body``, ``upper_wick``, ``lower_wick`` as shares
    of the bar's range, clipped to [0, 1]; ``zscore_*`` of the four prices over the last `window_bars` bars
    (population standard deviation, expanding while t < window_bars - 1, 0 at t = 0), clipped to +-10.

    Attributes:
        window_bars: bars of the rolling z-score.
        epsilon: guards logarithms and divisions, in price units: prices have to lie far above it. Those of about 1e-5
            see their level again, by up to 0.4; rescale them.
    """

    window_bars: int = 20
    epsilon: float = 1e-8
    causality: ClassVar[Causality] = "bar"
    scale_invariant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        reject(
            (self.window_bars < 2, f"window_bars: {self.window_bars} must be at least 2"),
            (self.epsilon <= 0, f"epsilon: {self.epsilon} must be positive"),
        )

    @property
    def memory_bars(self) -> int:
        """The rolling window; a return needs two bars, and so does the shortest window."""
        return self.window_bars

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the 11 outputs."""
        candle_columns(channels, "relative")
        shape = ("body", "upper_wick", "lower_wick")
        return (*(f"log_return_{name}" for name in OHLC), *shape, *(f"zscore_{name}" for name in OHLC))

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, 11]; computed in float64."""
        prices = bars[..., candle_columns(channels, "relative")].double()
        parts = [log_returns(torch.log(prices + self.epsilon)), self._shape(prices), self._zscores(prices)]
        return torch.cat(parts, dim=-1).to(bars.dtype)

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """The z-score of the close."""
        return (10,)

    def _shape(self, prices: Tensor) -> Tensor:
        opened, high, low, close = prices.unbind(-1)
        top, bottom = torch.maximum(opened, close), torch.minimum(opened, close)
        parts = torch.stack([top - bottom, high - top, bottom - low], dim=-1)
        return (parts / (high - low + self.epsilon)[..., None]).clamp(0.0, 1.0)

    def _zscores(self, prices: Tensor) -> Tensor:
        past = rolling_moments(prices, self.window_bars)
        return ((prices - past.mean) / (past.deviation + self.epsilon)).clamp(-10.0, 10.0)
