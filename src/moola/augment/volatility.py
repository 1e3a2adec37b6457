"""Wider and narrower bars on the same path."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moola.augment.candles import change, stretched
from moola.config import reject
from moola.data.draws import Draws


@dataclass(frozen=True)
class Volatility:
    """One factor a window on what happens inside bars, uniform in [1 - scale, 1 + scale]; closes stay.

    - Candles: log distances of open, high and low from the bar's own close times the factor, so that the high stays
      the highest and the low the lowest.
    - Sensors: what the two neighbours of a value do not explain, ``x_t - (x_{t-1} + x_t + x_{t+1}) / 3``, times the
      factor, one for each channel; the first and the last bar have themselves for the missing neighbour.

    Attributes:
        scale: largest change; below 1.
    """

    scale: float = 0.15

    def __post_init__(self) -> None:
        reject((not 0 <= self.scale < 1, f"scale: {self.scale} must lie in [0, 1)"))

    def apply(self, bars: Tensor, channels: tuple[str, ...], draws: Draws) -> Tensor:
        """[B, T, C] -> [B, T, C]."""

        def of_candles(prices: Tensor) -> Tensor:
            return stretched(prices, prices[..., 3:], 1 + self._change(draws, 1))

        def of_sensors(values: Tensor) -> Tensor:
            before = torch.cat([values[:, :1], values[:, :-1]], dim=1)
            after = torch.cat([values[:, 1:], values[:, -1:]], dim=1)
            unexplained = (2 * values - before - after) / 3
            return values + self._change(draws, values.shape[-1]) * unexplained

        return change(bars, channels, of_candles, of_sensors)

    def _change(self, draws: Draws, n: int) -> Tensor:
        """[B, 1, n], uniform in [-scale, scale)."""
        return self.scale * (2 * draws.uniform(1, n) - 1)
