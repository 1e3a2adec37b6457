"""Where in the day and in the week a bar lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moola.data.channel_names import CLOCK_CHANNELS
from moola.errors import DataError
from moola.features import Causality


@dataclass(frozen=True)
class TimeOfDay:
    """Sine and cosine of the phase of the day and of the week, so that midnight and Sunday night have no edge.

    The phase of the day is ``minute / 1440``, that of the week ``(day + minute / 1440) / 7``, in the local time that
    the bars were ingested with (daylight-saving time is in it).
    """

    causality: ClassVar[Causality] = "bar"
    scale_invariant: ClassVar[bool] = True
    memory_bars: ClassVar[int] = 1

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """``day_sin``, ``day_cos``, ``week_sin``, ``week_cos``."""
        _clock_columns(channels)
        return ("day_sin", "day_cos", "week_sin", "week_cos")

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, 4]; computed in float64."""
        minute, day = bars[..., _clock_columns(channels)].double().unbind(-1)
        of_day = minute / 1440
        angles = [2 * math.pi * phase for phase in (of_day, (day + of_day) / 7)]
        return torch.stack([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=-1).to(bars.dtype)

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """The phase of the day."""
        return (0, 1)


def _clock_columns(channels: tuple[str, ...]) -> list[int]:
    missing = [name for name in CLOCK_CHANNELS if name not in channels]
    if missing:
        raise DataError(
            "transform=time_of_day needs the local time of each bar",
            f"the data has no channel {', '.join(missing)}; it has {', '.join(channels)}",
            "let the ingest add them: data.clock_timezone=America/New_York (the market's own)",
        )
    return [channels.index(name) for name in CLOCK_CHANNELS]
