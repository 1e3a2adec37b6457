"""Figures that others published on the same test splits, with where they come from (``published.json``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Published:
    """One method as others report it.

    Attributes:
        name: of the method.
        source: where the figures come from.
        accuracy: set -> accuracy on its default test split.
    """

    name: str
    source: str
    accuracy: Mapping[str, float]


def published() -> tuple[Published, ...]:
    """All methods whose figures moola knows."""
    told = json.loads(resources.files("moola.bench").joinpath("published.json").read_text(encoding="utf-8"))
    return tuple(Published(name, one["source"], one["accuracy"]) for name, one in told["methods"].items())
