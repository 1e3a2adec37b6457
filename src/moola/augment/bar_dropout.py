"""Bars that never arrived."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moola.augment.candles import candle_places, replaced
from moola.config import reject
from moola.data.channel_names import CLOCK_CHANNELS, VOLUME
from moola.data.draws import Draws


@dataclass(frozen=True)
class BarDropout:
    """Lose single bars at random, as a feed or a sensor does, and hold the last one that came; never the first.

    - Candles: a flat candle at the last close that came; volume 0.
    - Other channels: the last value that came. The clock goes on.

    Attributes:
        probability: that a bar is lost.
    """

    probability: float = 0.05

    def __post_init__(self) -> None:
        reject((not 0 <= self.probability <= 1, f"probability: {self.probability} must lie in [0, 1]"))

    def apply(self, bars: Tensor, channels: tuple[str, ...], draws: Draws) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        lost = draws.uniform(bars.shape[1]) < self.probability
        lost[:, 0] = False
        here = torch.arange(bars.shape[1], device=bars.device)
        last_that_came = torch.where(lost, 0, here).cummax(dim=1).values
        held = torch.take_along_dim(bars, last_that_came[..., None], dim=1)
        candles = candle_places(channels)
        if candles:
            close = torch.where(lost[..., None], held[..., candles[3:]], held[..., candles])
            held = replaced(held, candles, close)
        held[..., [place for place, name in enumerate(channels) if name == VOLUME]] *= ~lost[..., None]
        clock = [place for place, name in enumerate(channels) if name in CLOCK_CHANNELS]
        return replaced(held, clock, bars[..., clock])
