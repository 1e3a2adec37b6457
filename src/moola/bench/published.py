"""Figures of other methods on the same test splits, with where they come from (``published.json``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Published:
    """One method as others report it, or as moola's authors ran it.

    Attributes:
        name: of the method.
        source: where the figures come from.
        accuracy: set -> accuracy on its default test split.
        by_others: whether others published these figures; else moola's authors made them once, on a machine that
            `source` names.
    """

    name: str
    source: str
    accuracy: Mapping[str, float]
    by_others: bool = True

    @property
    def origin(self) -> str:
        """Whose figures they are."""
        return "published" if self.by_others else "run by moola's authors"


def published() -> tuple[Published, ...]:
    """All methods whose figures moola knows."""
    told = json.loads(resources.files("moola.bench").joinpath("published.json").read_text(encoding="utf-8"))
    return tuple(
        Published(name, one["source"], one["accuracy"], one.get("published", True))
        for name, one in told["methods"].items()
    )
