"""Finding open, high, low and close among a source's channels."""

from __future__ import annotations

import torch
from torch import Tensor

from moola.errors import DataError

OHLC = ("open", "high", "low", "close")


def candle_columns(channels: tuple[str, ...], transform: str) -> list[int]:
    """Column numbers of open, high, low and close, for a transform.

    Raises:
        DataError: one of them is missing.
    """
    return needed_candles(channels, f"transform={transform}", "transform=standardised")


def needed_candles(channels: tuple[str, ...], user: str, instead: str) -> list[int]:
    """Column numbers of open, high, low and close.

    Args:
        channels: of the source.
        user: the override that chose what needs them, for the message.
        instead: the override to choose in its place, which takes any channels.

    Raises:
        DataError: one of them is missing.
    """
    missing = [name for name in OHLC if name not in channels]
    if missing:
        raise DataError(
            f"{user} needs candles",
            f"the data has no channel {', '.join(missing)}; it has {', '.join(channels)}",
            f"choose {instead}, which takes any channels",
        )
    return [channels.index(name) for name in OHLC]


def log_candles(bars: Tensor, channels: tuple[str, ...], transform: str) -> Tensor:
    """Natural logs of open, high, low, close: [B, T, C] -> [B, T, 4], contiguous.

    In float64: the log of a price has an absolute error of 1e-6 in float32, which is not small beside the range of a
    one-minute bar. Contiguous, because the order in which torch sums depends on the memory layout.
    """
    return torch.log(bars[..., candle_columns(channels, transform)].contiguous().double())


def log_returns(logs: Tensor) -> Tensor:
    """Bar-to-bar differences of log prices, 0 at the first bar: [B, T, n] -> [B, T, n]."""
    return torch.diff(logs, dim=1, prepend=logs[:, :1])
