"""RelativeTransform: eleven channels that do not know the price level, causal bar by bar."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moola.config import reject
from moola.features.candles import OHLC, candle_columns


@dataclass(frozen=True)
class Relative:
    """Log returns, candle shape and rolling z-scores: output t depends on bars 0..t alone.

    Order: ``log_return_*`` of open, high, low, close (0 at t = 0); ``body``, ``upper_wick``, ``lower_wick`` as shares
    of the bar's range, clipped to [0, 1]; ``zscore_*`` of the four prices over the last `window_bars` bars
    (population standard deviation, expanding while t < window_bars - 1, 0 at t = 0), clipped to +-10.

    Attributes:
        window_bars: bars of the rolling z-score.
        epsilon: guards logarithms and divisions.
    """

    window_bars: int = 20
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        reject((self.window_bars < 2, f"window_bars: {self.window_bars} must be at least 2"))

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the 11 outputs."""
        candle_columns(channels, "relative")
        shape = ("body", "upper_wick", "lower_wick")
        return (*(f"log_return_{name}" for name in OHLC), *shape, *(f"zscore_{name}" for name in OHLC))

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, 11]; computed in float64, where price squares do not cancel."""
        prices = bars[..., candle_columns(channels, "relative")].double()
        parts = [self._log_returns(prices), self._shape(prices), self._zscores(prices)]
        return torch.cat(parts, dim=-1).to(bars.dtype)

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """The z-score of the close."""
        return (10,)

    def _log_returns(self, prices: Tensor) -> Tensor:
        logs = torch.log(prices + self.epsilon)
        return torch.diff(logs, dim=1, prepend=logs[:, :1])

    def _shape(self, prices: Tensor) -> Tensor:
        opened, high, low, close = prices.unbind(-1)
        top, bottom = torch.maximum(opened, close), torch.minimum(opened, close)
        parts = torch.stack([top - bottom, high - top, bottom - low], dim=-1)
        return (parts / (high - low + self.epsilon)[..., None]).clamp(0.0, 1.0)

    def _zscores(self, prices: Tensor) -> Tensor:
        # Sums over [t - w + 1, t] as differences of running sums; prices are centred first, or their squares cancel.
        centred = prices - prices[:, :1]
        count = torch.arange(1, prices.shape[1] + 1, device=prices.device).clamp_max(self.window_bars)[None, :, None]
        mean = self._rolling_sum(centred) / count
        variance = (self._rolling_sum(centred**2) / count - mean**2).clamp_min(0.0)
        scores = ((centred - mean) / (variance.sqrt() + self.epsilon)).clamp(-10.0, 10.0)
        scores[:, 0] = 0.0
        return scores

    def _rolling_sum(self, values: Tensor) -> Tensor:
        total = values.cumsum(dim=1)
        total[:, self.window_bars :] -= total[:, : -self.window_bars].clone()
        return total
