"""Weak labels from what single candles do: expansion, swing and shape (`moola.pretraining.candle_targets`).

A rule knows the answer for every window and needs nobody, so it serves to try a model out, to pretrain on a task or to
begin before the first label is given. It is no substitute for what a person means by a pattern, and a model that learns
it learns the formula. All rules are the same for prices times a constant, and look at the visible bars alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl

from moola.config import reject
from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.errors import ConfigError
from moola.features.candles import needed_candles
from moola.labels import WindowLabels

if TYPE_CHECKING:
    from torch import Tensor

_PORTION = 4096
"""Windows looked at together, so that millions of them never stand in memory."""


class CandleRule(ABC):
    """A labeller that reads a window's label off the candles of its zone."""

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def numbers(self, prices: Tensor, zone: tuple[int, int]) -> Tensor:
        """Class number of each window, int64 [n], -1 for none: prices [n, visible, 4], zone inside them."""

    def fingerprint(self) -> str:
        """Nothing is read from outside."""
        return ""

    def check_zone(self, zone: tuple[int, int], visible: int) -> None:
        """Refuse windows whose zone is not seen whole.

        Raises:
            ConfigError: with a zone that is.
        """
        first, past = zone
        if past <= visible:
            return
        raise ConfigError(
            [f"task.labels={self.name} sees the zone whole; here are zone {[first, past]} and {visible} visible bars"],
            f"give data.window.visible={past}, or a zone that ends at {visible}",
        )

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        """Label every window for which the rule has an answer.

        Raises:
            ConfigError: as `check_zone`.
            DataError: the data has no candles.
        """
        self.check_zone(windows.zone, windows.visible)
        columns = needed_candles(store.channels, f"task.labels={self.name}", "task=unlabelled")
        found = np.concatenate(
            [self.numbers(prices, windows.zone).numpy() for prices in _portions(store, windows, columns)]
        )
        names = pl.Series([self.classes[number] if number >= 0 else None for number in found], dtype=pl.String)
        return WindowLabels(names, self.classes, from_rule=True)


@dataclass(frozen=True)
class AtrExpansion(CandleRule):
    """Whether the zone holds a burst: bars whose true range is far above the average true range (ATR, Wilder 1978).

    ``expansion`` where at least `least_bars` bars of the zone have a true range above ``epsilon`` times the mean of the
    `atr_bars` before them; ``calm`` where none has; no label in between.

    Attributes:
        epsilon: how many average true ranges.
        atr_bars: bars in the average.
        least_bars: of the zone.
    """

    epsilon: float = 2.0
    atr_bars: int = 14
    least_bars: int = 2
    name: ClassVar[str] = "atr_expansion"
    classes: ClassVar[tuple[str, ...]] = ("calm", "expansion")

    def __post_init__(self) -> None:
        reject(
            (self.epsilon <= 0, f"epsilon: {self.epsilon} must be positive"),
            (self.atr_bars < 1, f"atr_bars: {self.atr_bars} must be at least 1"),
            (self.least_bars < 1, f"least_bars: {self.least_bars} must be at least 1"),
        )

    def numbers(self, prices: Tensor, zone: tuple[int, int]) -> Tensor:
        """Counts bars that expand."""
        import torch

        from moola.pretraining.candle_targets import expansion

        bursts = expansion(prices, self.epsilon, self.atr_bars)[:, zone[0] : zone[1]].sum(dim=1)
        return torch.where(bursts >= self.least_bars, 1, torch.where(bursts == 0, 0, -1))


@dataclass(frozen=True)
class LastSwing(CandleRule):
    """Which way the last swing of the zone points: ``swing_high`` or ``swing_low``; no label where there is none.

    Attributes:
        swing_bars: of these the swing is the extreme, in their middle; odd.
    """

    swing_bars: int = 5
    name: ClassVar[str] = "last_swing"
    classes: ClassVar[tuple[str, ...]] = ("swing_high", "swing_low")

    def __post_init__(self) -> None:
        odd = self.swing_bars >= 3 and self.swing_bars % 2 == 1
        reject((not odd, f"swing_bars: {self.swing_bars} must be odd and at least 3"))

    def numbers(self, prices: Tensor, zone: tuple[int, int]) -> Tensor:
        """Looks for the last bar of the zone that is a swing; bars after the zone have a say in whether it is one."""
        import torch

        from moola.pretraining.candle_targets import swing

        kinds = swing(prices, self.swing_bars)[:, zone[0] : zone[1]]
        place = torch.where(kinds > 0, torch.arange(1, kinds.shape[1] + 1), 0).argmax(dim=1, keepdim=True)
        return kinds.gather(1, place)[:, 0] - 1


@dataclass(frozen=True)
class ZoneCandle(CandleRule):
    """The shape of the whole zone as one candle: its first open, highest high, lowest low and last close.

    ``doji``, ``pin``, ``rising`` or ``falling``.

    Attributes:
        doji: largest body of a doji, as a share of its range.
    """

    doji: float = 0.1
    name: ClassVar[str] = "zone_candle"
    classes: ClassVar[tuple[str, ...]] = ("doji", "pin", "rising", "falling")

    def __post_init__(self) -> None:
        reject((not 0 <= self.doji < 1, f"doji: {self.doji} must lie in [0, 1)"))

    def numbers(self, prices: Tensor, zone: tuple[int, int]) -> Tensor:
        """Every window has a shape."""
        import torch

        from moola.pretraining.candle_targets import shape

        opened, high, low, close = prices[:, zone[0] : zone[1]].unbind(dim=-1)
        candle = torch.stack([opened[:, 0], high.amax(dim=1), low.amin(dim=1), close[:, -1]], dim=-1)
        return shape(candle, self.doji)


def _portions(store: BarStore, windows: WindowIndex, columns: list[int]) -> Iterator[Tensor]:
    """Prices [n, visible, 4] of all windows, in their order."""
    import torch

    for first in range(0, len(windows), _PORTION):
        rows = np.arange(first, min(first + _PORTION, len(windows)))
        yield torch.from_numpy(windows.gather(store.values, rows)[..., columns]).double()
