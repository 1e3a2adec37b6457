"""Every page moola makes: one HTML document with styles and pictures inside, no script, nothing to load."""

from __future__ import annotations

from importlib import resources
from typing import Any

from moola import drawing
from moola.drawing.numbers import duration, figure, p_value


def render_page(template: str, **values: Any) -> str:
    """Fill a template that extends ``moola.drawing:page.html.j2``.

    Args:
        template: ``"package:file"``, e.g. ``"moola.evaluation:report.html.j2"``.
        values: what the template names; a name it lacks is an error.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_source),
    )
    environment.filters |= {"figure": figure, "duration": duration, "p_value": p_value}
    return environment.get_template(template).render(drawing=drawing, **values)


def _source(name: str) -> str:
    package, _, file = name.partition(":")
    return resources.files(package).joinpath(file).read_text(encoding="utf-8")
