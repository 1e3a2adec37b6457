"""Values over the calendar: one pane a trace, a common axis of dates, pauses left open, stretches of time shaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moola.drawing.axes import Frame, Scale, bounds, left_margin, no_data, ticks, y_axis
from moola.drawing.spans import SpanKind
from moola.drawing.svg import fitted, line, path, picture, rect, text, text_width, through
from moola.errors import DataError

_PANE = 120.0
_MOST_TICKS = 8
_STEPS = (
    *(("m", count) for count in (1, 5, 15, 30)),
    *(("h", count) for count in (1, 3, 6, 12)),
    *(("D", count) for count in (1, 2, 7, 14)),
    *(("M", count) for count in (1, 3, 6)),
    *(("Y", count) for count in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
)


@dataclass(frozen=True, eq=False)
class Trace:
    """A value over time.

    Attributes:
        name: shown above its pane.
        seconds: [N] since 1970 UTC, ascending.
        low: [N] smallest value of each moment; NaN leaves a gap.
        high: [N] largest value of each moment; the same as `low` where a moment is one bar.
    """

    name: str
    seconds: ArrayLike
    low: ArrayLike
    high: ArrayLike


@dataclass(frozen=True)
class TimeSpan:
    """A stretch of time to shade, in seconds since 1970 UTC, and the words above it."""

    start_s: float
    stop_s: float
    label: str
    kind: SpanKind = "context"


def draw_timeline(traces: Sequence[Trace], *, title: str, spans: Sequence[TimeSpan] = (), width: float = 1036) -> str:
    """Panes under one another, as SVG.

    Args:
        traces: what to draw; the caller thins long ones to what a screen shows.
        title: what the picture shows, for screen readers.
        spans: shaded behind every pane, and named above the first.
        width: of the viewBox.

    Raises:
        DataError: a trace's arrays are not of one length.
    """
    data = [_checked(trace) for trace in traces]
    times = bounds(np.concatenate([seconds for seconds, _, _ in data]) if data else np.empty(0))
    levels = [ticks(*bounds(np.concatenate([low, high]), margin=0.05), count=4) for _, low, high in data]
    left = max((left_margin(values) for values in levels), default=20.0)
    parts: list[str] = []
    bottom = 16.0 if spans else 0.0
    frame = Frame(Scale(*times, left, width - 12), Scale(0, 1, bottom + _PANE, bottom))
    for trace, (seconds, low, high), values in zip(traces, data, levels, strict=True):
        frame = Frame(
            frame.x, Scale(*bounds(np.concatenate([low, high]), margin=0.05), bottom + 18 + _PANE, bottom + 18)
        )
        parts += [*_shaded(frame, spans), *y_axis(frame, values), text(left, bottom + 12, trace.name, "pane-name")]
        parts += [_path(frame, seconds, low, high), line(frame.left, frame.bottom, frame.right, frame.bottom, "base")]
        parts += [] if np.isfinite(low).any() else [no_data(frame)]
        bottom = frame.bottom + 12
    parts += [*_names(frame, spans), *_dates(frame)]
    return picture(width, frame.bottom + 22, title, parts, "timeline")


def _checked(trace: Trace) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    arrays = [np.asarray(part, dtype=np.float64) for part in (trace.seconds, trace.low, trace.high)]
    if any(array.ndim != 1 or array.shape != arrays[0].shape for array in arrays):
        shapes = ", ".join(str(list(array.shape)) for array in arrays)
        raise DataError(f"trace {trace.name!r} cannot be drawn", f"its arrays have shapes {shapes}, wanted [N]")
    return arrays[0], arrays[1], arrays[2]


def _path(frame: Frame, seconds: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> str:
    """One line down and up through every moment, so that no spike is lost."""
    x = np.repeat(frame.x.many(seconds), 2)
    y = np.stack([frame.y.many(low), frame.y.many(high)], axis=1)
    y[1::2] = y[1::2, ::-1].copy()  # low, high, high, low: fewer strokes across
    return path(through(x, y.ravel()), "series s0")


def _shaded(frame: Frame, spans: Sequence[TimeSpan]) -> list[str]:
    return [
        rect(frame.x(span.start_s), frame.top, frame.x(span.stop_s), frame.bottom, f"span {span.kind}")
        for span in spans
    ]


def _names(frame: Frame, spans: Sequence[TimeSpan]) -> list[str]:
    """Names on the line above the first pane, each from where its span begins as far as the next name leaves room."""
    shown = sorted(spans, key=lambda span: span.start_s)
    edge = frame.right + 12
    places = [min(frame.x(span.start_s), edge - text_width(span.label)) for span in shown]
    return [
        text(x, 12, fitted(span.label, beyond - x - (8 if beyond < edge else -1)), "span-label")
        for span, x, beyond in zip(shown, places, [*places[1:], edge], strict=False)
    ]


def _dates(frame: Frame) -> list[str]:
    """Strokes and dates at whole minutes, hours, days, months or years: the finest that leaves room."""
    parts: list[str] = []
    free = frame.left - 30
    for value, label in _date_ticks(frame.x.low, frame.x.high):
        x, half = frame.x(value), text_width(label) / 2
        parts.append(line(x, frame.bottom, x, frame.bottom + 3, "base"))
        if x - half >= free and x + half <= frame.right + 12:
            parts.append(text(x, frame.bottom + 14, label, "tick", "middle"))
            free = x + half + 4
    return parts


def _date_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Seconds since 1970 and label of each tick in [low, high]."""
    first, last = (np.datetime64(int(np.clip(value, -6e10, 2e11)), "s") for value in (low, high))
    for unit, count in _STEPS:
        origin = 1970 if unit == "Y" else 0  # years are round in our count, not in that since 1970
        begin, end = (int(edge.astype(f"M8[{unit}]").astype(int)) + origin for edge in (first, last))
        if (end - begin) // count > _MOST_TICKS:
            continue
        moments = (np.arange(-(-begin // count) * count, end + 1, count) - origin).astype(f"M8[{unit}]")
        seconds = moments.astype("M8[s]").astype(np.int64)
        kept = [(float(at), moment) for at, moment in zip(seconds, moments, strict=True) if low <= at <= high]
        label = "M8[m]" if unit == "h" else f"M8[{unit}]"
        return [(at, str(moment.astype(label)).replace("T", " ")) for at, moment in kept]
    return []
