"""Axes: a range that is never empty, ticks at 1, 2 or 5 times a power of ten, and the frame around a plot."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moola.drawing.numbers import MINUS
from moola.drawing.svg import line, text, text_width

THIN_SPACE = "\N{THIN SPACE}"
_LARGEST = float(np.finfo(np.float64).max)


def bounds(values: ArrayLike, margin: float = 0.0) -> tuple[float, float]:
    """The range of the finite values, widened by `margin` of itself at both ends.

    Without a finite value it is (0, 1); a constant series gets room above and below, so that it can be seen.
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    finite = array[np.isfinite(array)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    size = max(abs(low), abs(high))
    # Halves, because the range of two huge values of unlike sign is not a float.
    room = 2 * margin * (high / 2 - low / 2)
    if high / 2 - low / 2 <= max(size * 1e-12, 1e-290):
        room = size * 0.02 if size > 1e-280 else 1.0
    return max(low - room, -_LARGEST), min(high + room, _LARGEST)


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """About `count` round values within [low, high], a step of 1, 2 or 5 times a power of ten apart.

    With `whole` the step is at least 1, for axes that count epochs or bars.
    """
    raw = (high / 2 - low / 2) * 2 / max(count, 1) if abs(high) < 1e300 and abs(low) < 1e300 else math.inf
    if not math.isfinite(raw) or raw <= 1e-290:
        return [low, high]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= raw * 0.75)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)] or [low, high]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Labels with just the decimals that tell neighbours apart: ``0.5``, ``1.0``, ``1.5``."""
    if not values:
        return []
    if len(values) == 1:
        return [f"{values[0]:.4g}".replace("-", MINUS)]
    size = max(abs(value) for value in values)
    step = min(abs(b - a) for a, b in itertools.pairwise(values)) or size or 1.0
    step = min(step, _LARGEST)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if size >= 1e9 or decimals > 6:
        # Enough digits to tell a step apart, however far the values are from zero.
        digits = min(17, max(1, math.ceil(math.log10(size) - math.log10(step)) + 1))
        labels = [re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), f"{v:.{digits}g}") for v in values]
    else:
        labels = [f"{value:,.{decimals}f}".replace(",", THIN_SPACE) for value in values]
    return [label.replace("-", MINUS) for label in labels]


@dataclass(frozen=True)
class Scale:
    """A linear map from data [low, high] to pixels [start, stop]; values outside stop at the edge.

    Attributes:
        low: smallest value shown.
        high: largest value shown, above `low`.
        start: pixel of `low`.
        stop: pixel of `high`; below `start` for an axis that points up.
    """

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The pixel of one value."""
        return float(self.many(np.asarray([value]))[0])

    def many(self, values: ArrayLike) -> NDArray[np.float64]:
        """The pixels of values of any shape; NaN stays NaN."""
        # Everything is halved first, because high - low of huge values is not a float.
        array, low = np.asarray(values, dtype=np.float64) / 2, self.low / 2
        fraction = np.clip((array - low) / (self.high / 2 - low), 0.0, 1.0)
        return self.start + fraction * (self.stop - self.start)


@dataclass(frozen=True)
class Frame:
    """The plot area: its two scales, whose pixels are its edges."""

    x: Scale
    y: Scale

    @property
    def left(self) -> float:
        """Pixel of the left edge."""
        return self.x.start

    @property
    def right(self) -> float:
        """Pixel of the right edge."""
        return self.x.stop

    @property
    def top(self) -> float:
        """Pixel of the upper edge."""
        return self.y.stop

    @property
    def bottom(self) -> float:
        """Pixel of the lower edge."""
        return self.y.start


def left_margin(values: Sequence[float]) -> float:
    """Room that the labels of these y ticks need, in viewBox units."""
    return 12 + max((text_width(label) for label in tick_labels(values)), default=0.0)


def y_axis(frame: Frame, values: Sequence[float]) -> list[str]:
    """A hairline and a label for each tick."""
    parts: list[str] = []
    for value, label in zip(values, tick_labels(values), strict=True):
        y = frame.y(value)
        parts.append(line(frame.left, y, frame.right, y, "grid"))
        parts.append(text(frame.left - 6, y + 4, label, "tick", "end"))
    return parts


def x_axis(frame: Frame, values: Iterable[float], title: str = "") -> list[str]:
    """The base line, a short stroke and a label for each tick, and the title beneath."""
    shown = list(values)
    parts = [line(frame.left, frame.bottom, frame.right, frame.bottom, "base")]
    for value, label in zip(shown, tick_labels(shown), strict=True):
        x = frame.x(value)
        parts.append(line(x, frame.bottom, x, frame.bottom + 3, "base"))
        parts.append(text(x, frame.bottom + 14, label, "tick", "middle"))
    if title:
        parts.append(text((frame.left + frame.right) / 2, frame.bottom + 29, title, "axis-title", "middle"))
    return parts


def no_data(frame: Frame) -> str:
    """What an empty plot says."""
    return text((frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2, "no data", "tick", "middle")
