"""Changes to bars that leave them bars: one file each, on the device, seeded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from moola.config import build_all, structure
from moola.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from moola.data.draws import Draws


class Augmentation(Protocol):
    """Bars in, changed bars out. Candles stay candles (high the highest, low the lowest, all positive); time goes on.

    What `moola.testing.check_augment` checks. Legend: B windows, T bars, C channels.
    """

    def apply(self, bars: Tensor, channels: tuple[str, ...], draws: Draws) -> Tensor:
        """float32 [B, T, C] -> the same shape; a window's change depends on its own bars and draws alone."""
        ...


@runtime_checkable
class MovesTime(Augmentation, Protocol):
    """An augmentation under which time goes faster and slower, and never back: it says where each bar comes from."""

    def positions(self, n_bars: int, draws: Draws) -> Tensor:
        """Places among the old bars, float32 [B, n_bars]: from 0 to n_bars - 1, never decreasing.

        `apply` takes the same numbers from the same draws.
        """
        ...


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation",
    {
        "bar_dropout": "moola.augment.bar_dropout:BarDropout",
        "channel_dropout": "moola.augment.channel_dropout:ChannelDropout",
        "jitter": "moola.augment.jitter:Jitter",
        "permutation": "moola.augment.permutation:Permutation",
        "scaling": "moola.augment.scaling:Scaling",
        "time_warp": "moola.augment.time_warp:TimeWarp",
        "volatility": "moola.augment.volatility:Volatility",
    },
)


@dataclass(frozen=True)
class AugmentSection:
    """The section ``augment``: lists of sections, ``[{name: jitter, scale: 0.05}, ...]``, that act in their order.

    Attributes:
        pretrain: on the windows an encoder is pretrained on.
        finetune: on labelled training windows; never on windows that are predicted.
    """

    pretrain: tuple[Augmentation, ...] = ()
    finetune: tuple[Augmentation, ...] = ()

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> AugmentSection:
        """Check the whole section.

        Raises:
            ConfigError: every problem of both lists in one go.
        """
        lists = structure(_Lists, section, "augment")
        built = (functools.partial(build_augmentations, found, f"augment.{use}") for use, found in vars(lists).items())
        return cls(*build_all(*built))


@dataclass(frozen=True)
class _Lists:
    pretrain: tuple[dict[str, Any], ...] = ()
    finetune: tuple[dict[str, Any], ...] = ()


def build_augmentations(given: Sequence[Augmentation | Mapping[str, Any]], name: str) -> tuple[Augmentation, ...]:
    """Augmentations of sections ``{name: jitter, ...}``; what is built already stays as it is.

    Raises:
        ConfigError: the problems of every section, each with its place in the list `name`.
    """
    return tuple(build_all(*(functools.partial(_build, one, f"{name}[{number}]") for number, one in enumerate(given))))


def _build(section: Augmentation | Mapping[str, Any], place: str) -> Augmentation:
    return AUGMENTATIONS.build_section(section, place) if isinstance(section, Mapping) else section


def chain(augmentations: Sequence[Augmentation], channels: tuple[str, ...]) -> Callable[[Tensor, Draws], Tensor] | None:
    """All of them in turn, as `moola.data.device_batches.DeviceBatches` takes it; None where there is none."""
    if not augmentations:
        return None

    def augment(bars: Tensor, draws: Draws) -> Tensor:
        for augmentation in augmentations:
            bars = augmentation.apply(bars, channels, draws)
        return bars

    return augment
