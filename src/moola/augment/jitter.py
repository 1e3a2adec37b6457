"""Noise on every value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moola.augment.candles import change
from moola.config import reject
from moola.data.draws import Draws
from moola.features.candles import log_returns


@dataclass(frozen=True)
class Jitter:
    """Independent Gaussian noise, in units of the window's own spread (Um et al. 2017, arXiv:1706.00527, "jittering").

    - Candles: ``log p += scale * s * z`` for each of the four prices, s the standard deviation of the window's
      close-to-close log returns. High and low are then the highest and the lowest of the four.
    - Sensors: ``x += scale * s * z``, s the standard deviation of the channel in the window.

    Um et al. use one scale for all windows; here calm and wild windows are changed alike, and those that never move
    not at all.

    Attributes:
        scale: of the noise, in s. TS-TCC's weak view has 0.05 or so, its strong view 0.8.
    """

    scale: float = 0.05

    def __post_init__(self) -> None:
        reject((not 0 <= self.scale < float("inf"), f"scale: {self.scale} must be finite and not negative"))

    def apply(self, bars: Tensor, channels: tuple[str, ...], draws: Draws) -> Tensor:
        """[B, T, C] -> [B, T, C]."""

        def of_candles(prices: Tensor) -> Tensor:
            unit = _spread(log_returns(prices[..., 3:].double().log()))
            return prices * torch.exp(self.scale * unit * draws.normal(*prices.shape[1:]))

        def of_sensors(values: Tensor) -> Tensor:
            return values + self.scale * _spread(values) * draws.normal(*values.shape[1:])

        return change(bars, channels, of_candles, of_sensors)


def _spread(values: Tensor) -> Tensor:
    """Standard deviation over the bars, 0 for a constant: [B, T, n] -> [B, 1, n]."""
    shifted = values - values[:, :1]  # exactly 0 for a constant, whose float32 mean may be off by a rounding step
    return (shifted - shifted.mean(dim=1, keepdim=True)).square().mean(dim=1, keepdim=True).sqrt()
