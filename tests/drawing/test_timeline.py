"""Values over the calendar: every bar inside the frame, pauses open, dates that fit the span."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.drawing import TimeSpan, Trace, draw_timeline
from moola.drawing.timeline import _date_ticks
from moola.errors import DataError

DAY = 86_400.0


def trace(n: int = 50, step_s: float = DAY, start_s: float = 1.5e9) -> Trace:
    values = np.sin(np.arange(n))
    return Trace("close", start_s + step_s * np.arange(n), values - 0.1, values + 0.1)


def test_every_trace_has_a_pane_and_pauses_break_the_line() -> None:
    gap = trace()
    low, high = np.array(gap.low), np.array(gap.high)
    low[20:25] = high[20:25] = np.nan
    svg = draw_timeline([Trace("open", gap.seconds, low, high), trace()], title="two")
    assert svg.count('class="pane-name"') == 2
    first = re.findall(r'<path d="([^"]+)"', svg)[0]
    assert first.count("M") == 2


def test_spans_are_shaded_in_every_pane_and_named() -> None:
    svg = draw_timeline([trace(), trace()], title="t", spans=[TimeSpan(1.5e9, 1.5e9 + 20 * DAY, "train <1>", "zone")])
    assert svg.count('class="span zone"') == 2 and "train &lt;1&gt;" in svg


def test_nothing_to_draw_is_said() -> None:
    assert "no data" in draw_timeline([Trace("x", [0.0, 1.0], [np.nan] * 2, [np.nan] * 2)], title="none")
    assert draw_timeline([], title="none").startswith("<svg")


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="'x' cannot be drawn"):
        draw_timeline([Trace("x", [1.0], [1.0, 2.0], [1.0])], title="t")


@given(start=st.floats(-5e10, 1e11), length=st.floats(60, 1e11))
def test_dates_lie_in_the_span_are_few_and_tell_apart(start: float, length: float) -> None:
    shown = _date_ticks(start, start + length)
    assert len(shown) <= 10
    assert len({label for _, label in shown}) == len(shown)
    assert all(start <= at <= start + length for at, _ in shown)


@pytest.mark.parametrize(
    ("length", "label"),
    [
        (600, "2020-01-01 00:05"),
        (DAY, "2020-01-01 03:00"),
        (30 * DAY, "2020-01-09"),
        (400 * DAY, "2020-04"),
        (1e10, "2100"),
    ],
)
def test_the_unit_of_the_dates_follows_the_span(length: float, label: str) -> None:
    start = 1_577_836_800.0  # 2020-01-01
    assert label in [words for _, words in _date_ticks(start, start + length)]
