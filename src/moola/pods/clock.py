"""Time as the rest of the room sees it, so that tests need not wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """The wall clock, because a pod bills while a laptop sleeps and a monotonic clock may stand still.

    Attributes:
        now: seconds since 1970, UTC.
        sleep: waits that many seconds.
    """

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
