"""Sensor channels as the source gives them; prices are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from moola.errors import DataError
from moola.features import Causality
from moola.features.candles import OHLC


@dataclass(frozen=True)
class SourceChannels:
    """Every channel unchanged: for sensors whose level means something, and inside ``transform=scaled``.

    Prices are refused: their level is a matter of the year and the market, and a model that sees it learns that.
    """

    causality: ClassVar[Causality] = "bar"
    scale_invariant: ClassVar[bool] = False
    memory_bars: ClassVar[int] = 1

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """The source's own names.

        Raises:
            DataError: there are prices among them.
        """
        prices = [name for name in OHLC if name in channels]
        if prices:
            raise DataError(
                "prices as they are cannot be model inputs",
                f"{', '.join(prices)} would show a model the level of the market",
                "choose transform=relative or transform=anchored (inside transform=scaled: transform.of.name=relative)",
            )
        return channels

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, C], a copy."""
        self.output_channels(channels)
        return bars.clone()

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """Every channel."""
        return tuple(range(len(channels)))
