"""The public suite sees augmentations that break candles, know the other windows, or draw numbers elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from moola.augment import Augmentation
from moola.augment.time_warp import TimeWarp
from moola.data.draws import Draws
from moola.testing import check_augment
from moola.testing.augment_checks import CANDLES

CHANNELS = tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """A well-behaved augmentation, to spoil: one factor on the prices of a window."""

    scale: float = 0.1

    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        return self.times(bars, torch.exp(self.scale * draws.normal(1, 1)))

    def times(self, bars: Tensor, factor: Tensor) -> Tensor:
        changed = bars.clone()
        changed[..., :4] *= factor
        return changed


@dataclass(frozen=True)
class Nothing(Level):
    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        return bars


@dataclass(frozen=True)
class Shorter(Level):
    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        return super().apply(bars, channels, draws)[:, :-1]


@dataclass(frozen=True)
class InPlace(Level):
    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        bars[..., :4] *= torch.exp(self.scale * draws.normal(1, 1))
        return bars


@dataclass(frozen=True)
class Double(Level):
    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        return super().apply(bars.double(), channels, draws)


@dataclass(frozen=True)
class NoiseOnPrices(Level):
    """Each price on its own, as if they were not one candle."""

    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        return self.times(bars, torch.exp(self.scale * draws.normal(bars.shape[1], 4)))


@dataclass(frozen=True)
class AddedNoise(Level):
    """In the units of the price, so that cheap things fall below 0."""

    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        changed = bars.clone()
        changed[..., :4] += self.scale * draws.normal(1, 1)
        return changed


@dataclass(frozen=True)
class Divided(Level):
    """By a spread that is 0 where a window never moves."""

    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        close = bars[..., 3:4]
        spread = (close - close[:, :1]).abs().mean(dim=1, keepdim=True)
        return self.times(bars, torch.exp(self.scale * draws.normal(1, 1) * (spread / spread)))


@dataclass(frozen=True)
class Clock(Level):
    def times(self, bars: Tensor, factor: Tensor) -> Tensor:
        return bars * factor


@dataclass(frozen=True)
class NegativeVolume(Level):
    def times(self, bars: Tensor, factor: Tensor) -> Tensor:
        changed = super().times(bars, factor)
        changed[..., 4] -= 100 * (factor[..., 0] - 0.5)
        return changed


@dataclass(frozen=True)
class GlobalNoise(Level):
    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        return self.times(bars, torch.exp(self.scale * torch.randn(len(bars), 1, 1)))


@dataclass(frozen=True)
class Unseeded(Level):
    """Numbers of the first draws it meets for ever."""

    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        return self.times(bars, torch.full((1, 1, 1), 1.1))


@dataclass(frozen=True)
class OwnGenerator(Level):
    """Seeded, yet a window's numbers go by its place among the windows that happen to be here."""

    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        seed = draws.shared(0, 1000)
        noise = torch.randn(len(bars), 1, 1, generator=torch.Generator().manual_seed(seed))
        return self.times(bars, torch.exp(self.scale * noise))


@dataclass(frozen=True)
class BatchUnit(Level):
    """In units of the whole batch."""

    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        unit = bars[..., 3].log().diff(dim=1).square().mean() if bars.shape[1] > 1 else 1.0
        return self.times(bars, torch.exp(unit * draws.normal(1, 1)))


@dataclass(frozen=True)
class SaysOneThing(TimeWarp):
    """Positions in order, bars read at others."""

    def positions(self, n_bars: int, draws: Draws) -> Tensor:
        draws.normal(1)
        return super().positions(n_bars, draws)

    def apply(self, bars: Tensor, channels: CHANNELS, draws: Draws) -> Tensor:
        return TimeWarp(self.scale).apply(bars, channels, draws)


@dataclass(frozen=True)
class LosesTheEnd(TimeWarp):
    def positions(self, n_bars: int, draws: Draws) -> Tensor:
        return super().positions(n_bars, draws) * 0.9


def test_a_good_one_passes() -> None:
    check_augment(Level(), off=Level(0.0))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (Nothing(), "changes nothing"),
        (Shorter(), "bars become"),
        (InPlace(), "writes to the bars"),
        (Double(), "float32 bars become"),
        (NoiseOnPrices(), "below open or close|above open or close"),
        (AddedNoise(), "not positive"),
        (Divided(), r"\(1 bars\): a value is not finite"),
        (Clock(), "the clock"),
        (NegativeVolume(), "volume is negative"),
        (GlobalNoise(), "torch's own generator"),
        (Unseeded(), "other draws change nothing"),
        (OwnGenerator(), "alone are changed otherwise"),
        (BatchUnit(), "alone are changed otherwise|other windows"),
        (SaysOneThing(), "not read at the positions"),
        (LosesTheEnd(), "to the last one"),
    ],
    ids=lambda one: type(one).__name__ if not isinstance(one, str) else "",
)
def test_a_broken_one_is_named(broken: Augmentation, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_augment(broken, CANDLES)


def test_a_strength_of_nothing_that_changes_bars_is_seen() -> None:
    with pytest.raises(AssertionError, match="strength 0"):
        check_augment(Level(), off=Level(0.001))
