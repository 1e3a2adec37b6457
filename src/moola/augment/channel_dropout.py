"""Sensors that are out of order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from moola.augment.candles import candle_places, replaced, sensor_places
from moola.config import reject
from moola.data.draws import Draws


@dataclass(frozen=True)
class ChannelDropout:
    """Put whole channels to their window's mean, at random; one sensor at least stays, or the candles.

    For sources of many sensors. Candles, volume and the clock are never dropped, so a source of candles alone is not
    changed, and neither is one of a single sensor, with or without volume and clock.

    Attributes:
        probability: that a channel is dropped.
    """

    probability: float = 0.1

    def __post_init__(self) -> None:
        reject((not 0 <= self.probability <= 1, f"probability: {self.probability} must lie in [0, 1]"))

    def apply(self, bars: Tensor, channels: tuple[str, ...], draws: Draws) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        sensors = sensor_places(channels)
        if not sensors:
            return bars
        values = bars[..., sensors].contiguous()
        drawn = draws.uniform(1, len(sensors))
        dropped = drawn < self.probability
        if not candle_places(channels):
            dropped &= drawn < drawn.amax(dim=-1, keepdim=True)
        return replaced(bars, sensors, values.mean(dim=1, keepdim=True).where(dropped, values))
