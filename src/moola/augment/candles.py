"""What every augmentation does with candles: take their prices out, change them, and put them back as candles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from moola.data.channel_names import CLOCK_CHANNELS, VOLUME
from moola.features.candles import OHLC


def candle_places(channels: tuple[str, ...]) -> list[int]:
    """Columns of open, high, low and close; none where the source has no candles."""
    return [channels.index(name) for name in OHLC] if set(OHLC) <= set(channels) else []


def sensor_places(channels: tuple[str, ...]) -> list[int]:
    """Columns of measured values that are not part of a candle: all but candles, volume and the clock."""
    candle = OHLC if set(OHLC) <= set(channels) else ()
    return [place for place, name in enumerate(channels) if name not in (*candle, VOLUME, *CLOCK_CHANNELS)]


def change(
    bars: Tensor,
    channels: tuple[str, ...],
    of_candles: Callable[[Tensor], Tensor],
    of_sensors: Callable[[Tensor], Tensor],
) -> Tensor:
    """Change the candles of a source or, where it has none, every channel but volume and the clock.

    Args:
        bars: [B, T, C], not written to.
        channels: names of the C channels.
        of_candles: prices [B, T, 4] in the order of `OHLC` -> the same; `ordered` makes them candles again.
        of_sensors: values [B, T, n] -> the same.
    """
    candles = candle_places(channels)
    if candles:
        return replaced(bars, candles, ordered(of_candles(bars[..., candles].contiguous())))
    sensors = sensor_places(channels)
    return replaced(bars, sensors, of_sensors(bars[..., sensors].contiguous()))


def replaced(bars: Tensor, places: list[int], values: Tensor) -> Tensor:
    """A copy of bars [B, T, C] with other values [B, T, n] at the places, in the dtype of the bars."""
    copied = bars.clone(memory_format=torch.contiguous_format)
    copied[..., places] = values.to(bars.dtype)
    return copied


def ordered(prices: Tensor) -> Tensor:
    """The highest of the four prices becomes the high, the lowest the low; candles [B, T, 4] stay the same bits."""
    opened, _, _, close = prices.unbind(dim=-1)
    return torch.stack([opened, prices.amax(dim=-1), prices.amin(dim=-1), close], dim=-1)


def stretched(prices: Tensor, anchor: Tensor, factor: Tensor) -> Tensor:
    """Log distances from an anchor times a positive factor: ``anchor * (p / anchor) ** factor``; keeps their order.

    In float64, as the log of a price has an absolute error of 1e-6 in float32. All shapes broadcast to [B, T, 4].
    """
    exact = prices.double()
    return exact * torch.exp((factor - 1) * (exact.log() - anchor.double().log()))
