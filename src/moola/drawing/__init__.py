"""SVG as text: candles, lines and charts, shared by every page moola makes."""

from __future__ import annotations

from moola.drawing.bars import draw_bars
from moola.drawing.candles import draw_candles
from moola.drawing.chart import Chart, draw_chart
from moola.drawing.confusion import draw_confusion
from moola.drawing.critical_difference import draw_critical_difference
from moola.drawing.curves import Curve, Reference, draw_curves
from moola.drawing.file import svg_file
from moola.drawing.intervals import IntervalRow, draw_intervals
from moola.drawing.lines import draw_lines
from moola.drawing.numbers import duration, figure, interval, p_value
from moola.drawing.parallel_coordinates import Axis, draw_parallel_coordinates
from moola.drawing.raster import png_file
from moola.drawing.reliability import draw_reliability
from moola.drawing.scatter import draw_scatter
from moola.drawing.spans import Mark, Span
from moola.drawing.theme import STYLESHEET
from moola.drawing.timeline import TimeSpan, Trace, draw_timeline
from moola.drawing.window import OHLC, draw_window

__all__ = [
    "OHLC",
    "STYLESHEET",
    "Axis",
    "Chart",
    "Curve",
    "IntervalRow",
    "Mark",
    "Reference",
    "Span",
    "TimeSpan",
    "Trace",
    "draw_bars",
    "draw_candles",
    "draw_chart",
    "draw_confusion",
    "draw_critical_difference",
    "draw_curves",
    "draw_intervals",
    "draw_lines",
    "draw_parallel_coordinates",
    "draw_reliability",
    "draw_scatter",
    "draw_timeline",
    "draw_window",
    "duration",
    "figure",
    "interval",
    "p_value",
    "png_file",
    "svg_file",
]
