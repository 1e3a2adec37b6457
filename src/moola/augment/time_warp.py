"""Time that goes faster and slower, and never back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its usual name)

from moola.augment.candles import candle_places, ordered, replaced
from moola.config import reject
from moola.data.channel_names import CLOCK_CHANNELS
from moola.data.draws import Draws


@dataclass(frozen=True)
class TimeWarp:
    """Bars read at positions of changing speed (Um et al. 2017, arXiv:1706.00527, "time-warping").

    Values between two bars are interpolated linearly. A candle covers the time since the candle before it: it closes
    at its own position and opens one old bar after the position at which the last one closed, so that a market
    without gaps stays without gaps. Its high and low are interpolated, and widened to hold open and close. The clock
    is not moved.

    Attributes:
        scale: of the log speed; 0.12 makes time run about 12 % faster or slower.
        knots: points of the window at which a speed is drawn; in between it changes linearly.
    """

    scale: float = 0.12
    knots: int = 4

    def __post_init__(self) -> None:
        reject(
            (not 0 <= self.scale < float("inf"), f"scale: {self.scale} must be finite and not negative"),
            (self.knots < 1, f"knots: {self.knots} must be at least 1"),
        )

    def positions(self, n_bars: int, draws: Draws) -> Tensor:
        """Where each bar comes from; see `warp_positions`."""
        return warp_positions(n_bars, draws, self.scale, self.knots)

    def apply(self, bars: Tensor, channels: tuple[str, ...], draws: Draws) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        positions = self.positions(bars.shape[1], draws)
        moved = [place for place, name in enumerate(channels) if name not in CLOCK_CHANNELS]
        warped = replaced(bars, moved, interpolated(bars[..., moved], positions))
        candles = candle_places(channels)
        if not candles:
            return warped
        opened, close = bars[..., candles[:1]], bars[..., candles[3:]]
        opens = torch.cat([opened, close[:, -1:]], dim=1)  # as if one more bar came, without a gap
        warped[:, 1:, candles[:1]] = interpolated(opens, positions[:, :-1] + 1)
        return replaced(warped, candles, ordered(warped[..., candles]))


def warp_positions(n_bars: int, draws: Draws, scale: float, knots: int) -> Tensor:
    """Positions among the old bars, float32 [B, n_bars]: from 0 to n_bars - 1, never decreasing.

    The speed from one bar to the next is ``exp(scale * z)``, z standard normal at the knots and linear between them;
    positions are its sums, brought to the length of the window. Um et al. draw the speed itself from N(1, scale) and
    put a spline through it, which lets time run backwards.
    """
    drawn = draws.normal(1, knots)
    if n_bars == 1:
        return torch.zeros_like(drawn[:, 0, :1])
    speed = torch.exp(scale * F.interpolate(drawn, size=n_bars - 1, mode="linear", align_corners=True)[:, 0])
    path = F.pad(speed.cumsum(dim=1), (1, 0))
    positions = path * ((n_bars - 1) / path[:, -1:])
    # A GPU sums in another order for each bar, so rounding alone could take time back by a hair.
    positions = positions.clamp_max(n_bars - 1).cummax(dim=1).values
    positions[:, -1] = n_bars - 1
    return positions


def interpolated(bars: Tensor, positions: Tensor) -> Tensor:
    """Linear interpolation along time: bars [B, T, n] at positions [B, S] in [0, T - 1] -> [B, S, n]."""
    before = positions.floor().long()
    after = (before + 1).clamp_max(bars.shape[1] - 1)
    weight = (positions - before).to(bars.dtype)
    first, second = (torch.take_along_dim(bars, place[..., None], dim=1) for place in (before, after))
    return torch.lerp(first, second, weight[..., None])
