"""SVG elements as text: escaping, compact coordinates, paths with gaps and the accessible outer element."""

from __future__ import annotations

import html
import re

import numpy as np
from numpy.typing import NDArray

FONT_SIZE = 11.0
"""Size of all text inside a picture, in viewBox units; the stylesheet sets the same size."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(words: object) -> str:
    """Text that is safe as content and in a quoted attribute; characters XML forbids become U+FFFD."""
    return html.escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(words)), quote=True)


def number(value: float) -> str:
    """A coordinate with at most one decimal: pixels need no more, and many windows must stay small."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")


def element(tag: str, content: str = "", **attributes: object) -> str:
    """One element. `content` is markup already; attributes are escaped, ``class_`` is renamed."""
    words = [tag]
    for name, value in attributes.items():
        shown = number(value) if isinstance(value, float) else escape(value)
        words.append(f'{name.rstrip("_").replace("_", "-")}="{shown}"')
    opened = " ".join(words)
    return f"<{opened}>{content}</{tag}>" if content else f"<{opened}/>"


def text(x: float, y: float, words: object, css: str = "", anchor: str = "start") -> str:
    """A line of text whose baseline is at y; anchor is ``start``, ``middle`` or ``end``."""
    return element("text", escape(words), x=float(x), y=float(y), class_=css or "label", text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """A straight line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=css)


def rect(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """A rectangle between two corners."""
    return element("rect", x=float(x1), y=float(y1), width=float(abs(x2 - x1)), height=float(abs(y2 - y1)), class_=css)


def path(commands: str, css: str) -> str:
    """A path, or nothing for no commands."""
    return element("path", d=commands, class_=css) if commands else ""


def through(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Path commands through the points [N], broken where a coordinate is not finite.

    A lone point becomes a line of no length, which a round line cap shows as a dot.
    """
    commands: list[str] = []
    finite = np.isfinite(x) & np.isfinite(y)
    for i in np.flatnonzero(finite):
        starts = i == 0 or not finite[i - 1]
        ends = i + 1 == len(x) or not finite[i + 1]
        point = f"{number(x[i])} {number(y[i])}"
        commands.append(f"{'M' if starts else 'L'}{point}" + (f"L{point}" if starts and ends else ""))
    return "".join(commands)


def text_width(words: str) -> float:
    """Width of a text in viewBox units, estimated: no font is measured when a file is written."""
    return 0.56 * FONT_SIZE * len(words)


def fitted(words: str, room: float) -> str:
    """The text, cut with an ellipsis where it is wider than `room` viewBox units."""
    if text_width(words) <= room:
        return words
    kept = int(room / text_width("x")) - 1
    return words[:kept].rstrip() + "…" if kept > 0 else ""


def picture(width: float, height: float, title: str, parts: list[str], kind: str) -> str:
    """The outer element: a named image whose colours come from the page's stylesheet.

    Meant to stand inside an HTML page, so it carries no namespace. Its natural size is its viewBox.
    """
    body = element("title", escape(title) or "&#160;") + "".join(parts)
    return (
        f'<svg class="moola {escape(kind)}" role="img" viewBox="0 0 {number(width)} {number(height)}" '
        f'width="{number(width)}" height="{number(height)}">{body}</svg>'
    )
