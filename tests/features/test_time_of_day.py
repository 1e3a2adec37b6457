"""The clock as phases."""

from __future__ import annotations

import math

import pytest
import torch

from moola.errors import DataError
from moola.features.candles import OHLC
from moola.features.time_of_day import TimeOfDay
from moola.testing import check_transform

CHANNELS = (*OHLC, "minute_of_day", "day_of_week")


def phases(minute: int, day: int) -> list[float]:
    bars = torch.tensor([[[1.0, 1.0, 1.0, 1.0, minute, day]]])
    return TimeOfDay().apply(bars, CHANNELS)[0, 0].tolist()


@pytest.mark.parametrize(
    ("minute", "day", "of_day", "of_week"),
    [(0, 0, 0.0, 0.0), (360, 0, 0.25, 0.25 / 7), (720, 3, 0.5, 3.5 / 7), (1080, 6, 0.75, 6.75 / 7)],
)
def test_phases_are_read_off_by_hand(minute: int, day: int, of_day: float, of_week: float) -> None:
    angles = [2 * math.pi * of_day, 2 * math.pi * of_week]
    assert phases(minute, day) == pytest.approx([f(a) for a in angles for f in (math.sin, math.cos)], abs=1e-6)


def test_the_last_minute_of_sunday_is_next_to_the_first_of_monday() -> None:
    assert phases(1439, 6) == pytest.approx(phases(0, 0), abs=0.005)
    assert phases(720, 6) != pytest.approx(phases(720, 0), abs=0.1)


def test_it_keeps_the_transform_suite() -> None:
    check_transform(TimeOfDay(), CHANNELS)


def test_data_without_the_clock_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="no channel minute_of_day, day_of_week") as caught:
        TimeOfDay().output_channels(OHLC)
    assert "data.clock_timezone=" in caught.value.way_out
