"""Figures and their intervals as a dot plot: one row a model, and a line for what must be beaten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from moola.drawing.axes import Frame, Scale, bounds, no_data, ticks, x_axis
from moola.drawing.curves import Reference
from moola.drawing.numbers import figure, interval
from moola.drawing.svg import element, fitted, line, path, picture, text, text_width

Kind = Literal["model", "baseline", "control", "stack"]
_ROW = 26.0
_LONGEST_LABEL = 230.0


@dataclass(frozen=True)
class IntervalRow:
    """One row.

    Attributes:
        label: the model's name.
        value: its figure; a row whose figure is not finite says so.
        low: lower end of the interval; not finite for none.
        high: upper end.
        kind: chooses shape and colour: disc for a model, grey disc for a baseline, ring for a control, diamond for a
            stack.
        alarmed: draw a warning beside the name.
    """

    label: str
    value: float
    low: float
    high: float
    kind: Kind
    alarmed: bool = False


def draw_intervals(
    rows: Sequence[IntervalRow],
    *,
    title: str,
    x_label: str = "",
    reference: Reference | None = None,
    width: float = 760,
) -> str:
    """A dot and its interval for each row, from top to bottom in the order given, as SVG.

    Args:
        rows: what to draw.
        title: what the picture shows, for screen readers.
        x_label: under the axis.
        reference: a vertical line, such as the majority class's accuracy.
        width: of the viewBox; the height follows from the rows.
    """
    known = reference if reference is not None and math.isfinite(reference.value) else None
    values = [value for row in rows for value in (row.value, row.low, row.high)]
    low, high = bounds(values + ([known.value] if known else []), margin=0.04)
    names = [("⚠ " if row.alarmed else "") + row.label for row in rows]
    left = 16 + min(max((text_width(name) for name in names), default=60), _LONGEST_LABEL)
    top = 24.0 if known else 8.0
    bottom = top + _ROW * max(len(rows), 1)
    frame = Frame(Scale(low, high, left, width - 150), Scale(0, 1, bottom, top))
    levels = ticks(low, high, 6)
    parts = [line(frame.x(level), top, frame.x(level), bottom, "grid") for level in levels]
    parts += x_axis(frame, levels, x_label)
    parts += [] if known is None else _reference(frame, known)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        parts += _row(frame, row, name, top + _ROW * (i + 0.5), width)
    parts += [] if rows else [no_data(frame)]
    return picture(width, bottom + 34, title, parts, "intervals")


def _reference(frame: Frame, reference: Reference) -> list[str]:
    x, words = frame.x(reference.value), f"{reference.name}: {figure(reference.value)}"
    late = x > (frame.left + frame.right) / 2
    return [
        line(x, frame.top - 4, x, frame.bottom, "reference"),
        text(x, frame.top - 9, words, "reference-label", "end" if late else "start"),
    ]


def _row(frame: Frame, row: IntervalRow, name: str, y: float, width: float) -> list[str]:
    css = f"row {row.kind}" + (" alarmed" if row.alarmed else "")
    label = text(frame.left - 12, y + 4, fitted(name, frame.left - 12), css, "end")
    if not math.isfinite(row.value):
        return [label, text(width - 140, y + 4, "no figure", "tick")]
    parts = [label]
    if math.isfinite(row.low) and math.isfinite(row.high):
        parts.append(line(frame.x(row.low), y, frame.x(row.high), y, f"whisker {row.kind}"))
    parts.append(_symbol(frame.x(row.value), y, row.kind))
    parts.append(text(width - 140, y + 4, figure(row.value), "figure"))
    parts.append(text(width - 102, y + 4, interval(row.low, row.high), "tick"))
    return parts


def _symbol(x: float, y: float, kind: Kind) -> str:
    """Shapes differ as well as colours, for eyes and printers that see no colour."""
    if kind == "stack":
        return path(
            f"M{x:.1f} {y - 6:.1f}L{x + 6:.1f} {y:.1f}L{x:.1f} {y + 6:.1f}L{x - 6:.1f} {y:.1f}Z",
            "symbol stack",
        )
    return element("circle", cx=float(x), cy=float(y), r=4.5, class_=f"symbol {kind}")
