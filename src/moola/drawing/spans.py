"""What candles and lines share: a window's checked arrays, its shaded spans, masked bars and marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moola.drawing.axes import Frame
from moola.drawing.svg import fitted, line, rect, text
from moola.errors import DataError

SpanKind = Literal["context", "zone", "after"]


@dataclass(frozen=True)
class Span:
    """A stretch of bars to shade.

    Attributes:
        start: first bar, counted from 0.
        stop: bar after the last one.
        label: words above it; may be empty.
        kind: chooses the colour.
    """

    start: int
    stop: int
    label: str = ""
    kind: SpanKind = "context"


@dataclass(frozen=True)
class Mark:
    """A vertical line, such as the moment a prediction is made.

    Attributes:
        at: bar it stands on; ``19.5`` is between bars 19 and 20.
        label: words beside it; may be empty.
    """

    at: float
    label: str = ""


def checked(name: str, values: ArrayLike, shape: tuple[int | None, int | None]) -> NDArray[np.float64]:
    """The array as float64 [T, C] with infinities as NaN; None in `shape` allows any size of at least one.

    Raises:
        DataError: the shape is another one.
    """
    array = np.asarray(values, dtype=np.float64)
    wanted = "[" + ", ".join(name if size is None else str(size) for name, size in zip("TC", shape, strict=True)) + "]"
    fits = array.ndim == 2 and array.size > 0
    if not fits or any(size not in (None, got) for size, got in zip(shape, array.shape, strict=True)):
        raise DataError(f"{name} cannot be drawn", f"their shape is {list(array.shape)}, wanted {wanted}")
    return np.where(np.isfinite(array), array, np.nan)


def checked_mask(highlight: ArrayLike | None, length: int) -> NDArray[np.bool_]:
    """The highlighted bars as bool [T]; None highlights none.

    Raises:
        DataError: it is not one value a bar.
    """
    mask = np.zeros(length, dtype=bool) if highlight is None else np.asarray(highlight, dtype=bool)
    if mask.shape != (length,):
        raise DataError("highlighted bars cannot be drawn", f"their shape is {list(mask.shape)}, wanted [{length}]")
    return mask


def check_spans(spans: Sequence[Span], length: int) -> None:
    """Refuse spans outside the window.

    Raises:
        DataError: a span is empty, outside of the bars or of an unknown kind.
    """
    for span in spans:
        if not 0 <= span.start < span.stop <= length or span.kind not in get_args(SpanKind):
            raise DataError(
                "a span cannot be drawn",
                f"{span} does not lie in bars 0 to {length}",
                f"0 <= start < stop <= {length}, kind one of {', '.join(get_args(SpanKind))}",
            )


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The stretches [start, stop) where the mask [T] is true."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def shading(frame: Frame, spans: Sequence[Span], mask: NDArray[np.bool_]) -> list[str]:
    """Bands behind the bars: spans, then the highlighted bars."""
    bands = [(span.start, span.stop, f"span {span.kind}") for span in spans]
    bands += [(start, stop, "highlight") for start, stop in runs(mask)]
    return [rect(frame.x(start - 0.5), frame.top, frame.x(stop - 0.5), frame.bottom, css) for start, stop, css in bands]


def span_labels(frame: Frame, spans: Sequence[Span], above: float = 4) -> list[str]:
    """The spans' names, `above` pixels over the plot, cut where a span is too narrow for its own."""
    parts: list[str] = []
    for span in spans:
        left, right = frame.x(span.start - 0.5), frame.x(span.stop - 0.5)
        # A little overhang is fine: neighbours leave air beside their own centred names.
        words = fitted(span.label, right - left + 8)
        if words:
            parts.append(text((left + right) / 2, frame.top - above, words, "span-label", "middle"))
    return parts


def mark_lines(frame: Frame, marks: Sequence[Mark], labelled: bool = True) -> list[str]:
    """Vertical lines across the plot, with their words on the side that has room."""
    parts: list[str] = []
    for mark in marks:
        x = frame.x(mark.at)
        parts.append(line(x, frame.top, x, frame.bottom, "mark"))
        if labelled and mark.label:
            late = x > (frame.left + frame.right) / 2
            parts.append(text(x + (-4 if late else 4), frame.top + 10, mark.label, "label", "end" if late else "start"))
    return parts
