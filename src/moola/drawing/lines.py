"""A window that is not OHLC as lines: one pane a channel, each with its own scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moola.drawing.axes import Frame, Scale, bounds, left_margin, no_data, tick_labels, ticks, x_axis, y_axis
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
from moola.drawing.svg import path, picture, text, through
from moola.errors import DataError


def draw_lines(
    values: ArrayLike,
    channels: Sequence[str],
    *,
    title: str,
    spans: Sequence[Span] = (),
    highlight: ArrayLike | None = None,
    overlay: ArrayLike | None = None,
    marks: Sequence[Mark] = (),
    width: float = 640,
    pane_height: float = 88,
) -> str:
    """One pane under the other, a channel each, as SVG.

    Args:
        values: [T, C]; a value that is not finite breaks the line.
        channels: C names.
        title: what the picture shows, for screen readers.
        spans: stretches to shade, with their names above the first pane.
        highlight: bool [T], the masked bars.
        overlay: [T, C] a second line in each pane, such as a reconstruction; NaN where there is none.
        marks: vertical lines through all panes.
        width: of the viewBox.
        pane_height: height of one pane in viewBox units; the picture is as high as its panes.

    Raises:
        DataError: an array has another shape, or a span lies outside the window.
    """
    table = checked("values", values, (None, len(channels) or None))
    if not channels:
        raise DataError("values cannot be drawn", f"no channel is named, but there are {table.shape[1]}")
    other = np.full_like(table, np.nan) if overlay is None else checked("overlay", overlay, table.shape)
    mask = checked_mask(highlight, len(table))
    check_spans(spans, len(table))
    frames, levels = _frames(np.stack([table, other]), width, pane_height, any(span.label for span in spans))
    parts: list[str] = []
    for c, (frame, name) in enumerate(zip(frames, channels, strict=True)):
        parts += [*shading(frame, spans, mask), *y_axis(frame, levels[c])]
        parts += _original(frame, table[:, c], mask & (overlay is not None))
        parts.append(_line(frame, other[:, c], "series overlay"))
        parts += [
            *mark_lines(frame, marks, labelled=c == 0),
            text(frame.left, frame.top - 4, name, "pane-name"),
        ]
        parts += [] if np.isfinite(table[:, c]).any() else [no_data(frame)]
    bars = ticks(0, len(table) - 1, 6, whole=True) if len(table) > 1 else [0.0]
    parts += [*span_labels(frames[0], spans, above=19), *x_axis(frames[-1], bars)]
    return picture(width, frames[-1].bottom + 20, title, parts, "lines")


def _frames(
    stacked: NDArray[np.float64], width: float, pane_height: float, labelled: bool
) -> tuple[list[Frame], list[list[float]]]:
    """A frame and its y ticks for each channel of [2, T, C]; all share one left edge."""
    ranges = [bounds(stacked[:, :, c], margin=0.06) for c in range(stacked.shape[2])]
    levels = [_few(ticks(low, high, 2)) for low, high in ranges]
    left = max(left_margin(values) for values in levels)
    top = 32 if labelled else 18
    frames = [
        Frame(
            Scale(-0.5, stacked.shape[1] - 0.5, left, width - 8),
            Scale(low, high, top + (c + 1) * pane_height - 20, top + c * pane_height),
        )
        for c, (low, high) in enumerate(ranges)
    ]
    return frames, levels


def _few(values: list[float]) -> list[float]:
    """At most three labels, so that a low pane stays readable."""
    kept = values if len(values) <= 3 else [values[0], values[-1]]
    return kept if len(set(tick_labels(kept))) == len(kept) else kept[:1]


def _original(frame: Frame, values: NDArray[np.float64], pale: NDArray[np.bool_]) -> list[str]:
    """The line, pale beneath an overlay: a pale one throughout, and a full one where nothing is hidden."""
    if not pale.any():
        return [_line(frame, values, "series s0")]
    return [_line(frame, values, "series s0 pale"), _line(frame, np.where(pale, np.nan, values), "series s0")]


def _line(frame: Frame, values: NDArray[np.float64], css: str) -> str:
    return path(through(frame.x.many(np.arange(len(values))), frame.y.many(values)), css)
