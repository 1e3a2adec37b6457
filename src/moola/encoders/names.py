"""Names of encoders: kind, objective, number of inputs, version."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def stem_of(encoder: str, objective: str, n_inputs: int) -> str:
    """The name without its version, e.g. ``bilstm_mae_4d``.

    Args:
        encoder: registered name of the encoder.
        objective: short name of the objective.
        n_inputs: D.
    """
    return f"{_spelt(encoder)}_{_spelt(objective)}_{n_inputs}d"


def short_name(objective: Any, registered: str) -> str:
    """What the objective calls itself in names; its registered name where it says nothing."""
    return getattr(objective, "short_name", registered)


def next_name(stem: str, taken: Iterable[str]) -> str:
    """The stem with the version after the highest that is taken: ``bilstm_mae_4d_v2``."""
    found = (re.fullmatch(re.escape(stem) + r"_v(\d+)", name) for name in taken)
    return f"{stem}_v{max((int(match[1]) for match in found if match), default=0) + 1}"


def _spelt(name: str) -> str:
    """Lower case, digits and underscores, which every file system takes."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
