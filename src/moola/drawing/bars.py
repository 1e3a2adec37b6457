"""Shares as bars, one under the other, the longest first as they are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moola.drawing.axes import Scale
from moola.drawing.numbers import figure
from moola.drawing.svg import fitted, picture, rect, text, text_width
from moola.errors import DataError

_ROW, _MOST_LABEL, _FIGURE = 22.0, 260.0, 48.0


def draw_bars(names: Sequence[str], values: Sequence[float], *, title: str, width: float = 640) -> str:
    """A bar and its figure for each name, as SVG.

    Args:
        names: N of them.
        values: [N], none negative; the axis begins at 0.
        title: what the picture shows, for screen readers.
        width: of the viewBox; the height follows from N.

    Raises:
        DataError: values are missing, negative or not finite.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (len(names),) or not np.isfinite(found).all() or (found < 0).any():
        raise DataError(
            "bars cannot be drawn", f"{len(names)} names have values {list(values)}", "give each one, from 0"
        )
    room = min(_MOST_LABEL, max((text_width(name) for name in names), default=0.0) + 8)
    across = Scale(0, max(float(found.max(initial=0.0)), 1e-12), room, width - _FIGURE)
    parts: list[str] = []
    for row, (name, value) in enumerate(zip(names, found.tolist(), strict=True)):
        y = 6 + row * _ROW
        parts.append(text(room - 8, y + 12, fitted(name, room - 8), "label", "end"))
        parts.append(rect(room, y + 2, across(value), y + _ROW - 5, "dot s0"))
        parts.append(text(across(value) + 6, y + 12, figure(value, 2), "figure"))
    return picture(width, 12 + _ROW * len(names), title, parts, "bars")
