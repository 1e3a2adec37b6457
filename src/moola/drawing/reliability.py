"""A reliability diagram: how often the model is right at each confidence it claims.

It has no whiskers: windows overlap, so the counts of a bin are not independent trials; the ECE has the interval.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moola.drawing.axes import Frame, Scale, no_data, x_axis, y_axis
from moola.drawing.svg import element, line, path, picture, rect, text, through
from moola.errors import DataError

_STRIP = 44.0
_UNIT = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def draw_reliability(
    confidence: ArrayLike,
    accuracy: ArrayLike,
    count: ArrayLike,
    *,
    title: str,
    after: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    width: float = 320,
) -> str:
    """Accuracy over confidence with the diagonal of a calibrated model, and the bins' counts beneath, as SVG.

    Args:
        confidence: [B] mean confidence in each bin, 0 to 1.
        accuracy: [B] share that was right, 0 to 1.
        count: [B] windows in each bin; empty bins are not drawn.
        title: what the picture shows, for screen readers.
        after: the same three after calibration, drawn dashed with rings; the counts stay those of before.
        width: of the viewBox; the plot is square.

    Raises:
        DataError: the arrays are not of one length.
    """
    conf, acc, n = _filled(confidence, accuracy, count)
    later = [] if after is None else _filled(*after)
    side = width - 46
    frame = Frame(Scale(0, 1, 36, 36 + side), Scale(0, 1, 8 + side, 8))
    strip = Frame(frame.x, Scale(0, max(float(n.max(initial=1)), 1), frame.bottom + 6 + _STRIP, frame.bottom + 8))
    parts = [
        *y_axis(frame, _UNIT),
        line(frame.left, frame.bottom, frame.right, frame.top, "reference"),
        *_counts(strip, conf, n),
        *_points(frame, conf, acc, "series s0", "symbol model"),
        *(_points(frame, later[0], later[1], "series dashed s1", "ring s1") if later else []),
        *x_axis(strip, _UNIT, "confidence"),
        text(frame.left + 6, frame.top + 12, "accuracy", "axis-title"),
    ]
    return picture(width, strip.bottom + 34, title, parts if n.size else [*parts, no_data(frame)], "reliability")


def _filled(confidence: ArrayLike, accuracy: ArrayLike, count: ArrayLike) -> list[NDArray[np.float64]]:
    """The bins that hold windows, by confidence."""
    bins = [np.asarray(values, dtype=np.float64) for values in (confidence, accuracy, count)]
    if any(values.ndim != 1 or values.shape != bins[0].shape for values in bins):
        raise DataError(
            "bins cannot be drawn", f"their shapes are {[list(values.shape) for values in bins]}, wanted [B]"
        )
    filled = np.isfinite(np.stack(bins)).all(axis=0) & (bins[2] > 0)
    order = np.argsort(bins[0][filled], kind="stable")
    return [values[filled][order] for values in bins]


def _points(frame: Frame, conf: NDArray[np.float64], acc: NDArray[np.float64], curve: str, symbol: str) -> list[str]:
    x, y = frame.x.many(conf), frame.y.many(acc)
    parts = [path(through(x, y), curve)]
    parts += [element("circle", cx=float(x[b]), cy=float(y[b]), r=4.0, class_=symbol) for b in range(len(x))]
    return parts


def _counts(strip: Frame, conf: NDArray[np.float64], n: NDArray[np.float64]) -> list[str]:
    """A bar for each bin, no wider than what its neighbours leave."""
    x = strip.x.many(conf)
    half = min(10.0, float(np.diff(x).min(initial=20.0)) * 0.4)
    parts: list[str] = []
    for b in range(len(x)):
        left, right = max(strip.left, x[b] - half), min(strip.right, x[b] + half)
        parts.append(rect(left, strip.y(n[b]), right, strip.bottom, "count"))
    if len(n):
        parts.append(text(strip.left - 6, strip.top + 8, f"{n.max():.0f}", "tick", "end"))
        parts.append(text(strip.left - 6, strip.bottom, "n", "tick", "end"))
    return parts
