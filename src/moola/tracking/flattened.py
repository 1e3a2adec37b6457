"""A nested configuration as trackers keep it: one dotted name a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moola.config import leaves


def flattened(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Dotted names -> numbers, truth values and text; lists as JSON, null as ``null``.

    >>> flattened({"encoder": {"hidden": 32}, "seeds": [0, 1]})
    {'encoder.hidden': 32, 'seeds': '[0, 1]'}
    """
    return {
        name: value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)
        for name, value in leaves(config)
    }
