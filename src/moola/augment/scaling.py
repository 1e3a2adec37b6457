"""Larger and smaller movements."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moola.augment.candles import change, stretched
from moola.config import reject
from moola.data.draws import Draws


@dataclass(frozen=True)
class Scaling:
    """One factor a window, ``exp(scale * z)`` with z standard normal (Um et al. 2017, arXiv:1706.00527, "scaling").

    - Candles: log distances from the last close times the factor, between bars and inside them alike. A factor on the
      prices themselves would change nothing, as transforms of candles do not know the level.
    - Sensors: values times the factor, one for each channel.

    Um et al. draw from N(1, scale), which can turn a window upside down; this factor is always positive. A transform
    in units of the window's own movement (``anchored``, ``standardised``) undoes it; one with fitted or fixed units
    does not.

    Attributes:
        scale: of the factor's log.
    """

    scale: float = 0.1

    def __post_init__(self) -> None:
        reject((not 0 <= self.scale < float("inf"), f"scale: {self.scale} must be finite and not negative"))

    def apply(self, bars: Tensor, channels: tuple[str, ...], draws: Draws) -> Tensor:
        """[B, T, C] -> [B, T, C]."""

        def of_candles(prices: Tensor) -> Tensor:
            return stretched(prices, prices[:, -1:, 3:], torch.exp(self.scale * draws.normal(1, 1)))

        def of_sensors(values: Tensor) -> Tensor:
            return values * torch.exp(self.scale * draws.normal(1, values.shape[-1]))

        return change(bars, channels, of_candles, of_sensors)
