"""What happens at each bar, read off the candles: expansion, swing and shape. Targets to learn from, not features.

Legend: B windows, T bars, C channels. Every function takes prices [B, T, 4] (open, high, low, close) and gives class
numbers int64 [B, T]; all are the same for prices times a constant. Targets may look ahead inside the window.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its usual name)

from moola.features.candles import needed_candles
from moola.features.rolling import lag, rolling_mean

N_EXPANSION, N_SWING, N_SHAPE = 2, 3, 4


def price_columns(channels: tuple[str, ...], objective: str) -> list[int]:
    """Column numbers of open, high, low and close, for an objective.

    Raises:
        DataError: one of them is missing.
    """
    return needed_candles(channels, f"objective={objective}", "objective=masked_autoencoder")


def true_range(prices: Tensor) -> Tensor:
    """``max(high, close before) - min(low, close before)`` (Wilder 1978), high - low at bar 0: [B, T]."""
    _, high, low, close = prices.unbind(dim=-1)
    before = torch.cat([close[:, :1].clamp(low[:, :1], high[:, :1]), close[:, :-1]], dim=1)
    return torch.maximum(high, before) - torch.minimum(low, before)


def expansion(prices: Tensor, epsilon: float, atr_bars: int) -> Tensor:
    """1 where a bar's true range is more than `epsilon` times the mean of the `atr_bars` before it, else 0.

    Early bars have fewer before them; bar 0 has none and is 0.
    """
    ranges = true_range(prices)
    average = lag(rolling_mean(ranges[..., None], atr_bars), 1)[..., 0]
    found = ranges > epsilon * average
    found[:, 0] = False
    return found.long()


def swing(prices: Tensor, window_bars: int) -> Tensor:
    """1 where the high is the only highest of the `window_bars` around it, 2 where the low is the only lowest, else 0.

    The bar is in the middle. Beyond the ends the window is taken to stay where it ended, so that the first and the
    last bar are 0; and a bar that is both is 0.
    """
    top = _only_highest(prices[..., 1], window_bars)
    bottom = _only_highest(-prices[..., 2], window_bars)
    return torch.where(top & ~bottom, 1, 0) + torch.where(bottom & ~top, 2, 0)


def shape(prices: Tensor, doji: float) -> Tensor:
    """0 doji: the body is at most `doji` of the range; 1 pin: one wick is more than half of it; 2 rising; 3 falling."""
    opened, high, low, close = prices.unbind(dim=-1)
    span, body = high - low, close - opened
    wick = torch.maximum(high - torch.maximum(opened, close), torch.minimum(opened, close) - low)
    direction = torch.where(body > 0, 2, 3)
    pinned = torch.where(wick > 0.5 * span, 1, direction)
    return torch.where(body.abs() <= doji * span, 0, pinned)


def _only_highest(values: Tensor, window_bars: int) -> Tensor:
    """Whether each value is the highest of its window and no other is as high: [B, T] -> bool [B, T]."""
    side = window_bars // 2
    around = F.pad(values[:, None], (side, side), mode="replicate")[:, 0].unfold(1, window_bars, 1)
    return (around >= values[..., None]).sum(dim=-1) == 1
