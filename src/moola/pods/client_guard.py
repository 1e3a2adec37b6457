"""The guards that a client keeps, so that either side alone suffices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moola.pods.clock import Clock
from moola.pods.guards import Observed, PricedLimits, Verdict, judge
from moola.pods.session import RunOnPod

_LATE_GUARD_S = 60.0
"""How long the supervisor has to act, on a guard and then on a request, while the client watches."""


class DeafPodError(Exception):
    """The supervisor heeds neither a guard nor the request to stop, so that the client has to end the pod.

    Args:
        pod: as it is connected now.
        status: its last.
        verdict: of the guard.
    """

    def __init__(self, pod: RunOnPod, status: Mapping[str, Any], verdict: Verdict) -> None:
        super().__init__(verdict.why)
        self.pod, self.status, self.verdict = pod, status, verdict


class ClientGuard:
    """The guards that need no look at the pod, for the case that its supervisor does not act.

    Args:
        limits: of the run.
        observed: tells what the ledger knows of its time and money.
        clock: for tests.
    """

    def __init__(self, limits: PricedLimits, observed: Callable[[], Observed], clock: Clock | None = None) -> None:
        self._limits, self._observed, self._clock = limits, observed, clock or Clock()
        self._since: float | None = None
        self._is_asked = False

    def look(self, pod: RunOnPod, status: Mapping[str, Any]) -> None:
        """Ask the supervisor to stop where a guard has been speaking for a while and the job still runs.

        Raises:
            DeafPodError: that was in vain, too.
        """
        verdict = judge(self._limits, self._observed())
        if verdict is None or status.get("phase") not in ("running", "stopping"):
            self._since, self._is_asked = None, False
            return
        if self._since is None:
            self._since = self._clock.monotonic()
        late_s = self._clock.monotonic() - self._since
        if late_s > _LATE_GUARD_S and not self._is_asked:
            pod.write("stop.json", {"attempt": status.get("attempt"), "why": f"{verdict.guard}: {verdict.why}"})
            self._is_asked = True
        if late_s > 2 * _LATE_GUARD_S + self._limits.checkpoint_s:
            raise DeafPodError(pod, status, verdict)
