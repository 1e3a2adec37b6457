"""One pod that a sweep rents, and what is done beside following it."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from moola.errors import MoolaError
from moola.pods.client_guard import DeafPodError
from moola.pods.clock import Clock
from moola.pods.guards import GuardLimits, Verdict
from moola.pods.keeper import CLIENT, CLIENT_EVERY_S
from moola.pods.provider import PodRecord
from moola.pods.running import PodRun
from moola.pods.session import RunOnPod

LOOK_S = 0.25
"""Of a wait, between two looks at what may interrupt it."""
_DEAF_S = 120.0
"""Beside what checkpoints may take, before a pod that is asked to end and does not is ended all the same."""


@dataclass
class RentedPod:
    """A pod on its way.

    Attributes:
        run: that rents it.
        share: US dollars that it may cost; infinite where there is no limit.
        users: runs of points that have a place on it.
        lost: runs of points whose connection to it broke before they had begun there.
        sends: held by the point that sends files to it.
        asked: set when its thread is to leave it as it is.
        record: it, once it is there.
        is_up: points may begin on it.
        is_closing: no further point begins on it, and it is ended when the last has left.
        stays: everybody is leaving, and points may be at work on it: it is not asked to end.
        is_over: its thread has ended.
        error: why there is no pod.
        thread: that follows it.
    """

    run: str
    share: float
    users: set[str] = field(default_factory=set[str])
    lost: set[str] = field(default_factory=set[str])
    sends: threading.Lock = field(default_factory=threading.Lock)
    asked: threading.Event = field(default_factory=threading.Event)
    record: PodRecord | None = None
    is_up: bool = False
    is_closing: bool = False
    stays: bool = False
    is_over: bool = False
    error: MoolaError | None = None
    thread: threading.Thread | None = None


@dataclass
class Visit:
    """What is done beside following a pod: its keeper hears of this client, and points have the time to leave.

    Attributes:
        pod: it.
        change: is told what changes, and waited for.
        clock: of its run.
        guards: of it.
    """

    pod: RentedPod
    change: threading.Condition
    clock: Clock
    guards: GuardLimits
    _heard: float = -math.inf
    _asked_at: float = math.inf

    def looked(self, pod: RunOnPod, status: Mapping[str, Any]) -> None:
        """Make it known that points may begin, that a client is here, and that the pod is to end.

        Raises:
            DeafPodError: that is not heeded.
        """
        if not self.pod.is_up and status.get("step") == "job":
            with self.change:
                self.pod.is_up = True
                self.change.notify_all()
        if self.clock.monotonic() >= self._heard + CLIENT_EVERY_S:
            self._heard = self.clock.monotonic()
            pod.write(CLIENT, {"at": self.clock.now()})
        if self.pod.is_closing and not self.pod.users and not self.pod.stays:
            self._ask(pod, status)

    def _ask(self, pod: RunOnPod, status: Mapping[str, Any]) -> None:
        why, at = "no point waits for it", self.clock.monotonic()
        if math.isinf(self._asked_at):
            pod.write("stop.json", {"attempt": status.get("attempt"), "why": why})
            self._asked_at = at
        elif at > self._asked_at + self.guards.checkpoint_s + _DEAF_S:
            raise DeafPodError(pod, status, Verdict("stopped", why))

    def before_end(self) -> None:
        """Wait until points have brought what they have; no longer than a guard on the pod would."""
        self.pod.is_closing = True
        until = self.clock.monotonic() + self.guards.grace_min * 60 + self.guards.checkpoint_s
        while self.pod.users and self.clock.monotonic() < until:
            with self.change:
                self.change.wait(LOOK_S)


@contextlib.contextmanager
def one_by_one(pod: RentedPod, run: PodRun, look: Callable[[], None]) -> Iterator[None]:
    """Have the run of a point wait with sending until no other sends to its pod: most of it is the same files.

    Args:
        pod: that it was lent.
        run: it.
        look: raises what is to interrupt the wait.
    """
    taken, is_mine = run.taken, False

    def wait(record: PodRecord) -> None:
        nonlocal is_mine
        taken(record)
        while not is_mine:
            look()
            is_mine = pod.sends.acquire(timeout=LOOK_S)

    def release(*_: object) -> None:
        nonlocal is_mine
        if is_mine:
            is_mine = False
            pod.sends.release()

    run.taken, run.looked = wait, release
    try:
        yield
    finally:
        release()


def join(thread: threading.Thread | None) -> None:
    """Wait for a thread; in portions, so that Ctrl-C is heard."""
    while thread is not None and thread.is_alive():
        thread.join(LOOK_S)
