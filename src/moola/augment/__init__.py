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
        built = build_all(
            *(
                functools.partial(AUGMENTATIONS.build_section, one, f"augment.{use}[{number}]")
                for use, sections in vars(lists).items()
                for number, one in enumerate(sections)
            )
        )
        return cls(tuple(built[: len(lists.pretrain)]), tuple(built[len(lists.pretrain) :]))


@dataclass(frozen=True)
class _Lists:
    pretrain: tuple[dict[str, Any], ...] = ()
    finetune: tuple[dict[str, Any], ...] = ()


def chain(augmentations: Sequence[Augmentation], channels: tuple[str, ...]) -> Callable[[Tensor, Draws], Tensor] | None:
    """All of them in turn, as `moola.data.device_batches.DeviceBatches` takes it; None where there is none."""
    if not augmentations:
        return None

    def augment(bars: Tensor, draws: Draws) -> Tensor:
        for augmentation in augmentations:
            bars = augmentation.apply(bars, channels, draws)
        return bars

    return augment
