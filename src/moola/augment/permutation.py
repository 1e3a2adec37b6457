"""Segments of a window in another order: a strong view, which keeps what is near and breaks what is far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moola.augment.candles import candle_places, ordered, replaced
from moola.config import reject
from moola.data.channel_names import CLOCK_CHANNELS
from moola.data.draws import Draws


@dataclass(frozen=True)
class Permutation:
    """Cut each window into 1 to `segments` pieces at random bars and shuffle them (Um et al. 2017, arXiv:1706.00527).

    - Candles move as what they are relative to the close before them, one after the other from the first open: no
      jumps where pieces meet, and the window's last close is what it was.
    - Every other channel moves as it is; the clock is not moved.

    Inside a piece time goes on; between pieces it does not, which is the point. TS-TCC's strong view (Eldele et al.
    2021, arXiv:2106.14112) is this and then jitter.

    Attributes:
        segments: most pieces of a window.
    """

    segments: int = 5

    def __post_init__(self) -> None:
        reject((self.segments < 1, f"segments: {self.segments} must be at least 1"))

    def apply(self, bars: Tensor, channels: tuple[str, ...], draws: Draws) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        order = segment_order(bars.shape[1], draws, self.segments)
        moved = [place for place, name in enumerate(channels) if name not in CLOCK_CHANNELS]
        shuffled = replaced(bars, moved, torch.take_along_dim(bars[..., moved], order[..., None], dim=1))
        candles = candle_places(channels)
        if not candles:
            return shuffled
        return replaced(shuffled, candles, ordered(_joined(bars[..., candles], order)))


def segment_order(n_bars: int, draws: Draws, segments: int) -> Tensor:
    """Which old bar stands at each place, int64 [B, n_bars]: 1 to `segments` pieces, some perhaps empty, shuffled."""
    n_pieces = draws.integers(1, segments + 1, 1)
    cuts = draws.integers(0, n_bars + 1, segments).masked_fill(
        torch.arange(1, segments + 1, device=draws.device) >= n_pieces, n_bars
    )
    bars = torch.arange(n_bars, device=draws.device)
    piece = (bars[:, None] >= cuts[:, None]).sum(dim=2)
    place_of_piece = draws.uniform(segments).argsort(dim=1)
    return place_of_piece.gather(1, piece).argsort(dim=1, stable=True)


def _joined(prices: Tensor, order: Tensor) -> Tensor:
    """Candles in another order, each beginning where the last one closed: [B, T, 4] -> float64 [B, T, 4]."""
    logs = prices.double().log()
    before = torch.cat([logs[:, :1, 0], logs[:, :-1, 3]], dim=1)
    relative = torch.take_along_dim(logs - before[..., None], order[..., None], dim=1)
    closes = before[:, :1] + relative[..., 3].cumsum(dim=1)
    levels = torch.cat([before[:, :1], closes[:, :-1]], dim=1)
    return torch.exp(relative + levels[..., None])
