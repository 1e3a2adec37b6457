"""Waiting for a pod to come up, each phase no longer than it may take; what the lender wrote is shown when it does not.

RunPod says RUNNING before anything can be reached, shows a port some time before sshd answers on it, and some draws
never come up at all. Only a session that was opened counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from moola.errors import ConfigError
from moola.pods.clock import Clock
from moola.pods.ledger import Ledger
from moola.pods.provider import BadDrawError, LocalTarget, PodError, PodRecord, PodState, Provider
from moola.pods.ssh import HostKeyError, SshTarget

Session = TypeVar("Session")
_PULLING = re.compile(r"pull|fetch|download|extract|waiting for image", re.IGNORECASE)
_LOG_LINES = 30
"""Of the lender's log that an error shows."""
_AWAY_S = 1800.0
"""How long a lender that does not answer is waited for: the pod comes up without it, and could not be ended either."""


@dataclass(frozen=True)
class PhaseLimits:
    """Seconds that each phase of a pod may take; `env_s` and `smoke_s` are spent on the pod.

    Attributes:
        create_s: until a machine is found for it.
        pull_s: fetching the image.
        boot_s: starting the container.
        ssh_s: until a session is open.
        env_s: installing what the image lacks.
        smoke_s: two steps of the user's own configuration.
        silent_s: that a pod which works may not answer, while its lender has it, before its client leaves it alone.
    """

    create_s: float = 120.0
    pull_s: float = 900.0
    boot_s: float = 360.0
    ssh_s: float = 240.0
    env_s: float = 900.0
    smoke_s: float = 900.0
    silent_s: float = 900.0

    def __post_init__(self) -> None:
        problems = [f"{name}: {value:g} must be above 0" for name, value in vars(self).items() if value <= 0]
        if problems:
            raise ConfigError(problems)

    def of(self, phase: str) -> float:
        """The limit of ``create``, ``pull``, ``boot`` or ``ssh``."""
        return {"create": self.create_s, "pull": self.pull_s, "boot": self.boot_s, "ssh": self.ssh_s}[phase]


def wait_for_session(
    provider: Provider,
    pod: PodRecord,
    ledger: Ledger,
    open_session: Callable[[SshTarget | LocalTarget], Session | None],
    *,
    limits: PhaseLimits,
    tell: Callable[[str], None],
    clock: Clock | None = None,
    every_s: float = 5.0,
) -> Session:
    """Wait until a session on a pod is open.

    Args:
        provider: who lends it.
        pod: it.
        ledger: gets every state that is seen.
        open_session: opens one; None: it does not answer yet.
        limits: of each phase.
        tell: gets a line when the phase changes, and the lender's new lines.
        clock: for tests.
        every_s: pause between two looks.

    Raises:
        BadDrawError: the pod died, or a phase took too long; the lender's last lines are in it.
        PodError: the lender did not answer for half an hour, which counts for no phase.
        HostKeyError: whoever answers is not the pod; of a machine that was made for it, still when the phase is over.
    """
    clock = clock or Clock()
    spent: defaultdict[str, float] = defaultdict(float)
    watch, phase, refusal, away_s = _Watch(provider, pod.pod_id, tell), "", None, 0.0
    while True:
        began = clock.monotonic()
        try:
            try:  # where it is, too, at every look: it may have been started anew
                state = watch.look(ledger)
                target = provider.target(pod, keys_changed=refusal is not None) if watch.phase == "ssh" else None
            except PodError as error:  # the pod comes up without its lender's word
                away_s = _waited_for(error, away_s, began, pod, tell, clock, every_s)
                continue
            if state.status in ("EXITED", "ERROR", "TERMINATED"):
                raise _bad_draw(provider, pod, f"it is {state.status}" + (f": {state.detail}" if state.detail else ""))
            session = None if target is None else open_session(target)
            refusal = None
        except HostKeyError as error:  # an old port may lead to another pod for a while
            if not provider.makes_machines:
                raise
            session, refusal = None, error
        if session is not None:
            return session
        away_s = 0.0
        if watch.phase != phase:
            phase = watch.phase
            tell(f"pod {pod.pod_id}: {_SPOKEN[phase]}")
        clock.sleep(every_s)
        spent[phase] += clock.monotonic() - began
        if spent[phase] > limits.of(phase):
            why = f"{_SPOKEN[phase]} for {spent[phase]:.0f} s, {limits.of(phase):.0f} s are allowed"
            raise refusal or _bad_draw(provider, pod, why)


def _waited_for(
    error: PodError,
    away_s: float,
    began: float,
    pod: PodRecord,
    tell: Callable[[str], None],
    clock: Clock,
    every_s: float,
) -> float:
    """Seconds that a lender has not answered for, after a pause; where they are too many, its error is raised."""
    if not away_s:
        tell(f"pod {pod.pod_id}: {pod.provider} does not answer, it is asked again: {error.spoken()}")
    clock.sleep(every_s)
    away_s += clock.monotonic() - began
    if away_s > _AWAY_S:
        raise error
    return away_s


_SPOKEN = {
    "create": "waits for a machine",
    "pull": "fetches the image",
    "boot": "starts the container",
    "ssh": "waits for its sshd",
}
"""Of each phase; a session that opens at once was not waited for."""


class _Watch:
    """Tells the phase of a pod from its state and from what its host writes."""

    def __init__(self, provider: Provider, pod_id: str, tell: Callable[[str], None]) -> None:
        self._provider, self._pod_id, self._tell = provider, pod_id, tell
        self._shown: list[str] = []
        self.phase = "create"

    def look(self, ledger: Ledger) -> PodState:
        state = self._provider.status(self._pod_id)
        ledger.add_state(self._provider.name, self._pod_id, state)
        if state.status == "PROVISIONING":
            self.phase = "create"
        elif state.status == "RUNNING" and state.uptime_s is not None:
            self.phase = "ssh"
        else:
            lines = self._provider.system_log(self._pod_id, _LOG_LINES)
            for line in _news(self._shown, lines):
                self._tell(f"  {line}")
            self._shown = lines
            self.phase = "pull" if lines and _PULLING.search(lines[-1]) else "boot"
        return state


def _news(before: list[str], now: list[str]) -> list[str]:
    """Lines that were appended: what follows the longest end of `before` with which `now` begins."""
    for start in range(len(before) + 1):
        end = before[start:]
        if now[: len(end)] == end:
            return now[len(end) :]
    return now


def _bad_draw(provider: Provider, pod: PodRecord, why: str) -> BadDrawError:
    lines = provider.system_log(pod.pod_id, _LOG_LINES)
    log = "\n".join(["its host wrote last:", *(f"  {line}" for line in lines)]) if lines else "its host wrote nothing"
    where = ", ".join(part for part in (pod.gpu, pod.data_center, pod.cloud.lower()) if part)
    return BadDrawError(f"pod {pod.pod_id} ({where}) did not come up", f"{why}\n{log}")
