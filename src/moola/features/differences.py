"""Changes of sensor channels from bar to bar; prices are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moola.features import Causality
from moola.features.source_channels import SourceChannels


@dataclass(frozen=True)
class Differences:
    """``x_t - x_{t-1}`` of every channel, in its own unit; 0 at t = 0.

    Beside the channels themselves, inside ``transform=scaled``, they show an encoder of sensors what happens from one
    bar to the next where the level hides it. Prices have ``transform=log_returns``.
    """

    causality: ClassVar[Causality] = "bar"
    scale_invariant: ClassVar[bool] = False
    memory_bars: ClassVar[int] = 2

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """``difference_NAME`` for each of the source's own names.

        Raises:
            DataError: there are prices among them.
        """
        return tuple(f"difference_{name}" for name in SourceChannels().output_channels(channels))

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        self.output_channels(channels)
        return torch.diff(bars, dim=1, prepend=bars[:, :1])

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """Every channel."""
        return tuple(range(len(channels)))
