"""A window as a chart to decide on: panes that share one axis of time, large enough to read a single bar.

Where `moola.drawing.draw_window` shows many windows on a page, this shows one: candles, volume as columns and other
channels as lines, one under the other. Nothing of the bars that are held back reaches the picture, its scales included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moola.drawing.axes import Frame, Scale, bounds, left_margin, ticks, y_axis
from moola.drawing.candles import candle_paths
from moola.drawing.spans import Span, check_spans, checked, runs, shading, span_labels
from moola.drawing.svg import line, number, path, picture, text, through
from moola.drawing.window import OHLC

VOLUME = "volume"
_TOP, _BOTTOM, _GAP, _RIGHT = 20.0, 20.0, 14.0, 12.0
_CANDLES, _COLUMNS, _LINES = 5.0, 1.0, 2.0
"""Shares of the height."""


@dataclass(frozen=True)
class Chart:
    """A drawn window, and where its bars are, for handles that lie on top of it.

    Attributes:
        svg: the picture.
        width: of the viewBox.
        height: of the viewBox.
        left: where the first bar begins, in viewBox units.
        right: where the last bar ends.
        top: upper edge of the first pane.
        bottom: lower edge of the last pane.
        n_bars: T, held-back bars included.
    """

    svg: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    n_bars: int


@dataclass(frozen=True)
class _Pane:
    """Channels that share a scale, and how they are drawn."""

    name: str
    columns: tuple[int, ...]
    share: float


def draw_chart(
    bars: ArrayLike,
    channels: Sequence[str],
    *,
    title: str,
    spans: Sequence[Span] = (),
    times: Sequence[tuple[int, str]] = (),
    shown: int | None = None,
    dimmed_from: int | None = None,
    band: ArrayLike | None = None,
    width: float = 880,
    height: float = 470,
) -> Chart:
    """Draw one window.

    Args:
        bars: [T, C]; a value that is not finite is left out.
        channels: C names; open, high, low and close become candles, ``volume`` columns, others lines.
        title: what the picture shows, for screen readers.
        spans: stretches to shade, with their names above the first pane.
        times: bar and label of each tick of the axis of time.
        shown: bars that are drawn, from the first; the others keep their room. None: all.
        dimmed_from: bar from which everything is drawn pale; None: nothing is.
        band: [T, 2] lower and upper edge of a band on the candles, or on the line of a lone channel; NaN where there
            is none.
        width: of the viewBox.
        height: of the viewBox.

    Raises:
        DataError: an array has another shape, or a span lies outside the window.
    """
    table = checked("bars", bars, (None, len(channels)))
    check_spans(spans, len(table))
    edges = np.full((len(table), 2), np.nan) if band is None else checked("band", band, (len(table), 2))
    known = np.arange(len(table))[:, None] < (len(table) if shown is None else shown)
    table, edges = np.where(known, table, np.nan), np.where(known, edges, np.nan)
    panes = _panes(channels)
    frames, levels = _frames(panes, table, edges, width, height)
    dimmed = len(table) if dimmed_from is None else dimmed_from
    parts: list[str] = []
    for place, (pane, frame) in enumerate(zip(panes, frames, strict=True)):
        parts += [*shading(frame, spans, np.zeros(len(table), dtype=bool)), *y_axis(frame, levels[place])]
        parts += _time_grid(frame, times)
        parts += [_band(frame, edges)] if place == 0 else []
        parts += _drawn(pane, frame, table, dimmed)
        parts += [text(frame.left + 4, frame.top + 11, pane.name, "pane-name")] if pane.name else []
    parts += [*span_labels(frames[0], spans), *_time_axis(frames[-1], times)]
    first, last = frames[0], frames[-1]
    svg = picture(width, height, title, parts, "chart")
    return Chart(svg, width, height, first.left, first.right, first.top, last.bottom, len(table))


def _panes(channels: Sequence[str]) -> list[_Pane]:
    names = [name.lower() for name in channels]
    prices = tuple(names.index(name) for name in OHLC) if set(OHLC) <= set(names) else ()
    rest = [c for c in range(len(names)) if c not in prices]
    panes = [_Pane("", prices, _CANDLES)] if prices else []
    columns = [c for c in rest if prices and names[c] == VOLUME]
    panes += [_Pane(channels[c], (c,), _COLUMNS) for c in columns]
    return panes + [_Pane(channels[c], (c,), _LINES) for c in rest if c not in columns]


def _frames(
    panes: Sequence[_Pane], table: NDArray[np.float64], edges: NDArray[np.float64], width: float, height: float
) -> tuple[list[Frame], list[list[float]]]:
    """A frame and its y ticks for each pane; all share one left edge."""
    ranges: list[tuple[float, float]] = []
    for place, pane in enumerate(panes):
        values = table[:, pane.columns]
        if pane.share == _COLUMNS:
            ranges.append((0.0, bounds(np.append(values.ravel(), 0.0), margin=0.06)[1]))
        else:
            ranges.append(bounds(np.hstack([values, edges]) if place == 0 else values, margin=0.05))
    alone = len(panes) == 1
    levels = [_levels(pane, *edge, alone=alone) for pane, edge in zip(panes, ranges, strict=True)]
    left = max(left_margin(values) for values in levels)
    room = height - _TOP - _BOTTOM - _GAP * (len(panes) - 1)
    frames: list[Frame] = []
    top, total = _TOP, sum(pane.share for pane in panes)
    for pane, (low, high) in zip(panes, ranges, strict=True):
        bottom = top + room * pane.share / total
        across = Scale(-0.5, len(table) - 0.5, left, width - _RIGHT)
        frames.append(Frame(across, Scale(low, high, bottom, top)))
        top = bottom + _GAP
    return frames, levels


def _levels(pane: _Pane, low: float, high: float, *, alone: bool) -> list[float]:
    """The y ticks of a pane: three at least, as one tells no scale, and few where there is little room."""
    if pane.share == _COLUMNS:
        return ticks(low, high, 2)
    counts = range(6 if alone or pane.share == _CANDLES else 2, 7)
    return next((values for count in counts if len(values := ticks(low, high, count)) > 2), [low, high])


def _drawn(pane: _Pane, frame: Frame, table: NDArray[np.float64], dimmed: int) -> list[str]:
    """The bars of a pane; those from `dimmed` on in pale colours."""
    late = np.arange(len(table)) >= dimmed
    parts: list[str] = []
    for chosen, suffix in ((~late, ""), (late, " pale")):
        values = np.where(chosen[:, None], table[:, pane.columns], np.nan)
        if pane.share == _CANDLES:
            parts += candle_paths(frame, values, suffix)
        elif pane.share == _COLUMNS:
            parts.append(path(_columns(frame, values[:, 0]), f"volume{suffix}"))
        else:
            at = frame.x.many(np.arange(len(values)))
            parts.append(path(through(at, frame.y.many(values[:, 0])), f"series s0{suffix}"))
    return parts


def _columns(frame: Frame, values: NDArray[np.float64]) -> str:
    half = min((frame.right - frame.left) / len(values) * 0.68, 14) / 2
    columns = zip(frame.x.many(np.arange(len(values))).tolist(), frame.y.many(values).tolist(), strict=True)
    return "".join(
        f"M{number(x - half)} {number(frame.bottom)}V{number(y)}h{number(2 * half)}V{number(frame.bottom)}Z"
        for x, y in columns
        if np.isfinite(y)
    )


def _band(frame: Frame, edges: NDArray[np.float64]) -> str:
    """The area between both edges; bars without one part it."""
    areas: list[str] = []
    for start, stop in runs(np.asarray(np.isfinite(edges).all(axis=1))):
        at = np.arange(start, stop)
        x = np.concatenate([frame.x.many(at), frame.x.many(at[::-1])])
        y = np.concatenate([frame.y.many(edges[at, 1]), frame.y.many(edges[at[::-1], 0])])
        areas.append(through(x, y) + "Z")
    return path("".join(areas), "band")


def _time_grid(frame: Frame, times: Sequence[tuple[int, str]]) -> list[str]:
    return [line(frame.x(bar), frame.top, frame.x(bar), frame.bottom, "grid") for bar, _ in times]


def _time_axis(frame: Frame, times: Sequence[tuple[int, str]]) -> list[str]:
    parts = [line(frame.left, frame.bottom, frame.right, frame.bottom, "base")]
    return parts + [text(frame.x(bar), frame.bottom + 14, label, "tick", "middle") for bar, label in times]


def draw_thumbnail(
    bars: ArrayLike,
    channels: Sequence[str],
    *,
    title: str,
    zone: tuple[int, int] | None = None,
    width: float = 150,
    height: float = 58,
) -> str:
    """A window in the size of a stamp: candles, or the first channel as a line; no axes.

    Args:
        bars: [T, C]; a value that is not finite is left out.
        channels: C names.
        title: what the picture shows, for screen readers.
        zone: first and past-the-end bar to shade; None: nothing is.
        width: of the viewBox.
        height: of the viewBox.

    Raises:
        DataError: the bars have another shape.
    """
    table = checked("bars", bars, (None, len(channels)))
    pane = _panes(channels)[0]
    across = Scale(-0.5, len(table) - 0.5, 2, width - 2)
    frame = Frame(across, Scale(*bounds(table[:, pane.columns], margin=0.04), height - 3, 3))
    shaded = [Span(*zone, kind="zone")] if zone else []
    check_spans(shaded, len(table))
    parts = [*shading(frame, shaded, np.zeros(len(table), dtype=bool)), *_drawn(pane, frame, table, len(table))]
    return picture(width, height, title, parts, "thumbnail")
