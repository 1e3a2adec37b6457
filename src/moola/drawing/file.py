"""Pictures as a file of their own: one SVG that any browser opens, light or dark as its reader likes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from moola.drawing.svg import element, escape, number, rect, text
from moola.drawing.theme import STYLESHEET
from moola.errors import DataError

_MARGIN = 16.0
_HEADING = 24.0
_GAP = 20.0
_FONT = (
    '.moola { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; } .paper { fill: var(--page); }'
)
_ROOT = re.compile(r'<svg [^>]*viewBox="0 0 (\S+) (\S+)"[^>]*>')


def svg_file(pictures: Iterable[tuple[str, str]], *, title: str) -> str:
    """One SVG document that holds pictures one below the other, with its styles inside.

    Args:
        pictures: (heading, markup): what `moola.drawing` gives, one or more elements each.
        title: what they show together, for screen readers.

    Raises:
        DataError: a markup holds no picture.
    """
    parts: list[str] = []
    width, y = 0.0, _MARGIN
    for heading, markup in pictures:
        parts.append(text(_MARGIN, y + 13, heading, "figure"))
        y += _HEADING
        for root, across, down in _contents(markup):
            parts.append(f'<g transform="translate({number(_MARGIN)} {number(y)})">{root}</g>')
            width, y = max(width, across), y + down + _GAP
    width, height = width + 2 * _MARGIN, y + _MARGIN - (_GAP if parts else 0.0)
    body = element("title", escape(title) or "&#160;") + element("style", f"<![CDATA[{STYLESHEET}{_FONT}]]>")
    body += rect(0, 0, width, height, "paper") + "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="moola" role="img" viewBox="0 0 {number(width)} '
        f'{number(height)}" width="{number(width)}" height="{number(height)}">{body}</svg>\n'
    )


def _contents(markup: str) -> Iterator[tuple[str, float, float]]:
    """What is inside each outermost element of a markup, with its width and height.

    The elements themselves are left out: the page's rule ``height: auto`` would stretch one inside another.
    """
    found = list(_ROOT.finditer(markup))
    if not found:
        raise DataError("a picture for the file is none", f"it has no svg element: {markup[:60]!r}")
    ends = [*(start.start() for start in found[1:]), len(markup)]
    for start, end in zip(found, ends, strict=True):
        yield markup[start.end() : end].strip().removesuffix("</svg>"), float(start[1]), float(start[2])
