"""Average ranks of models over data sets, with a bar over those that no test tells apart (Demšar 2006, JMLR 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from moola.drawing.axes import Frame, Scale, no_data
from moola.drawing.svg import element, fitted, line, path, picture, text, text_width
from moola.errors import DataError

_SIDE = 230.0
_MOST_SIDE = 0.35
"""Share of the width that the names on one side may take, where they need more than usual."""
_AXIS, _ROW, _BAR = 34.0, 20.0, 9.0


def draw_critical_difference(
    models: Sequence[str],
    ranks: Sequence[float],
    cliques: Sequence[Sequence[str]],
    *,
    title: str,
    width: float = 760,
) -> str:
    """Models on a line of average ranks, the best on the left, as SVG.

    Args:
        models: names.
        ranks: average rank of each, 1 the best.
        cliques: groups of models that are not told apart, a bar each.
        title: what the picture shows, for screen readers.
        width: of the viewBox; the height follows from the models.

    Raises:
        DataError: a rank is missing, or a group names a model that is not there.
    """
    if len(models) != len(ranks) or not all(1 <= rank <= len(models) for rank in ranks):
        why = f"{len(models)} models have ranks {[float(rank) for rank in ranks]}"
        raise DataError("ranks cannot be drawn", why, "give each model its average rank, 1 to their number")
    if unknown := sorted({name for clique in cliques for name in clique} - set(models)):
        raise DataError("ranks cannot be drawn", f"{', '.join(unknown)} in a group is none of the models")
    widest = max((text_width(name) for name in models), default=0.0) + text_width("00.00") + 32
    side = max(_SIDE, min(widest, _MOST_SIDE * width))
    placed = sorted(zip(ranks, models, strict=True), key=lambda pair: pair[0])
    first_row = _AXIS + 14 + _BAR * max(len(cliques), 1)
    bottom = first_row + _ROW * math.ceil(len(models) / 2)
    scale = Scale(1, max(len(models), 2), side, width - side)
    if not placed:
        return picture(
            width, bottom + 12, title, [no_data(Frame(scale, Scale(0, 1, bottom, 0)))], "critical-difference"
        )
    at = {name: scale(rank) for rank, name in placed}
    parts = _axis(scale, len(models))
    half = math.ceil(len(placed) / 2)
    # The best stand on the left from top to bottom, the rest on the right from bottom to top, so that no lines cross.
    rows = [*range(half), *reversed(range(len(placed) - half))]
    for i, ((rank, name), row) in enumerate(zip(placed, rows, strict=True)):
        parts += _model(at[name], first_row + _ROW * (row + 0.5), name, rank, i < half, side, width)
    for row, clique in enumerate(cliques):
        xs, y = [at[name] for name in clique], _AXIS + 10 + _BAR * row
        parts.append(line(min(xs) - 3, y, max(xs) + 3, y, "clique"))
    return picture(width, bottom + 12, title, parts, "critical-difference")


def _axis(scale: Scale, count: int) -> list[str]:
    parts = [line(scale(1), _AXIS, scale(max(count, 2)), _AXIS, "base")]
    step = max(1, math.ceil(count / 12))
    for rank in range(1, max(count, 2) + 1, step):
        x = scale(rank)
        parts += [line(x, _AXIS - 5, x, _AXIS, "base"), text(x, _AXIS - 9, rank, "tick", "middle")]
    return [*parts, text(scale(1) - 14, _AXIS - 9, "average rank", "axis-title", "end")]


def _model(x: float, y: float, name: str, rank: float, left: bool, side: float, width: float) -> list[str]:
    edge = side - 12 if left else width - side + 12
    shown = f"{rank:.2f}"
    room = side - 24 - text_width(shown) - 8
    name_at = edge - 6 if left else edge + 6
    shift = text_width(shown) + 8
    anchor = "end" if left else "start"
    return [
        path(f"M{x:.1f} {_AXIS:.1f}L{x:.1f} {y:.1f}L{edge:.1f} {y:.1f}", "leader"),
        element("circle", cx=float(x), cy=float(_AXIS), r=3.0, class_="symbol model"),
        text(name_at, y + 4, shown, "figure", anchor),
        text(name_at - shift if left else name_at + shift, y + 4, fitted(name, room), "label", anchor),
    ]
