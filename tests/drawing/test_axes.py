"""Ticks, labels and figures read as a person would write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.drawing import duration, figure, interval, p_value
from moola.drawing.axes import bounds, tick_labels, ticks
from moola.drawing.svg import fitted

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-1.2, 1.3, ["−1.0", "−0.5", "0.0", "0.5", "1.0"]),
        (57_010.0, 61_300.0, ["58\u2009000", "59\u2009000", "60\u2009000", "61\u2009000"]),
        (10_000_001.0, 10_000_009.0, [f"10\u2009000\u200900{i}" for i in (2, 4, 6, 8)]),
    ],
)
def test_ticks_are_round(low: float, high: float, labels: list[str]) -> None:
    assert tick_labels(ticks(low, high)) == labels


@given(FINITE, FINITE)
def test_ticks_lie_inside_and_have_distinct_labels(a: float, b: float) -> None:
    low, high = bounds([a, b])
    assert low < high
    found = ticks(low, high)
    room = (high / 2 - low / 2) * 1e-6
    assert 1 <= len(found) <= 12
    assert all(low - room <= value <= high + room for value in found)
    assert len(set(tick_labels(found))) == len(found)


def test_whole_ticks_never_fall_between_epochs() -> None:
    assert ticks(0, 2, 6, whole=True) == [0, 1, 2]


def test_figures_have_a_true_minus_and_three_decimals() -> None:
    assert [figure(value) for value in (0.61249, -0.034, math.nan, None)] == ["0.612", "−0.034", "–", "–"]
    assert figure(0.034, signed=True) == "+0.034"
    assert [figure(value) for value in (9.8765, 45.2, -382.513, 3825.13, 38251.3)] == [
        "9.877",
        "45.20",
        "−382.5",
        "3825",
        "38251",
    ]
    assert figure(45.2, 1) == "45.2"
    assert figure(-0.0001, signed=True) == "0.000"
    assert interval(-0.02, 0.1, signed=True) == "[−0.020, +0.100]"
    assert interval(math.nan, 0.1) == "no interval"


def test_a_p_value_is_never_nought() -> None:
    assert [p_value(p) for p in (0.0, 0.0007, 0.001, 0.0123, 1.0)] == ["< 0.001", "< 0.001", "0.001", "0.012", "1.000"]
    assert p_value(math.nan) == p_value(None) == "–"


def test_durations_choose_their_unit() -> None:
    assert [duration(s) for s in (0, 0.004, 0.44, 59.97, 134, 3721)] == [
        "0.0 s",
        "4 ms",
        "0.4 s",
        "1 min 00 s",
        "2 min 14 s",
        "1 h 02 min",
    ]


def test_a_name_that_does_not_fit_is_cut() -> None:
    assert fitted("context", 100) == "context"
    assert fitted("context", 30) == "con…"
    assert fitted("context", 4) == ""
