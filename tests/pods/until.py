"""Waiting in tests for what another process or thread does, as long as it takes and no longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_for(look: Callable[[], Any], within_s: float = 60.0) -> Any:
    """What `look` gives as soon as it gives something; fails where it never does."""
    until = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
    return found
