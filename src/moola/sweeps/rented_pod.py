"""One pod that a sweep rents, and what is done beside following it."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from moola.errors import MoolaError
from moola.pods.clock import Clock
from moola.pods.keeper import CLIENT, CLIENT_EVERY_S
from moola.pods.provider import PodRecord
from moola.pods.running import PodRun
from moola.pods.session import RunOnPod

LOOK_S = 0.25
"""Of a wait, between two looks at what may interrupt it."""


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
        leave_s: seconds that points may take to leave before it is ended all the same.
    """

    pod: RentedPod
    change: threading.Condition
    clock: Clock
    leave_s: float
    _heard: float = -math.inf
    _has_asked: bool = False

    def looked(self, pod: RunOnPod, status: Mapping[str, Any]) -> None:
        """Make it known that points may begin, that a client is here, and that the pod is to end."""
        if not self.pod.is_up and status.get("step") == "job":
            with self.change:
                self.pod.is_up = True
                self.change.notify_all()
        if self.clock.monotonic() >= self._heard + CLIENT_EVERY_S:
            self._heard = self.clock.monotonic()
            pod.write(CLIENT, {"at": self.clock.now()})
        if self.pod.is_closing and not self.pod.users and not self._has_asked:
            self._has_asked = True
            pod.write("stop.json", {"attempt": status.get("attempt"), "why": "no point waits for it"})

    def before_end(self) -> None:
        """Wait until points have brought what they have; no longer than a guard on the pod would."""
        self.pod.is_closing = True
        until = self.clock.monotonic() + self.leave_s
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
