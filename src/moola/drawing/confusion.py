"""A confusion matrix: what was there against what was said, each row shaded by its own shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from moola.drawing.svg import element, escape, fitted, picture, text, text_width
from moola.errors import DataError

_MOST_NUMBERS = 12
"""Classes beyond which the cells are too small for numbers."""
_LABEL_ROOM = 150.0
_STEPS = 10


def draw_confusion(counts: ArrayLike, names: Sequence[str], *, title: str, width: float = 510) -> str:
    """Cells with their counts and shares of the row, as SVG; the diagonal is right.

    Args:
        counts: [K, K] windows of class i (row) that were taken for class j; means over seeds may be fractions.
        names: of the classes.
        title: what the picture shows, for screen readers.
        width: of the viewBox.

    Raises:
        DataError: counts are not one row and column a class, or not finite and at least 0.
    """
    table, n = np.asarray(counts, dtype=np.float64), len(names)
    if table.shape != (n, n) or not np.isfinite(table).all() or (table < 0).any():
        raise DataError("a confusion matrix cannot be drawn", f"it is {table.tolist()}, wanted [{n}, {n}] counts")
    left = 24 + min(max((text_width(name) for name in names), default=0), _LABEL_ROOM)
    side = min((width - left - 4) / max(n, 1), 110.0)
    high = min(side, 58.0)
    top, rows = 38.0, table.sum(axis=1, keepdims=True)
    shares = np.divide(table, rows, out=np.zeros_like(table), where=rows > 0)
    parts = [text(left, 12, "taken for", "axis-title"), text(4, top - 8, "truth", "axis-title")]
    for place, name in enumerate(names):
        y = top + high * (place + 0.5) + 4
        parts.append(text(left + side * (place + 0.5), top - 8, fitted(name, side - 4), "tick", "middle"))
        parts.append(text(left - 10, y, fitted(name, left - 14), "tick", "end"))
    for i, j in np.ndindex(n, n):
        count, share = float(table[i, j]), float(shares[i, j])
        words = f"{names[i]} taken for {names[j]}: {_count(count)} ({share:.0%})"
        parts.append(_cell(left + side * j, top + high * i, side, high, share, words))
        if n <= _MOST_NUMBERS:
            parts += _numbers(left + side * (j + 0.5), top + high * (i + 0.5), count, share)
    return picture(min(width, left + side * n + 4), top + high * n + 4, title, parts, "confusion")


def _cell(x: float, y: float, side: float, high: float, share: float, words: str) -> str:
    step = round(share * _STEPS)
    content = element("title", escape(words))
    return element("rect", content, x=x, y=y, width=float(side), height=float(high), class_=f"cell step{step}")


def _numbers(x: float, y: float, count: float, share: float) -> list[str]:
    return [text(x, y - 1, _count(count), "figure", "middle"), text(x, y + 13, f"{share:.0%}", "label", "middle")]


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
