"""Rented pods of a sweep as a lender for its points: each is a folder there, and the sweep alone makes and ends pods.

What a point has of a pod is written down as on a host of one's own; whether the pod is there, and where, is asked of
who lends that.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from moola.pods.acquiring import was_started
from moola.pods.clock import Clock
from moola.pods.ledger import Ledger, LedgerPod
from moola.pods.provider import (
    LENT,
    LocalTarget,
    NoCapacityError,
    Offer,
    PodRecord,
    PodState,
    PodWish,
    Provider,
    RefusedHereError,
)
from moola.pods.ssh import SshTarget

_DEAD = ("EXITED", "ERROR", "TERMINATED")
_WAY_OUT = "the command of its sweep goes on with it on another one"


class LentProvider:
    """Lends pods that a sweep rented.

    Args:
        lender: of the pods themselves.
        ledger: knows which run rented which pod, and what is on it.
        hosts: runs that rented, each as often as it takes a point.
        clock: for tests.
    """

    name = LENT
    can_end_itself = False
    makes_machines = True

    def __init__(self, lender: Provider, ledger: Ledger, hosts: Sequence[str], *, clock: Clock | None = None) -> None:
        self._lender, self._ledger, self._clock = lender, ledger, clock or Clock()
        self._slots = Counter(hosts)
        self._ended: set[str] = set()

    @property
    def root(self) -> str:
        """As on the pods themselves."""
        return self._lender.root

    def offers(self, wish: PodWish) -> list[Offer]:
        """The pods on which the keeper was started."""
        hosts = [pod for run in self._slots for pod in self._ledger.pods(run, open_only=True)]
        found = [pod for pod in hosts if pod.provider == self._lender.name and was_started(self._ledger, pod)]
        if not found:
            raise NoCapacityError(f"no pod is there for it: {', '.join(self._slots) or 'none was lent'}", "", _WAY_OUT)
        return [Offer("", "", 0, LENT, pod.pod_id, "HIGH", 0.0, wish.count) for pod in found]

    def create(self, wish: PodWish, run: str, offer: Offer, public_key: str) -> PodRecord:
        """A name for the point's folder; image, disk and key are those of the pod."""
        host = self._host(offer.data_center)
        if host is None:
            raise RefusedHereError(f"pod {offer.data_center} is gone", "its sweep ended it", _WAY_OUT)
        pod_id, now = f"{host.pod_id}-{secrets.token_hex(4)}", self._clock.now()
        pod = replace(PodRecord.unbilled(LENT, pod_id, run, self._ledger.owner, offer, now), gpu=host.gpu)
        if not self._ledger.claim(pod, self._slots[host.run]):
            told = f"pod {host.pod_id} has as many points as it takes"
            raise RefusedHereError(told, told, _WAY_OUT)
        return pod

    def find(self, run: str | None = None) -> list[PodRecord]:
        """What is open on pods that are alive."""
        return [
            pod.record(self._ledger.owner)
            for pod in self._ledger.pods(run, open_only=True)
            if pod.provider == LENT and pod.pod_id not in self._ended and not self._death(pod.data_center)
        ]

    def status(self, pod_id: str) -> PodState:
        """Running as long as the pod does, until it is ended here."""
        known = [one for one in self._ledger.pods(open_only=True) if (one.provider, one.pod_id) == (LENT, pod_id)]
        if not known or pod_id in self._ended:
            return PodState("TERMINATED", detail="its pod was ended")
        death = self._death(known[0].data_center)
        return PodState("TERMINATED", detail=death) if death else PodState("RUNNING", uptime_s=0.0)

    def target(self, pod: PodRecord, *, keys_changed: bool = False) -> SshTarget | LocalTarget | None:
        """The pod's sshd, verified as for who rented it."""
        host = self._host(pod.data_center)
        return self._lender.target(host.record(self._ledger.owner), keys_changed=keys_changed) if host else None

    def system_log(self, pod_id: str, tail: int) -> list[str]:
        """The lender's log is about the pod, and the sweep shows it."""
        return []

    def end(self, pod_id: str) -> None:
        """The pod stays: only the name goes."""
        self._ended.add(pod_id)

    def billed(self, since: datetime) -> Mapping[str, float]:
        """The pod is billed, and nothing on it."""
        return {}

    def _host(self, pod_id: str) -> LedgerPod | None:
        found = [pod for pod in self._ledger.pods(open_only=True) if pod.pod_id == pod_id]
        return found[0] if found else None

    def _death(self, pod_id: str) -> str:
        """What became of a pod that does not run any more; empty: it does."""
        if self._host(pod_id) is None:
            return f"pod {pod_id} was ended"
        state = self._lender.status(pod_id)
        return f"pod {pod_id} is {state.status} {state.detail}".strip() if state.status in _DEAD else ""
