"""Pictures as PNG, for places that show no SVG; resvg renders them, so no browser is needed."""

from __future__ import annotations

from moola.drawing.theme import in_light


def png_file(svg: str, zoom: float = 2.0) -> bytes:
    """Render an SVG document of `moola.drawing.svg_file` as PNG, in the light palette.

    Args:
        svg: the document.
        zoom: pixels a unit of the viewBox; 2 is sharp on paper and on dense screens.
    """
    import resvg_py

    # The renderer knows neither custom properties nor colour schemes.
    return bytes(resvg_py.svg_to_bytes(svg_string=in_light(svg), zoom=zoom))
