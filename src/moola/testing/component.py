"""What every component keeps, whatever it is."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from moola.config import describe, digest_json


def check_component(component: Any) -> None:
    """A component is a frozen dataclass that describes itself in plain JSON, the same way twice."""
    assert dataclasses.is_dataclass(type(component)), f"{component!r} is not a dataclass"
    assert type(component).__dataclass_params__.frozen, f"{type(component).__name__} is not frozen"  # type: ignore[attr-defined]
    json.dumps(describe(component), allow_nan=False)
    assert digest_json(component) == digest_json(dataclasses.replace(component)), "equal components differ in digest"
