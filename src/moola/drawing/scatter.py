"""Points in a plane, coloured by group: embeddings of windows on two axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moola.drawing.axes import Frame, Scale, bounds, no_data
from moola.drawing.svg import element, fitted, line, picture, rect, text, text_width
from moola.errors import DataError

COLOURS = 6
"""Series colours in the stylesheet; the seventh group takes the first again, as rings."""
SHADES = 4
"""Of one colour in the stylesheet, from strong to pale."""
_RADIUS = 3.2


def draw_scatter(
    points: ArrayLike,
    groups: ArrayLike,
    names: Sequence[str],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    ordered: bool = False,
    width: float = 510,
    height: float = 340,
) -> str:
    """Points with a legend that counts each group, as SVG.

    The axes have no ticks: each is scaled to its own range, as is usual for components that have no unit.

    Args:
        points: [N, 2]; a point that is not finite is left out.
        groups: int [N], a place in `names` each.
        names: of the groups, in the order of their colours.
        title: what the picture shows, for screen readers.
        x_label: under the plot.
        y_label: above it.
        ordered: groups are steps of one thing, the first the strongest: shades of one colour, the strongest on top.
        width: of the viewBox.
        height: of the plot with its labels; the legend's rows come on top.

    Raises:
        DataError: points and groups do not belong together, or a group has no name.
    """
    places, numbers = _checked(points, groups, len(names))
    counts = np.bincount(numbers, minlength=len(names))
    styles = [_shade(group, len(names)) if ordered else _colour(group) for group in range(len(names))]
    legend, top = _legend(names, counts, styles, width)
    top += 18.0 if y_label else 0.0
    frame = Frame(
        Scale(*bounds(places[:, 0], margin=0.05), 4, width - 4),
        Scale(*bounds(places[:, 1], margin=0.05), top + height - 24, top),
    )
    parts = [*legend, *([text(4, top - 7, y_label, "axis-title")] if y_label else [])]
    parts += [rect(frame.left, frame.top, frame.right, frame.bottom, "plane")]
    parts += _zero_lines(frame)
    x, y = frame.x.many(places[:, 0]), frame.y.many(places[:, 1])
    order = _mixed(len(x))
    order = order[np.argsort(-numbers[order], kind="stable")] if ordered else order
    parts += [_point(float(x[i]), float(y[i]), styles[numbers[i]]) for i in order]
    parts += [text((frame.left + frame.right) / 2, frame.bottom + 16, x_label, "axis-title", "middle")]
    return picture(width, frame.bottom + 24, title, parts if len(x) else [*parts, no_data(frame)], "scatter")


def _checked(points: ArrayLike, groups: ArrayLike, n_names: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    places, numbers = np.asarray(points, dtype=np.float64), np.asarray(groups, dtype=np.int64)
    if places.ndim != 2 or places.shape[1] != 2 or numbers.shape != places.shape[:1]:
        raise DataError(
            "points cannot be drawn",
            f"points have shape {list(places.shape)} and groups {list(numbers.shape)}, wanted [N, 2] and [N]",
        )
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < n_names):
        raise DataError(
            "points cannot be drawn", f"groups go from {numbers.min()} to {numbers.max()}, and there are {n_names}"
        )
    finite = np.isfinite(places).all(axis=1)
    return places[finite], numbers[finite]


def _mixed(n: int) -> NDArray[np.int64]:
    """An order that is always the same, so that no group lies on top of the others."""
    return np.random.default_rng(0).permutation(n)


def _colour(group: int) -> str:
    return f"{'ring' if group >= COLOURS else 'point'} s{group % COLOURS}"


def _shade(group: int, n_groups: int) -> str:
    """The strongest shade for the first group, the palest for the last."""
    return f"point shade{round((SHADES - 1) * group / max(n_groups - 1, 1))}"


def _point(x: float, y: float, style: str) -> str:
    return element("circle", cx=x, cy=y, r=_RADIUS, class_=style)


def _zero_lines(frame: Frame) -> list[str]:
    parts: list[str] = []
    if frame.x.low < 0 < frame.x.high:
        parts.append(line(frame.x(0), frame.top, frame.x(0), frame.bottom, "grid"))
    if frame.y.low < 0 < frame.y.high:
        parts.append(line(frame.left, frame.y(0), frame.right, frame.y(0), "grid"))
    return parts


def _legend(
    names: Sequence[str], counts: NDArray[np.int64], styles: Sequence[str], width: float
) -> tuple[list[str], float]:
    """The legend's markup and the y where the plot may begin."""
    parts: list[str] = []
    x, y = 4.0, 12.0
    for name, count, style in zip(names, counts, styles, strict=True):
        words = f"{fitted(name, width - 100)}: {count}"
        size = 16 + text_width(words) + 14
        if x + size > width and x > 4:
            x, y = 4.0, y + 16
        parts += [_point(x + 4, y - 4, style), text(x + 12, y, words, "legend")]
        x += size
    return parts, y + 12 if parts else 4.0
