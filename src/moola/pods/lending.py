"""The run that rents a pod for a sweep: what it is called, what travels for it, and what its points are told."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import moola
from moola.layout import Layout
from moola.pods.bundle import OBJECTS, Bundle, BundledFile
from moola.pods.ledger import Ledger, LedgerPod
from moola.pods.packing import BUNDLES
from moola.pods.pod_job import KEEPS
from moola.pods.provider import LENT
from moola.pods.settings import PodSettings

_TRAVELS = ("clock", "guards", "keeper", "pod_end", "run_files", "run_watch", "step_process", "supervisor")
_FILES = ("__init__.py", "pods/__init__.py", *(f"pods/{name}.py" for name in _TRAVELS))
_FILES += ("pods/volume_copies.py", "pods/watchdog.py")
"""Of moola: what the supervisor and the keeper import."""


CALLED_OFF = "called off"
"""Kind of the ledger's event of a sweep that a command is about to end all that it has begun."""


def pod_run(sweep: str, number: int) -> str:
    """The run that rents a pod of a sweep; each rents one pod, and no number comes twice."""
    return f"{sweep}-pod{number}"


def pod_runs(sweep: str, ledger: Ledger) -> list[str]:
    """Runs that rented pods for a sweep, or were about to, in their order."""
    begin = pod_run(sweep, 0)[:-1]
    found = [run for run in ledger.runs(begin) if re.fullmatch(r"\d+", run[len(begin) :])]
    return sorted(found, key=lambda run: int(run[len(begin) :]))


def next_pod_run(sweep: str, ledger: Ledger) -> str:
    """A run of a sweep that has not rented yet."""
    known = pod_runs(sweep, ledger)
    return pod_run(sweep, int(known[-1].rpartition("-pod")[2]) + 1 if known else 0)


def keeper_bundle(run: str, layout: Layout) -> Bundle:
    """What travels for the run that rents a pod, stored for later clients: nothing of the project.

    Raises:
        StorageError: it cannot be written.
    """
    package = Path(moola.__file__).parent
    files: list[BundledFile] = []
    places: dict[str, Path] = {}
    for name in _FILES:
        content = (package / name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        files.append(BundledFile(f"moola/{name}", sha256, len(content), False, "run"))
        places[sha256] = package / name
    facts = {
        "git": None,
        "overrides": [],
        "config": "device: cpu\n",
        "run_id": run,
        "requirements": [],
        "rows": {},
        "rooms": {},
        "moola": {"version": moola.__version__, "path": ""},
        KEEPS: True,
    }
    room = layout.room(BUNDLES)
    bundle = Bundle.of(files, facts, None, places).stored(room / OBJECTS)
    bundle.write(room / bundle.bundle_id)
    return bundle


def renting(settings: PodSettings, share: float | None) -> PodSettings:
    """Settings of a pod of a sweep: one machine, and its share of the budget in US dollars (None: no limit)."""
    return replace(settings, guards=replace(settings.guards, budget=share), retries=0, keep=False)


def borrowing(settings: PodSettings, host: str, points: int) -> PodSettings:
    """Settings of a point on a pod of its sweep.

    Money is the pod's affair. Hours are the point's, too: one that needs more than a pod may take in all goes from pod
    to pod for ever.

    Args:
        settings: of the sweep.
        host: run that rented the pod; empty: it is not known yet.
        points: that the pod takes at once.
    """
    hosts = (host,) * points if host else ()
    return replace(settings, provider=LENT, host=hosts, guards=replace(settings.guards, budget=None), retries=0)


@dataclass(frozen=True)
class SharedRent:
    """What a pod cost, shared out.

    Attributes:
        by_run: US dollars by point; where several were at work, they share that time evenly.
        idle: US dollars of set-up, and of time without a point.
    """

    by_run: dict[str, float]
    idle: float


def shared_rent(host: LedgerPod, pods: Sequence[LedgerPod]) -> SharedRent:
    """Share the rent of a pod out among its points.

    Args:
        host: the pod.
        pods: all that the ledger knows.
    """
    began, until = host.created_at.timestamp(), host.created_at.timestamp() + host.seconds
    spans = [
        (pod.run, max(pod.created_at.timestamp(), began), min(pod.created_at.timestamp() + pod.seconds, until))
        for pod in pods
        if pod.provider == LENT and pod.data_center == host.pod_id
    ]
    rate = host.cost / host.seconds if host.seconds else 0.0
    edges = sorted({at for _, begin, end in spans for at in (begin, end) if begin < end})
    by_run = dict.fromkeys((run for run, _, _ in spans), 0.0)
    for begin, end in itertools.pairwise(edges):
        at_work = [run for run, first, last in spans if first <= begin and end <= last]
        for run in at_work:
            by_run[run] += rate * (end - begin) / len(at_work)
    return SharedRent(by_run, max(host.cost - sum(by_run.values()), 0.0))


def rent_of(run: str, ledger: Ledger) -> float:
    """US dollars of the rent of a sweep's pods that fall to a point."""
    pods = ledger.pods()
    hosts = {pod.data_center for pod in pods if pod.run == run and pod.provider == LENT}
    return sum(shared_rent(pod, pods).by_run.get(run, 0.0) for pod in pods if pod.pod_id in hosts)
