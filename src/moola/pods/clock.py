"""Time as the rest of the room sees it, so that tests need not wait for it.

Standard library only, Python 3.8 or newer: this file travels to the pod with the supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Two clocks: a pod bills while a laptop sleeps, but nobody who sleeps has waited for an answer in vain.

    Attributes:
        now: seconds since 1970, UTC. It jumps where the machine slept or its time was set.
        sleep: waits that many seconds.
        monotonic: seconds of a clock that nobody can set, the same for every process until the machine starts anew; it
            stands still while the machine sleeps.
    """

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
