"""Transforms from bars to model inputs, and the simple features that every comparison stands beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from moola.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


class Transform(Protocol):
    """Bars in, model inputs out, on the device that holds the bars; never looks past the bars it is given.

    Legend: B windows, T bars, C source channels, D outputs.
    """

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the D outputs.

        Raises:
            DataError: the source lacks a channel this transform needs.
        """
        ...

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """float32 [B, T, C] -> [B, T, D]."""
        ...

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """Output numbers that hold a level over time, for the simple features."""
        ...


TRANSFORMS: Registry[Transform] = Registry(
    "transform",
    {
        "anchored": "moola.features.anchored:Anchored",
        "relative": "moola.features.relative:Relative",
        "standardised": "moola.features.standardised:Standardised",
    },
)
