"""Stylesheets and scripts that a page of this machine loads."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from fastapi import HTTPException
from fastapi.responses import Response


def static_file(package: str, name: str, types: Mapping[str, str], theme: str) -> Response:
    """A file of the folder ``static`` of a package, or the stylesheet of all pictures under the name ``theme.css``.

    Args:
        package: ``moola.review``.
        name: as the page asks for it.
        types: those there are, and the media type of each.
        theme: content of ``theme.css``.

    Raises:
        HTTPException: 404, there is no such file.
    """
    if name == "theme.css":
        return Response(theme, media_type="text/css")
    if name not in types:
        raise HTTPException(404)
    content = resources.files(package).joinpath("static", name).read_bytes()
    return Response(content, media_type=types[name])
