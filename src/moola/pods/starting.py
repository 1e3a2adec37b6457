"""Starting a run on a pod: what is missing is sent, the job is written, its supervisor begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.layout import write_bytes
from moola.pipelines.rented import POD_FILE
from moola.pods.acquiring import STARTED, Acquired, was_started
from moola.pods.checkpoints import checkpoint_files, kept_checkpoint, taken_s
from moola.pods.ending import end_unused
from moola.pods.patience import Patience
from moola.pods.pod_job import Spent, make_job
from moola.pods.provider import PodError, PodRecord
from moola.pods.providers import api_url
from moola.pods.publishing import rented_by
from moola.pods.session import CLOCK_SKEW_S, PodShell, RunOnPod
from moola.pods.transfer import push
from moola.pods.watchdog import SILENCE_S

if TYPE_CHECKING:
    from moola.pods.running import PodRun

_SEALED = Path("metadata") / "sealed_tests.jsonl"
_PATIENCE = 20
"""Attempts of a push that bring nothing: some 7 minutes, for a network that is away."""
_LEAVES_S = 30.0
_STARTS_S = 60.0
_LOOK_S = 0.05


def start(run: PodRun, acquired: Acquired[PodShell]) -> RunOnPod:
    """Send what is missing and start the job, unless it is there already.

    A pod on which nothing was ever started is ended where this fails: nobody else would.

    Raises:
        PodError: the supervisor does not start; or a pod that is to be ended cannot be.
        StorageError: the transfer was refused.
        ConnectionLostError: the connection does not come back.
    """
    pod, record = acquired.session.of_run(run.run), acquired.pod
    used, is_watched = was_started(run.ledger, record), False
    try:
        run.taken(record)
        status, job = pod.status(), pod.job()
        used = used or bool(status)  # of a ledger that was deleted
        if status and status.get("outcome") in (None, "finished"):
            _go_on(run, record, pod, status, job)
            return pod
        attempt = int(job.get("attempt", 0)) + 1
        run.hold()
        if run.provider.can_end_itself:
            pod.watch(attempt, _own_end(run, record))
            is_watched = True
        if not status or job.get("bundle") != run.bundle.bundle_id:
            _send(run, pod, status)
        _begin(run, pod, record, attempt=attempt, before=status)
    except BaseException as error:
        if not used:
            why = "nothing was started on it"
            hold = run.keep_lease
            end_unused(run.provider, run.run, run.ledger, why, error, tell=run.tell, clock=run.clock, hold=hold)
        else:
            run.tell(f"{run.stays_on(record)}{_until_its_end(run) if is_watched else ''}")
        raise
    return pod


def _go_on(run: PodRun, record: PodRecord, pod: RunOnPod, status: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    """A run that is there already needs no more than its supervisor."""
    if job.get("bundle") != run.bundle.bundle_id:
        run.tell("files changed since it was sent, none that the run depends on: its id is the same")
    run.tell(f"the run is on pod {record.pod_id} already ({status.get('phase')})")
    if not was_started(run.ledger, record):  # the ledger that knew was deleted
        run.ledger.add_event(run.run, record.pod_id, STARTED, "found at work")
    if status.get("phase") != "over":
        if run.provider.can_end_itself and not pod.is_supervised(status):  # what watched it went with its container
            pod.watch(int(status.get("attempt", 1)), _own_end(run, record))
        pod.supervise(str(job.get("moola_path", run.moola_path)))  # it may have been sent by another client


def _send(run: PodRun, pod: RunOnPod, before: Mapping[str, Any]) -> None:
    """Push the bundle, with the last checkpoint unless the pod itself has a later state."""
    facts, skew_s = pod.shell.facts, pod.shell.skew_s
    run.tell(
        f"pod: Python {facts['python']}, {facts['cores']} cores, {facts['memory_bytes'] / 1e9:.1f} GB memory, "
        f"{facts['free_bytes'] / 1e9:.1f} GB disk free"
    )
    if abs(skew_s) > CLOCK_SKEW_S:
        run.tell(f"its clock is {skew_s:+.0f} s off: times in its log are, too; limits count by its own steps")
    extra = checkpoint_files(run.folder / "checkpoint", taken_after_s=before.get("billed_s", 0.0))
    kept = kept_checkpoint(run.folder / "checkpoint") if extra else None
    if kept:
        run.tell(f"it goes on from the checkpoint that is here: {kept}")
    name, sealed = f"artifacts/{_SEALED}", run.shelf.artifacts / _SEALED
    if sealed.is_file():
        extra[name] = _merged(sealed, extra.get(name), run.folder / _SEALED.name)
    began = time.monotonic()
    patience = Patience(_PATIENCE, longest_s=30.0, sleep=run.clock.sleep)
    report = push(pod.shell.connection, pod.shell.root, run.bundle, run.run, extra=extra, patience=patience)
    run.ledger.add_transfer(run.run, "", "push", report.took_s, report.files, report.bytes, report.sent_bytes)
    run.seconds["push"] = time.monotonic() - began
    run.tell(f"sent {report.sent_objects} of {report.files} files, {report.sent_bytes / 1e6:.1f} MB; all verified")
    for data in report.data:
        rows = "" if data.rows is None else f"{data.rows:,} rows, "
        run.tell(f"  {data.path}: {rows}SHA-256 {data.sha256[:16]}..., as here")


def _merged(here: Path, kept: Path | None, to: Path) -> Path:
    """Openings of sealed tests that this machine knows, and those that the pod of the checkpoint made."""
    lines = [line for path in (here, kept) if path for line in path.read_text().splitlines()]
    write_bytes(to, "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode())
    return to


def _begin(run: PodRun, pod: RunOnPod, record: PodRecord, attempt: int, before: Mapping[str, Any]) -> None:
    """Write the job and start its supervisor; one that still waits is told to leave first."""
    run.hold()
    before = pod.status() if before else before  # it may have been started anew meanwhile
    if before and pod.is_supervised(before):
        pod.write("restart.json", {"attempt": before.get("attempt")})
        _until(lambda: not pod.is_supervised(before), _LEAVES_S, "the supervisor before this one does not leave")
    observed = run.observed()
    job = make_job(
        pod,
        run.bundle,
        run.settings,
        price_per_h=record.price_per_h,
        spent=Spent(observed.billed_s, observed.spent),
        attempt=attempt,
        end=_own_end(run, record),
        newer_than_s=max(before.get("billed_s", 0.0), taken_s(run.folder / "checkpoint")),
        threads=_threads(run, pod),
    )
    at = run.clock.now() + pod.shell.skew_s
    rented = rented_by(run.run, record, run.ledger, run.bundle, at=at, under_way=True)
    run_id = run.bundle.facts["run_id"]
    run.hold()  # the one before this may have taken a while to leave
    job.send(pod, {f"project/artifacts/results/{run_id}/{POD_FILE}": asdict(rented)})  # which the report's page shows
    run.ledger.add_event(run.run, record.pod_id, STARTED, f"attempt {attempt}, bundle {run.bundle.bundle_id}")
    pod.supervise(run.moola_path)
    status = _until(lambda: _of_attempt(pod.status(), attempt), _STARTS_S, "the supervisor does not start")
    armed = status["armed"]
    run.tell("guard armed on the pod: " + armed["because"] if armed["armed"] else _not_armed(armed["because"]))


def _threads(run: PodRun, pod: RunOnPod) -> int | None:
    """Of a run that shares its machine: the cores, shared out as for points here; None: what it finds there."""
    facts = pod.shell.facts
    cores, told = facts["cores"], facts.get("threads")
    if run.sharing < 2 or cores is None or told or "OMP_NUM_THREADS" in run.settings.env:
        return None
    threads = max(cores // run.sharing, 1)
    run.tell(f"{run.sharing} points share its {cores} cores: OMP_NUM_THREADS={threads}, unless pod.env says otherwise")
    return threads


def _own_end(run: PodRun, record: PodRecord) -> dict[str, Any]:
    if not run.provider.can_end_itself:
        return {"kind": "none", "because": "nobody bills this machine by the hour"}
    return {"kind": "runpod", "api": api_url(), "pod": record.pod_id}


def _until_its_end(run: PodRun) -> str:
    """What becomes of a pod on which no attempt begins, though the one before left a state there."""
    return (
        f"\nit ends itself after {SILENCE_S / 60:.0f} minutes of silence; `moola pod pull {run.run}` brings its state"
    )


def _of_attempt(status: Mapping[str, Any], attempt: int) -> Mapping[str, Any] | None:
    return status if status.get("attempt") == attempt and status.get("armed") else None


def _not_armed(because: str) -> str:
    return f"no guard on the pod can end it, because {because}; this client's guards can while it runs"


def _until(look: Callable[[], Any], limit_s: float, what: str) -> Any:
    """What `look` gives as soon as it gives something.

    Raises:
        PodError: it never does.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(_LOOK_S)
    raise PodError(what, f"not within {limit_s:g} s", "look at supervisor.log in the run's folder on the pod")
