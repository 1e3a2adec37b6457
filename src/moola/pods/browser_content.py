"""Pages and pictures of a pod that a browser would obey: moola's own run nothing, others get a name that opens as text.

A page of moola begins with a Content-Security-Policy that lets nothing run and nothing be fetched, before anything else
can be in it; what begins alike is held by it, whatever follows. A picture has no such place: each element of it has to
be one that only draws.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from moola.layout import sync_folder

DISARMED = ".untrusted"
"""Added to the name of what is not believed."""
_PAGES = (".html", ".htm")
_OTHERS = (".xhtml", ".xht", ".shtml", ".mht", ".mhtml", ".xml", ".xsl", ".xslt", ".svgz", ".hta", ".swf")
_POLICY = "Content-Security-Policy"
_DRAWING = frozenset(
    ("svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "defs", "clipPath", "style")
).union(("text", "tspan", "title", "desc"))
_LOADING = ("url(", "@import", "\\")
"""In a style: what fetches something, and the sign with which that could be spelt otherwise."""


def disarm(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    """Rename what a browser would run or fetch; the files under the names that they have now.

    Args:
        folder: of the files.
        files: name -> SHA-256 (hex), every one of them there.
    """
    named: dict[str, str] = {}
    for name, digest in files.items():
        path = folder / name
        if not is_harmless(path):
            path.replace(path.with_name(path.name + DISARMED))
            sync_folder(path.parent)
            name += DISARMED
        named[name] = digest
    return named


def is_harmless(path: Path) -> bool:
    """Whether a browser that opens a file runs nothing of it and asks nobody for more.

    Raises:
        OSError: it cannot be read.
    """
    suffix = PurePosixPath(path.name.lower()).suffix
    if suffix in _PAGES:
        with path.open("rb") as handle:
            return handle.read(len(_head())) == _head()
    return _only_draws(path) if suffix == ".svg" else suffix not in _OTHERS


@functools.cache
def _head() -> bytes:
    """How every page of moola begins, its policy included."""
    template = importlib.resources.files("moola.drawing").joinpath("page.html.j2").read_text()
    before, policy, after = template.partition(_POLICY)
    return (before + policy + after[: after.index(">") + 1]).encode()


class _Active(Exception):  # noqa: N818 - ends the reading
    """Something in a picture does more than draw."""


def _only_draws(path: Path) -> bool:
    parser, open_elements, styles = expat.ParserCreate("UTF-8"), list[str](), list[str]()

    def begin(name: str, attributes: dict[str, str]) -> None:
        open_elements.append(name)
        styles.extend(attributes.values())
        if name not in _DRAWING or any(key.lower().startswith("on") or "href" in key for key in attributes):
            raise _Active

    def text(said: str) -> None:
        if open_elements[-1] == "style":
            styles.append(said)

    def declared(version: str, encoding: str | None, standalone: int) -> None:
        if (encoding or "utf-8").lower() != "utf-8":  # a browser would read other signs than this parser
            raise _Active

    def refuse(*_: object) -> None:
        raise _Active

    parser.StartElementHandler, parser.CharacterDataHandler, parser.XmlDeclHandler = begin, text, declared
    parser.EndElementHandler = lambda name: open_elements.pop()
    parser.StartDoctypeDeclHandler = parser.ProcessingInstructionHandler = refuse
    try:
        with path.open("rb") as handle:
            parser.ParseFile(handle)
    except (_Active, expat.ExpatError):
        return False
    said = "".join(styles).lower()
    return not any(sign in said for sign in _LOADING)
