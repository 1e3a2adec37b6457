"""A nested configuration as trackers keep it: one dotted name a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def flattened(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Dotted names -> numbers, truth values and text; lists as JSON, null as ``null``.

    >>> flattened({"encoder": {"hidden": 32}, "seeds": [0, 1]})
    {'encoder.hidden': 32, 'seeds': '[0, 1]'}
    """
    found: dict[str, str | float | bool] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{key}": item for key, item in flattened(value).items()}
        else:
            found[str(name)] = value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)
    return found
