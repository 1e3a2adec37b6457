"""The guards that a client keeps, so that either side alone suffices."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from moola.pods.guards import GuardLimits, Observed, judge
from moola.pods.session import RunOnPod

_LATE_GUARD_S = 60.0
"""How long the supervisor has to act on a guard before the client does."""


class ClientGuard:
    """The guards that need no look at the pod, for the case that its supervisor does not act.

    Args:
        limits: of the run.
        observed: tells what the ledger knows of its time and money.
    """

    def __init__(self, limits: GuardLimits, observed: Callable[[], Observed]) -> None:
        self._limits, self._observed = limits, observed
        self._since: float | None = None

    def look(self, pod: RunOnPod, status: Mapping[str, Any]) -> None:
        """Ask the supervisor to stop where a guard has been speaking for a while and the job still runs."""
        verdict = judge(self._limits, self._observed())
        if verdict is None or status.get("phase") != "running":
            self._since = None
            return
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since > _LATE_GUARD_S:
            pod.write("stop.json", {"attempt": status.get("attempt"), "why": f"{verdict.guard}: {verdict.why}"})
