"""A window of open, high, low, close as candles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moola.drawing.axes import Frame, Scale, bounds, left_margin, no_data, ticks, x_axis, y_axis
from moola.drawing.spans import (
    Mark,
    Span,
    check_spans,
    checked,
    checked_mask,
    mark_lines,
    shading,
    span_labels,
)
from moola.drawing.svg import number, path, picture


def draw_candles(
    bars: ArrayLike,
    *,
    title: str,
    spans: Sequence[Span] = (),
    highlight: ArrayLike | None = None,
    overlay: ArrayLike | None = None,
    marks: Sequence[Mark] = (),
    width: float = 640,
    height: float = 240,
) -> str:
    """A candle for each bar, as SVG.

    Args:
        bars: [T, 4] open, high, low, close; a bar with a value that is not finite is left out.
        title: what the picture shows, for screen readers.
        spans: stretches to shade, with their names above.
        highlight: bool [T], the masked bars; with an overlay their own candles are drawn pale.
        overlay: [T, 4] other candles on top, such as a reconstruction; NaN where there is none.
        marks: vertical lines.
        width: of the viewBox.
        height: of the viewBox.

    Raises:
        DataError: an array has another shape, or a span lies outside the window.
    """
    table = checked("bars", bars, (None, 4))
    other = np.full_like(table, np.nan) if overlay is None else checked("overlay", overlay, (len(table), 4))
    mask = checked_mask(highlight, len(table))
    check_spans(spans, len(table))
    low, high = bounds(np.concatenate([table, other]), margin=0.04)
    levels = ticks(low, high, 4)
    top = 18 if any(span.label for span in spans) else 6
    frame = Frame(Scale(-0.5, len(table) - 0.5, left_margin(levels), width - 8), Scale(low, high, height - 20, top))
    pale = mask & (overlay is not None)
    parts = [
        *shading(frame, spans, mask),
        *y_axis(frame, levels),
        *span_labels(frame, spans),
        *candle_paths(frame, np.where(pale[:, None], table, np.nan), " pale"),
        *candle_paths(frame, np.where(pale[:, None], np.nan, table)),
        *_group(frame, other, "overlay", 0.46),
        *mark_lines(frame, marks),
        *x_axis(frame, ticks(0, len(table) - 1, 6, whole=True) if len(table) > 1 else [0.0]),
    ]
    return picture(width, height, title, parts if _whole(table).any() else [*parts, no_data(frame)], "candles")


def _whole(bars: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(bars).all(axis=1))


def candle_paths(frame: Frame, bars: NDArray[np.float64], suffix: str = "") -> list[str]:
    """Candles [T, 4] as four paths, rising and falling; `suffix` is added to their CSS classes."""
    up = bars[:, 3] >= bars[:, 0]
    parts: list[str] = []
    for css, wanted in (("up", up), ("down", ~up)):
        parts += _group(frame, np.where(wanted[:, None], bars, np.nan), css + suffix, 0.68)
    return parts


def _group(frame: Frame, bars: NDArray[np.float64], css: str, share: float) -> list[str]:
    """All candles of one colour as two paths, wicks and bodies: a tenth of the size of an element a bar."""
    slot = (frame.right - frame.left) / len(bars)
    half = min(slot * share, 14) / 2
    wicks, bodies = [], []
    shown = np.flatnonzero(_whole(bars))
    across, levels = frame.x.many(shown).tolist(), frame.y.many(bars[shown]).tolist()
    for x, (opened, *others, closed) in zip(across, levels, strict=True):
        top, bottom = _at_least_a_pixel(min(opened, closed), max(opened, closed))
        wicks.append(f"M{number(x)} {number(min(opened, closed, *others))}V{number(max(opened, closed, *others))}")
        bodies.append(f"M{number(x - half)} {number(top)}H{number(x + half)}V{number(bottom)}H{number(x - half)}Z")
    return [path("".join(wicks), f"wick {css}"), path("".join(bodies), f"body {css}")]


def _at_least_a_pixel(top: float, bottom: float) -> tuple[float, float]:
    """A bar that closes where it opened is still a line one can see."""
    room = max(0.0, 1.0 - (bottom - top)) / 2
    return top - room, bottom + room
