"""Many settings of many things at once: an axis each, side by side, and a line through them for every try.

After Inselberg (1985), The Visual Computer 1; lines are coloured by what came of the try.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from moola.drawing.axes import Scale
from moola.drawing.svg import fitted, line, path, picture, text, text_width, through
from moola.errors import DataError

SHADES = 4
"""Of one colour in the stylesheet, from strong to pale."""
_TOP, _BOTTOM, _SIDE, _LABEL = 44.0, 20.0, 14.0, 116.0
_GAP, _ROW = 8.0, 16.0
"""Between the words of neighbours, and between two rows of names: they take turns where one row is too narrow."""
_BOLD = 1.12
"""Width of a bold letter, as a share of that of another."""


@dataclass(frozen=True)
class Axis:
    """One of the axes.

    Attributes:
        name: above it.
        ticks: (place, words), places from 0 at the bottom to 1 at the top.
    """

    name: str
    ticks: Sequence[tuple[float, str]]


def draw_parallel_coordinates(
    axes: Sequence[Axis],
    places: ArrayLike,
    worth: ArrayLike,
    *,
    title: str,
    marked: int | None = None,
    width: float = 880,
    height: float = 320,
) -> str:
    """Lines through parallel axes, the best strong and on top, as SVG.

    Args:
        axes: K of them, from left to right.
        places: [N, K] where each try lies on each axis, 0 to 1; NaN breaks its line.
        worth: [N] the greater the better; NaN for a try of which nothing came, drawn the palest.
        title: what the picture shows, for screen readers.
        marked: the try that is drawn thick; None: none.
        width: of the viewBox.
        height: of the viewBox.

    Raises:
        DataError: the arrays do not belong together.
    """
    at, values = np.asarray(places, dtype=np.float64), np.asarray(worth, dtype=np.float64)
    if at.ndim != 2 or at.shape != (len(values), len(axes)) or len(axes) < 2:
        raise DataError(
            "parallel coordinates cannot be drawn",
            f"places have shape {list(at.shape)}, worth {list(values.shape)}, and there are {len(axes)} axes",
            "give a place on each of two axes or more for every try",
        )
    behind = min(max(_LABEL, _BOLD * text_width(axes[-1].name) + 1), width / 4)  # the last name has no neighbour
    across = Scale(0, len(axes) - 1, _SIDE, width - behind)
    up = Scale(0, 1, height - _BOTTOM, _TOP)
    xs = across.many(np.arange(len(axes)))
    room = (width - _SIDE - behind) / (len(axes) - 1) - _GAP
    is_crowded = any(_BOLD * text_width(axis.name) > room for axis in axes[:-1])
    parts: list[str] = []
    for number, (x, axis) in enumerate(zip(xs.tolist(), axes, strict=True)):
        above = _ROW if is_crowded and number % 2 else 0.0
        of_name = min(2 * room + _GAP if is_crowded else room, width - x)
        parts += [text(x, _TOP - 14 - above, fitted(axis.name, of_name / _BOLD), "pane-name")]
        parts += _axis(x, up, axis, room)
    order = np.argsort(np.where(np.isfinite(values), values, -np.inf), kind="stable")
    lines: list[str] = []
    for rank, number in enumerate(order.tolist()):
        style = _style(rank, len(order), bool(np.isfinite(values[number])))
        style = "trial best" if number == marked else style
        drawn = path(through(xs, np.where(np.isfinite(at[number]), up.many(at[number]), np.nan)), style)
        lines.append(drawn)
    if marked is not None:
        lines.append(lines.pop(order.tolist().index(marked)))
    return picture(width, height, title, [*lines, *parts], "parallel-coordinates")


def _style(rank: int, count: int, known: bool) -> str:
    """Quarters of the tries, the best the strongest."""
    if not known:
        return f"trial shade{SHADES - 1}"
    return f"trial shade{SHADES - 1 - min(SHADES * rank // max(count, 1), SHADES - 1)}"


def _axis(x: float, up: Scale, axis: Axis, room: float) -> list[str]:
    parts = [line(x, up(0), x, up(1), "base")]
    for place, words in axis.ticks:
        y = up(place)
        parts += [line(x, y, x + 4, y, "base"), text(x + 7, y + 4, fitted(words, room), "tick haloed")]
    return parts
