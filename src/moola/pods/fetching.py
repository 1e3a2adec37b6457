"""What a run leaves comes from its pod: verified results to their places, working state beside them, a report."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moola.errors import StorageError
from moola.layout import write_json
from moola.pods.checkpoints import kept_checkpoint, pull_checkpoint
from moola.pods.provider import PodRecord
from moola.pods.publishing import Published, publish_results, pull_results, rented_by
from moola.pods.session import RunOnPod
from moola.pods.wire import ConnectionLostError, RemoteError

if TYPE_CHECKING:
    from moola.pods.running import PodRun


def fetch_results(run: PodRun, record: PodRecord, pod: RunOnPod) -> Published:
    """Pull the results of a finished run, hold them against its manifests and publish them.

    Raises:
        PodTakenError: another client took the run over meanwhile.
        StorageError: they are not what the run wrote, or there is no room for them; nothing is published.
        ConnectionLostError: the connection does not come back.
    """
    staging = run.folder / "staging"
    began = time.monotonic()
    staged = pull_results(pod, staging, run.bundle.facts.get("rooms"))
    size = [path.stat().st_size for path in staging.rglob("*") if path.is_file()]
    run.ledger.add_transfer(run.run, record.pod_id, "pull", time.monotonic() - began, len(size), sum(size), sum(size))
    rented = rented_by(run.run, record, run.ledger, run.bundle, at=run.clock.now())
    run.hold()
    published = publish_results(staged, run.shelf, rented=rented)
    if not published.came:
        run.tell(f"{run.run} was finished here before, and stays: {published.folder}; the pod's results: {staging}")
        return published
    if published.disarmed:
        run.tell(f"a browser would run what is in {', '.join(published.disarmed)}: their names say so now")
    shutil.rmtree(staging)
    run.tell(f"{len(size)} files are here, verified; {published.folder}")
    return published


def fetch_state(run: PodRun, pod: RunOnPod) -> None:
    """Pull the working state of a run that has not finished, so that the next attempt goes on from it.

    Raises:
        StorageError: the pod offers what is refused, or there is no room for it; the copy before this one stays.
        ConnectionLostError: the connection does not come back.
    """
    n_files = pull_checkpoint(pod, run.folder / "checkpoint")
    kept = kept_checkpoint(run.folder / "checkpoint")
    if kept is None:
        run.tell("it has done nothing yet that another attempt could go on from")
    else:
        run.tell(f"{n_files} files of its working state came here; the next attempt goes on from {kept}")


def write_report(run: PodRun, record: PodRecord, pod: RunOnPod, status: Mapping[str, Any]) -> None:
    """Write down what the pod was and how its steps ended, as far as that goes: no pod is kept on for it."""
    found: dict[str, Any] = {}
    with contextlib.suppress(ConnectionLostError, RemoteError):
        found = {name: pod.read(f"{name}-report.json") for name in ("environment", "preflight")}
    report = {"pod": pod.spoken(), "bundle": run.bundle.bundle_id, "status": dict(status), **found}
    try:
        write_json(run.folder / "pods" / f"{record.pod_id}.json", report)
    except (StorageError, OSError, ValueError) as error:  # a full disk here, or NaN from there
        run.tell(f"how its steps ended could not be written down: {error}")
