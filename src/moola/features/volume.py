"""How much is traded, beside what was traded of late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moola.config import reject
from moola.data.channel_names import CLOCK_CHANNELS
from moola.errors import DataError
from moola.features import Causality
from moola.features.rolling import rolling_mean


@dataclass(frozen=True)
class Volume:
    """``volume_relative``: log of volume over its mean of the last `window_bars` bars, this one among them.

    0 is a bar like the others; the unit of volume does not matter. Causal, expanding at the start.

    Attributes:
        window_bars: bars of the mean.
        floor: smallest share of the mean, so that a bar without trade gives ``log(floor)``; where nothing was traded in
            the whole window, the output is 0.
    """

    window_bars: int = 20
    floor: float = 0.01
    causality: ClassVar[Causality] = "bar"
    scale_invariant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        reject(
            (self.window_bars < 2, f"window_bars: {self.window_bars} must be at least 2"),
            (not 0 < self.floor < 1, f"floor: {self.floor} must lie in (0, 1)"),
        )

    @property
    def memory_bars(self) -> int:
        """The window."""
        return self.window_bars

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """``volume_relative``."""
        _volume_column(channels)
        return ("volume_relative",)

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, 1]; computed in float64."""
        volume = bars[..., [_volume_column(channels)]].double()
        mean = rolling_mean(volume, self.window_bars)
        traded = mean > 0
        share = torch.where(traded, volume / torch.where(traded, mean, 1.0), 1.0)
        return torch.log(share.clamp_min(self.floor)).to(bars.dtype)

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """The only one."""
        return (0,)


def _volume_column(channels: tuple[str, ...]) -> int:
    if "volume" not in channels:
        own = [name for name in channels if name not in CLOCK_CHANNELS]
        raise DataError(
            "transform=volume needs a channel volume",
            f"the data has {', '.join(channels)}",
            f"read the volume too: data.channels=[{','.join([*own, 'volume'])}], "
            "with data.columns={volume: COLUMN} where its column has another name",
        )
    return channels.index("volume")
