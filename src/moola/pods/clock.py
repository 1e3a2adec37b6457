"""Time as the rest of the room sees it, so that tests need not wait for it.

Standard library only, Python 3.8 or newer: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """The wall clock, because a pod bills while a laptop sleeps, and beside it one that nobody can set.

    Attributes:
        now: seconds since 1970, UTC.
        sleep: waits that many seconds.
        monotonic: seconds that only go on, the same for every process until the machine starts anew.
    """

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
