"""Named curves over a common x: losses and probes, with horizontal lines they must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moola.drawing.axes import Frame, Scale, bounds, left_margin, no_data, ticks, x_axis, y_axis
from moola.drawing.numbers import figure
from moola.drawing.svg import element, fitted, line, path, picture, text, text_width, through
from moola.errors import DataError

COLOURS = 6
"""Series colours in the stylesheet; the seventh curve takes the first again, dashed."""
_MOST_POINTS = 600
_LABEL_ROOM = 170.0
_BESIDE = 5.0


@dataclass(frozen=True, eq=False)
class Curve:
    """A named series.

    Attributes:
        name: shown in the legend; a curve without one is not listed there.
        x: [N] steps or epochs, ascending.
        y: [N] values; one that is not finite breaks the line.
        colour: index into the stylesheet's six colours; None takes the next one.
        dashed: draw it dashed, e.g. the random-init twin of a solid curve.
        low, high: [N] ends of an interval at each point, drawn as a whisker; one that is not finite has none.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    colour: int | None = None
    dashed: bool = False
    low: ArrayLike | None = None
    high: ArrayLike | None = None


@dataclass(frozen=True)
class Reference:
    """A named value to compare with, such as a trivial predictor's.

    Attributes:
        name: shown beside the line.
        value: in the units of the axis; one that is not finite is not drawn.
    """

    name: str
    value: float


def draw_curves(
    series: Sequence[Curve],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    references: Sequence[Reference] = (),
    width: float = 640,
    height: float = 260,
) -> str:
    """Curves with a legend that gives each one's last value, as SVG.

    Args:
        series: what to draw; more than 600 points are thinned to the lowest and highest of each stretch.
        title: what the picture shows, for screen readers.
        x_label: under the axis.
        y_label: above the axis.
        references: horizontal lines, named in the right margin.
        width: of the viewBox.
        height: of the plot with its axes; the legend's rows come on top.

    Raises:
        DataError: a curve's arrays are not of one length.
    """
    data = [_checked(curve) for curve in series]
    known = [reference for reference in references if np.isfinite(reference.value)]
    xs = np.concatenate([x for x, _ in data]) if data else np.empty(0)
    ends = [_ends(curve) for curve in series]
    values = [y for _, y in data] + [end for pair in ends for end in pair]
    ys = np.concatenate([*values, np.asarray([known_.value for known_ in known])])
    styles = [_style(curve, i) for i, curve in enumerate(series)]
    legend, top = _legend(series, data, styles, width, 34.0 if y_label else 20.0)
    low, high = bounds(ys, margin=0.05)
    levels = ticks(low, high)
    right = max((min(text_width(_named(known_)), _LABEL_ROOM) for known_ in known), default=0.0)
    frame = Frame(
        Scale(
            *bounds(xs, margin=0.03 if any(len(low) for low, _ in ends) else 0.0),
            left_margin(levels),
            width - 12 - right,
        ),
        Scale(low, high, top + height - 54, top),
    )
    whole = bool(np.all(xs[np.isfinite(xs)] % 1 == 0))
    parts = [*legend, *y_axis(frame, levels), *_references(frame, known)]
    parts += [] if not y_label else [text(4, top - 10, y_label, "axis-title")]
    for place, ((x, y), whiskers, style) in enumerate(zip(data, ends, styles, strict=True)):
        parts.extend(_whiskers(frame, x, whiskers, style, place - (len(series) - 1) / 2))
        parts.extend(_curve(frame, x, y, style))
    parts += x_axis(frame, ticks(frame.x.low, frame.x.high, 6, whole=whole), x_label)
    parts += [] if any(np.isfinite(y).any() for _, y in data) else [no_data(frame)]
    return picture(width, frame.bottom + 34, title, parts, "curves")


def _checked(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(curve.x, dtype=np.float64), np.asarray(curve.y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(
            f"curve {curve.name!r} cannot be drawn",
            f"x has shape {list(x.shape)} and y {list(y.shape)}, wanted [N]",
        )
    return x, np.where(np.isfinite(x) & np.isfinite(y), y, np.nan)


def _ends(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends of the intervals; none where a curve has none."""
    if curve.low is None or curve.high is None:
        return np.empty(0), np.empty(0)
    low, high = np.asarray(curve.low, dtype=np.float64), np.asarray(curve.high, dtype=np.float64)
    if low.shape != np.shape(curve.y) or high.shape != np.shape(curve.y):
        raise DataError(
            f"curve {curve.name!r} cannot be drawn",
            f"its intervals have shapes {list(low.shape)} and {list(high.shape)}, wanted {list(np.shape(curve.y))}",
        )
    return low, high


def _whiskers(
    frame: Frame,
    x: NDArray[np.float64],
    ends: tuple[NDArray[np.float64], NDArray[np.float64]],
    style: str,
    place: float,
) -> list[str]:
    """Intervals, those of one curve a little beside those of the next, so that none hides another."""
    parts: list[str] = []
    for at, low, high in zip(x, *ends, strict=False):
        if np.isfinite([at, low, high]).all():
            px = min(max(frame.x(at) + _BESIDE * place, frame.left), frame.right)
            parts.append(line(px, frame.y(low), px, frame.y(high), f"whisker series {style.split()[0]}"))
    return parts


def _style(curve: Curve, place: int) -> str:
    number = place if curve.colour is None else curve.colour
    dashed = curve.dashed or (curve.colour is None and place >= COLOURS)
    return f"s{number % COLOURS}" + (" dashed" if dashed else "")


def _curve(frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64], style: str) -> list[str]:
    px, py = (frame.x.many(x), frame.y.many(y)) if len(x) <= _MOST_POINTS else _thinned(frame, x, y)
    parts = [path(through(px, py), f"series {style}")]
    if len(x) <= 16:
        parts += [
            element("circle", cx=float(cx), cy=float(cy), r=2.4, class_=f"dot {style}")
            for cx, cy in zip(px, py, strict=True)
            if np.isfinite(cx) and np.isfinite(cy)
        ]
    return parts


def _thinned(
    frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest point of each stretch: a mean would hide the spikes one looks for."""
    kept: list[int] = []
    for stretch in np.array_split(np.arange(len(x)), _MOST_POINTS // 2):
        finite = stretch[np.isfinite(y[stretch])]
        chosen = finite if finite.size else stretch[:1]
        kept += sorted({int(chosen[np.argmin(y[chosen])]), int(chosen[np.argmax(y[chosen])])})
    return frame.x.many(x[kept]), frame.y.many(y[kept])


def _named(reference: Reference) -> str:
    return f"{reference.name}: {figure(reference.value)}"


def _references(frame: Frame, references: Sequence[Reference]) -> list[str]:
    """Dashed lines with their names in the right margin, pushed apart where they would overlap."""
    parts: list[str] = []
    free = frame.top
    for reference in sorted(references, key=lambda known: -known.value):
        y = frame.y(reference.value)
        parts.append(line(frame.left, y, frame.right, y, "reference"))
        free = max(y + 4, free)
        # Too many names for the height end at the bottom edge rather than outside of the picture.
        words = fitted(_named(reference), _LABEL_ROOM)
        parts.append(text(frame.right + 6, min(free, frame.bottom + 28), words, "reference-label"))
        free += 13
    return parts


def _legend(
    series: Sequence[Curve],
    data: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    styles: Sequence[str],
    width: float,
    room: float,
) -> tuple[list[str], float]:
    """The legend's markup and the y where the plot may begin."""
    parts: list[str] = []
    x, y = 4.0, 12.0
    for curve, (_, values), style in zip(series, data, styles, strict=True):
        if not curve.name:
            continue
        finite = values[np.isfinite(values)]
        last = f": {figure(float(finite[-1]))}" if finite.size else ""
        name = fitted(curve.name, width - 100) + last
        size = 24 + text_width(name) + 14
        if x + size > width and x > 4:
            x, y = 4.0, y + 16
        parts += [line(x, y - 4, x + 18, y - 4, f"series {style}"), text(x + 24, y, name, "legend")]
        x += size
    return parts, y + room - 8 if parts else room
