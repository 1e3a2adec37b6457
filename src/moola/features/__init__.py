"""Transforms from bars to model inputs, and the simple features that every comparison stands beside.

A transform says of itself what `moola.testing.check_transform` then checks: how far it looks (`causality`), how long it
remembers (`memory_bars`), and whether it knows the level of prices (`scale_invariant`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

from moola.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Causality = Literal["bar", "window"]
"""``bar``: output t depends on bars 0..t alone. ``window``: on all bars given, so it is causal for a prediction made at
the last of them and for none before."""


class Transform(Protocol):
    """Bars in, model inputs out, on the device that holds the bars; never looks past the bars it is given.

    The outputs of a window are the same bits alone or in a batch, in any memory layout, on any number of threads.
    Legend: B windows, T bars, C source channels, D outputs.
    """

    @property
    def causality(self) -> Causality:
        """How far it looks."""
        ...

    @property
    def scale_invariant(self) -> bool:
        """Whether prices times a constant give the same outputs."""
        ...

    @property
    def memory_bars(self) -> int | None:
        """Output t depends on the last so many bars, bar t among them; None: on all that came before."""
        ...

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the D outputs, each once.

        Raises:
            DataError: the source lacks a channel this transform needs.
        """
        ...

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """float32 [B, T, C] -> [B, T, D], for any T from 1."""
        ...

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """Output numbers that hold a level over time, for the simple features."""
        ...


@runtime_checkable
class Fittable(Protocol):
    """A transform whose numbers come from training windows; `Transform.apply` raises DataError before it is fitted."""

    def fit(self, portions: Iterable[Tensor], channels: tuple[str, ...]) -> Transform:
        """The fitted transform: a frozen dataclass that holds its numbers and describes itself in JSON.

        Args:
            portions: training windows, float32 [n, T, C] each; nothing else may be looked at.
            channels: names of the C channels.

        Raises:
            DataError: there is nothing to fit on.
        """
        ...


@runtime_checkable
class Restorable(Protocol):
    """A transform of candles that can be undone, so that reconstructions are shown as candles."""

    def restore(self, outputs: Tensor, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """Candles [B, T, 4] from outputs [B, T, D], given the bars [B, T, C] that set level and unit."""
        ...


TRANSFORMS: Registry[Transform] = Registry(
    "transform",
    {
        "anchored": "moola.features.anchored:Anchored",
        "combined": "moola.features.combined:Combined",
        "differences": "moola.features.differences:Differences",
        "log_returns": "moola.features.log_returns:LogReturns",
        "relative": "moola.features.relative:RelativeTransform",
        "scaled": "moola.features.scaled:Scaled",
        "scaling": "moola.features.scaled:Scaling",
        "source_channels": "moola.features.source_channels:SourceChannels",
        "standardised": "moola.features.standardised:Standardised",
        "time_of_day": "moola.features.time_of_day:TimeOfDay",
        "volatility": "moola.features.volatility:Volatility",
        "volume": "moola.features.volume:Volume",
    },
)


def build_part(part: Any, path: str) -> Transform:
    """A transform inside another: built from its section (``{name: relative, window_bars: 30}``), or as it is.

    Raises:
        ConfigError: the section names no transform, or has wrong keys; `path` says where it stands.
    """
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return cast("Transform", part)
    return TRANSFORMS.build_section(cast("Mapping[str, Any]", part), path)
