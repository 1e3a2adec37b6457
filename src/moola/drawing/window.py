"""A window of any kind: candles where the channels are OHLC, lines for all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from moola.drawing.candles import draw_candles
from moola.drawing.lines import draw_lines
from moola.drawing.spans import Mark, Span, checked

OHLC = ("open", "high", "low", "close")


def draw_window(
    bars: ArrayLike,
    channels: Sequence[str],
    *,
    title: str,
    spans: Sequence[Span] = (),
    highlight: ArrayLike | None = None,
    overlay: ArrayLike | None = None,
    marks: Sequence[Mark] = (),
    width: float = 640,
) -> str:
    """Candles where open, high, low and close are among the channels, and a pane for each other channel.

    Args:
        bars: [T, C].
        channels: C names.
        title: what the picture shows, for screen readers.
        spans: stretches to shade.
        highlight: bool [T], the masked bars.
        overlay: [T, C] a reconstruction on top; NaN where there is none.
        marks: vertical lines.
        width: of the viewBox.

    Returns:
        SVG; two pictures one after the other when there are both candles and other channels.

    Raises:
        DataError: an array has another shape, or a span lies outside the window.
    """
    table = checked("bars", bars, (None, len(channels) or None))
    other = None if overlay is None else checked("overlay", overlay, table.shape)
    names = [name.lower() for name in channels]
    prices = [names.index(name) for name in OHLC] if set(OHLC) <= set(names) else []
    rest = [c for c in range(len(names)) if c not in prices]
    svg = ""
    if prices:
        svg += draw_candles(
            table[:, prices],
            title=title,
            spans=spans,
            highlight=highlight,
            overlay=None if other is None else other[:, prices],
            marks=marks,
            width=width,
            height=width * 0.46,
        )
    if rest or not prices:
        svg += draw_lines(
            table[:, rest],
            [channels[c] for c in rest],
            title=f"{title}, other channels" if prices else title,
            spans=spans,
            highlight=highlight,
            overlay=None if other is None else np.asarray(other[:, rest]),
            marks=marks,
            width=width,
        )
    return svg
