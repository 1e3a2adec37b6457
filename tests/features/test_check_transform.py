"""The public suite sees transforms that look ahead, know the price level, or depend on who else is in the batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from moola.features import Causality
from moola.features.candles import OHLC
from moola.features.scaled import Scaled, Scaling
from moola.testing import check_transform


@dataclass(frozen=True)
class Close:
    """A well-behaved transform of the close, to spoil: its log return."""

    causality: ClassVar[Causality] = "bar"
    scale_invariant: ClassVar[bool] = True
    memory_bars: ClassVar[int | None] = 2

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        return ("close",)

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        return (0,)

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        close = bars[..., [channels.index("close")]]
        return self.of_close(close.contiguous().double()).to(bars.dtype)

    def of_close(self, close: Tensor) -> Tensor:
        return torch.diff(close.log(), dim=1, prepend=close[:, :1].log())


@dataclass(frozen=True)
class FutureReturn(Close):
    """The return of the next bar, shifted by one by mistake."""

    def of_close(self, close: Tensor) -> Tensor:
        return torch.diff(close.log(), dim=1, append=close[:, -1:].log())


@dataclass(frozen=True)
class CentredScore(Close):
    """A z-score over the whole window that says it looks back only."""

    def of_close(self, close: Tensor) -> Tensor:
        return (close - close.mean(dim=1, keepdim=True)) / (close.std(dim=1, keepdim=True, correction=0) + 1e-8)


@dataclass(frozen=True)
class BackFilled(Close):
    """Right everywhere but at the first bar, which is filled from the second."""

    def of_close(self, close: Tensor) -> Tensor:
        returns = super().of_close(close)
        returns[:, :1] = returns[:, 1:2] if close.shape[1] > 1 else 0.0
        return returns


@dataclass(frozen=True)
class RawPrice(Close):
    """Prices as they are, said to be scale invariant."""

    def of_close(self, close: Tensor) -> Tensor:
        return close


@dataclass(frozen=True)
class LogPrice(Close):
    """A constant off for each market."""

    def of_close(self, close: Tensor) -> Tensor:
        return close.log()


@dataclass(frozen=True)
class BatchNormed(Close):
    """Divides by the spread of the whole batch."""

    causality: ClassVar[Causality] = "window"
    memory_bars: ClassVar[int | None] = None

    def of_close(self, close: Tensor) -> Tensor:
        return super().of_close(close) / (super().of_close(close).abs().amax() + 1e-8)


@dataclass(frozen=True)
class Forgetful(Close):
    """Remembers more bars than it says."""

    def of_close(self, close: Tensor) -> Tensor:
        return (close / close[:, :1]).log()


@dataclass(frozen=True)
class RunningSum(Close):
    """A rolling mean as a difference of running sums: right, but for the rounding of all that came before."""

    memory_bars: ClassVar[int | None] = 4

    def of_close(self, close: Tensor) -> Tensor:
        total = super().of_close(close).cumsum(dim=1)
        return total - torch.nn.functional.pad(total, (0, 0, 4, 0))[:, : total.shape[1]]


@dataclass(frozen=True)
class Vanishing(Close):
    """Divides by a range that may be nothing."""

    def of_close(self, close: Tensor) -> Tensor:
        returns = super().of_close(close)
        return returns / returns


@dataclass(frozen=True)
class Doubled(Close):
    """Gives float64 whatever it gets."""

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        return super().apply(bars, channels).double()


@dataclass(frozen=True)
class InPlace(Close):
    """Writes to the bars."""

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        bars.mul_(1.0).add_(1.0)
        return super().apply(bars, channels)


@dataclass(frozen=True)
class LayoutBound(Close):
    """Sums in whatever order the memory layout suggests."""

    causality: ClassVar[Causality] = "window"
    memory_bars: ClassVar[int | None] = None

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        close = bars[..., channels.index("close")]
        return (close / close.mean(dim=1, keepdim=True))[..., None]


@dataclass(frozen=True)
class TwoNames(Close):
    """Announces more than it gives."""

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        return ("close", "other")


@dataclass(frozen=True)
class LastPortion(Scaled):
    """Fitted on whatever portion comes last."""

    def fit(self, portions: Iterable[Tensor], channels: tuple[str, ...]) -> Scaling:
        return super().fit(list(portions)[-1:], channels)


def test_a_good_transform_passes() -> None:
    check_transform(Close(), OHLC)


@pytest.mark.parametrize(
    ("transform", "says"),
    [
        (FutureReturn(), "looks ahead"),
        (CentredScore(), "looks ahead"),
        (BackFilled(), "looks ahead"),
        (RawPrice(), "scale_invariant"),
        (LogPrice(), "scale_invariant"),
        (BatchNormed(), "other windows of the batch"),
        (Forgetful(), "remembers more than memory_bars=2"),
        (RunningSum(), "remembers more than memory_bars=4"),
        (Vanishing(), "NaN or infinity"),
        (Doubled(), "torch.float64 outputs"),
        (InPlace(), "writes to the bars"),
        (LayoutBound(), "memory layout"),
        (TwoNames(), "2 names"),
        (LastPortion(Close()), "portioned"),
        (Scaled(Close()), "is not registered"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_bad_one_is_refused_for_what_is_wrong_with_it(transform: Close, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_transform(transform, OHLC)
