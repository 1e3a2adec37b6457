"""What every component keeps, whatever it is."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from moola.config import describe, digest_json


def check_component(component: Any) -> None:
    """A component is a frozen dataclass that describes itself in plain JSON, the same way twice."""
    assert not isinstance(component, type), f"this is a class, not an instance: {component.__name__}() is one"
    assert dataclasses.is_dataclass(type(component)), f"{component!r} is not a dataclass"
    assert type(component).__dataclass_params__.frozen, f"{type(component).__name__} is not frozen"  # type: ignore[attr-defined]
    try:
        json.dumps(describe(component), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{type(component).__name__} has a field that is no plain values: {error}") from error
    assert digest_json(component) == digest_json(dataclasses.replace(component)), "equal components differ in digest"
