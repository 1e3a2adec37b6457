"""One run on a pod, from a bundle to published results: every phase may be cut off, and the same command goes on.

Nothing is remembered in this process. What was asked for is in the ledger, what was sent and what came of it is on the
pod, and what came back is in the results folder; so a client that was killed anywhere is followed by one that looks.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moola.errors import StorageError
from moola.layout import Layout, write_json
from moola.pods.acquiring import STARTED, Acquired, Acquisition
from moola.pods.attaching import Following, LogCopy, PodLostError
from moola.pods.bundle import Bundle
from moola.pods.checkpoints import CheckpointPuller, checkpoint_files, pull_checkpoint
from moola.pods.client_guard import ClientGuard
from moola.pods.ending import end_pod, end_run
from moola.pods.guards import Observed, judge
from moola.pods.ledger import Ledger
from moola.pods.pod_job import Spent, guard_limits, make_job
from moola.pods.provider import LocalTarget, PodError, PodRecord, Provider
from moola.pods.providers import api_url, run_keys
from moola.pods.publishing import Published, publish_results, pull_results, result_folder
from moola.pods.session import CLOCK_SKEW_S, PodShell, RunOnPod, open_shell
from moola.pods.settings import PodSettings
from moola.pods.transfer import push

if TYPE_CHECKING:
    from moola.pods.ssh import SshTarget

_SEALED = Path("metadata") / "sealed_tests.jsonl"


@dataclass(frozen=True)
class Ended:
    """How a run on a pod ended.

    Attributes:
        run: its id.
        outcome: ``finished``, ``failed``, ``stopped``, the guard that ended it, or ``detached``.
        why: in words, where it did not finish.
        published: what is here now; None where nothing was published.
        pod_ended: whether the pod is gone.
        seconds: of each phase.
        exit_code: of the job's last step.
    """

    run: str
    outcome: str
    why: str = ""
    published: Published | None = None
    pod_ended: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    exit_code: int = 0


@dataclass
class PodRun:
    """A run and everything that takes part in it. Its caller holds the run's lease.

    Attributes:
        bundle: what travels; its facts name the run.
        settings: of the pod.
        layout: of the project here.
        provider: who lends.
        ledger: who remembers.
        tell: is told what happens.
        show: is given each line of the log.
    """

    bundle: Bundle
    settings: PodSettings
    layout: Layout
    provider: Provider
    ledger: Ledger
    tell: Callable[[str], None]
    show: Callable[[Mapping[str, Any]], None]

    def __post_init__(self) -> None:
        self.run: str = self.bundle.facts["run_id"]
        self.folder = result_folder(self.layout, self.run)
        self.moola_path: str = self.bundle.facts["moola"]["path"]
        self.seconds: dict[str, float] = {}

    def go(self, *, detach: bool = False) -> Ended:
        """Bring the run to its end, on as many pods as the settings allow; or to its start, where it is detached.

        Raises:
            PodLostError: the last pod died, too.
            PodError: no pod could be had, or one could not be ended.
            StorageError: a transfer was refused or came out wrong.
        """
        for retries_left in range(self.settings.retries, -1, -1):
            acquired = self._timed("pod", self._acquire)
            try:
                pod = self._timed("start", lambda acquired=acquired: self._start(acquired))
                if detach:
                    return Ended(self.run, "detached", seconds=self.seconds)
                return self.attend(acquired.pod, pod)
            except PodLostError as error:
                self._lose(acquired.pod, error)
                verdict = judge(guard_limits(self.settings, acquired.pod.price_per_h), self.observed())
                if verdict is not None:  # ended by its own guard, while this client slept; so would another be
                    return Ended(
                        self.run, verdict.guard, verdict.why, pod_ended=True, seconds=self.seconds, exit_code=1
                    )
                if not retries_left:
                    raise
                self.tell(f"{error.spoken()}\nanother pod goes on from the last checkpoint")
        raise AssertionError("unreachable")

    def attend(self, record: PodRecord, pod: RunOnPod) -> Ended:
        """Follow a run that was started, and bring back what it leaves.

        Raises:
            PodLostError: the pod died.
        """
        pod, status = self._timed("job", lambda: self._follow(record, pod))
        for name, seconds in _step_seconds(status).items():
            self.seconds[name] = seconds
        outcome, why = str(status["outcome"]), str(status["why"])
        published = None
        if outcome == "finished":
            published = self._timed("pull", lambda: self._bring_back(record, pod))
        else:
            self._keep_what_is_there(pod)
        self._report(record, pod, status)
        ended = self._timed("end", lambda: self._end(record, pod, outcome))
        code = max((step.get("exit_code") or 0 for step in status["steps"].values()), default=0)
        return Ended(self.run, outcome, why, published, ended, self.seconds, code)

    def find(self) -> tuple[PodRecord, RunOnPod] | None:
        """The pod that the run has now, connected; None where it has none."""
        alive = [pod for pod in self.provider.find(self.run) if pod.owner == self.ledger.owner]
        for record in alive:
            pod = self._connect(record)
            if pod is not None:
                return record, pod
        return None

    def found(self) -> tuple[PodRecord, RunOnPod]:
        """The pod that the run has now, connected.

        Raises:
            PodError: it has none, or that does not answer.
        """
        found = self.find()
        if found is None:
            way_out = f"go on with it on a new pod: moola pod resume {self.run}"
            raise PodError(f"{self.run} has no pod that answers", "it ended, or cannot be reached", way_out)
        return found

    def pull(self, record: PodRecord, pod: RunOnPod) -> Ended:
        """Bring here what there is now; the pod stays as it is."""
        status = pod.status()
        outcome, published = str(status.get("outcome") or "detached"), None
        if outcome == "finished":
            published = self._timed("pull", lambda: self._bring_back(record, pod))
        else:
            self._timed("pull", lambda: self._keep_what_is_there(pod))
        return Ended(self.run, outcome, str(status.get("why", "")), published, seconds=self.seconds)

    def _acquire(self) -> Acquired[PodShell]:
        key = run_keys(self.layout).public_key(self.run) if self.provider.name == "runpod" else ""
        acquisition = Acquisition(
            self.provider,
            self.ledger,
            self.settings.wish,
            self.run,
            key,
            self._open,
            limits=self.settings.limits,
            tell=self.tell,
        )
        return acquisition.acquire()

    def _open(self, target: SshTarget | LocalTarget) -> PodShell | None:
        python = self.settings.pod_python
        return open_shell(target, root=self.provider.root, python=python, tell=self.tell)

    def _start(self, acquired: Acquired[PodShell]) -> RunOnPod:
        """Send what is missing and start the job, unless it is there already."""
        pod, record = acquired.session.of_run(self.run), acquired.pod
        status, job = pod.status(), pod.job()
        if status and status.get("outcome") in (None, "finished"):
            if job.get("bundle") != self.bundle.bundle_id:
                self.tell("files changed since it was sent, none that the run depends on: its id is the same")
            self.tell(f"the run is on pod {record.pod_id} already ({status.get('phase')})")
            if status.get("phase") != "over":
                pod.supervise(self._moola_path_of(job))
            return pod
        known = bool(status) and job.get("bundle") == self.bundle.bundle_id
        try:
            self._send(pod, known=known)
            self._begin(pod, record, attempt=int(job.get("attempt", 0)) + 1, before=status)
        except BaseException:
            if not acquired.adopted:
                end_run(self.provider, self.run, self.ledger, "nothing was started on it", tell=self.tell)
            raise
        return pod

    def _moola_path_of(self, job: Mapping[str, Any]) -> str:
        """Folder to import moola from on the pod, where it may have been sent by another client."""
        return str(job.get("moola_path", self.moola_path))

    def _send(self, pod: RunOnPod, *, known: bool) -> None:
        """Push the bundle; a pod on which the run was never at work also gets the last checkpoint."""
        facts, skew_s = pod.shell.facts, pod.shell.skew_s
        self.tell(
            f"pod: Python {facts['python']}, {facts['cores']} cores, {facts['memory_bytes'] / 1e9:.1f} GB memory, "
            f"{facts['free_bytes'] / 1e9:.1f} GB disk free"
        )
        if abs(skew_s) > CLOCK_SKEW_S:
            self.tell(f"its clock is {skew_s:+.0f} s off: times in its log are, too; limits count by its own steps")
        if known:
            return
        extra = checkpoint_files(self.folder / "checkpoint")
        sealed = self.layout.artifacts / _SEALED
        if sealed.is_file():
            extra.setdefault(f"artifacts/{_SEALED}", sealed)
        began = time.monotonic()
        report = push(pod.shell.connection, pod.shell.root, self.bundle, self.run, extra=extra)
        self.ledger.add_transfer(self.run, "", "push", report.took_s, report.files, report.bytes, report.sent_bytes)
        self.seconds["push"] = time.monotonic() - began
        self.tell(f"sent {report.sent_objects} of {report.files} files, {report.sent_bytes / 1e6:.1f} MB; all verified")
        for data in report.data:
            rows = "" if data.rows is None else f"{data.rows:,} rows, "
            self.tell(f"  {data.path}: {rows}SHA-256 {data.sha256[:16]}..., as here")

    def _begin(self, pod: RunOnPod, record: PodRecord, attempt: int, before: Mapping[str, Any]) -> None:
        """Write the job and start its supervisor; one that still waits is told to leave first."""
        if before and pod.is_supervised(before):
            pod.write("stop.json", {"attempt": before.get("attempt"), "why": "the run is started again"})
            _until(lambda: not pod.is_supervised(before), 30.0, "the supervisor before this one does not leave")
        spent = self._spent(besides=record)
        job = make_job(
            pod,
            self.bundle,
            self.settings,
            price_per_h=record.price_per_h,
            spent=Spent(spent.seconds + self._age_s(record), spent.money + self._cost(record)),
            attempt=attempt,
            end=self._own_end(record),
        )
        job.send(pod)
        self.ledger.add_event(self.run, record.pod_id, STARTED, f"attempt {attempt}, bundle {self.bundle.bundle_id}")
        pod.supervise(self.moola_path)
        status = _until(lambda: _of_attempt(pod.status(), attempt), 60.0, "the supervisor does not start")
        armed = status["armed"]
        self.tell("guard armed on the pod: " + armed["because"] if armed["armed"] else _not_armed(armed["because"]))

    def _own_end(self, record: PodRecord) -> dict[str, Any]:
        if not self.provider.can_end_itself:
            return {"kind": "none", "because": "nobody bills this machine by the hour"}
        return {"kind": "runpod", "api": api_url(), "pod": record.pod_id}

    def _follow(self, record: PodRecord, pod: RunOnPod) -> tuple[RunOnPod, Mapping[str, Any]]:
        checkpoints = CheckpointPuller(self.folder / "checkpoint", self.settings.checkpoint_every_min * 60, self.tell)
        guard = ClientGuard(guard_limits(self.settings, record.price_per_h), self.observed)

        def every(pod: RunOnPod, status: Mapping[str, Any]) -> None:
            guard.look(pod, status)
            checkpoints.look(pod, status)

        following = Following(
            lambda: self._connect(record),
            self.moola_path,
            LogCopy(self.folder / "logs" / f"{record.pod_id}.jsonl"),
            self.show,
            self.tell,
            every,
            lambda: self._death(record),
        )
        try:
            return following.follow(pod)
        finally:
            checkpoints.join()

    def _connect(self, record: PodRecord) -> RunOnPod | None:
        """The run on its pod over a new connection; None while the pod does not answer."""
        target = self.provider.target(record)
        shell = None if target is None else self._open(target)
        return None if shell is None else shell.of_run(self.run)

    def _death(self, record: PodRecord) -> str:
        """What the lender says of a pod that is gone; empty while it runs or nobody can tell."""
        try:
            state = self.provider.status(record.pod_id)
        except PodError:
            return ""
        self.ledger.add_state(record.provider, record.pod_id, state)
        return f"{state.status} {state.detail}".strip() if state.status in ("EXITED", "ERROR", "TERMINATED") else ""

    def _bring_back(self, record: PodRecord, pod: RunOnPod) -> Published:
        staging = self.folder / "staging"
        began = time.monotonic()
        staged = pull_results(pod, staging)
        size = [path.stat().st_size for path in staging.rglob("*") if path.is_file()]
        self.ledger.add_transfer(
            self.run, record.pod_id, "pull", time.monotonic() - began, len(size), sum(size), sum(size)
        )
        about = {
            "provider": record.provider,
            "pod_id": record.pod_id,
            "gpu": record.gpu,
            "price_per_h": record.price_per_h,
            "bundle": self.bundle.bundle_id,
            "git": self.bundle.facts["git"],
        }
        published = publish_results(staged, self.layout, pod=about)
        if published.disarmed:
            self.tell(f"a browser would run what is in {', '.join(published.disarmed)}: their names say so now")
        shutil.rmtree(staging)
        self.tell(f"{len(size)} files are here, verified; {published.folder}")
        return published

    def _keep_what_is_there(self, pod: RunOnPod) -> None:
        """After a run that did not finish: its working state, so that the same command goes on from it."""
        try:
            n_files = pull_checkpoint(pod, self.folder / "checkpoint")
            self.tell(f"{n_files} files of its working state came here; the same command goes on from them")
        except StorageError as error:
            self.tell(f"its working state could not be pulled: {error.spoken()}")

    def _report(self, record: PodRecord, pod: RunOnPod, status: Mapping[str, Any]) -> None:
        found = {name: pod.read(f"{name}-report.json") for name in ("environment", "preflight")}
        write_json(
            self.folder / "pods" / f"{record.pod_id}.json",
            {"pod": pod.spoken(), "bundle": self.bundle.bundle_id, "status": dict(status), **found},
        )

    def _end(self, record: PodRecord, pod: RunOnPod, outcome: str) -> bool:
        """End the pod unless it is to stay; whether it is gone."""
        if self.settings.keep:
            self.tell(f"pod {record.pod_id} stays on (--keep); end it with `moola pod down {self.run}`")
            return False
        job = pod.job()
        pod.write("pulled.json", {"attempt": job.get("attempt"), "outcome": outcome})
        pod.shell.connection.close()
        end_pod(self.provider, record, self.ledger, outcome)
        run_keys(self.layout).forget(self.run)
        return True

    def _lose(self, record: PodRecord, error: PodLostError) -> None:
        """Write down a pod that died, and see to it that it does not bill."""
        kept = len(checkpoint_files(self.folder / "checkpoint"))
        what = f"{error.why}; {kept} files of its last checkpoint are here"
        self.ledger.add_event(self.run, record.pod_id, "lost", what)
        end_pod(self.provider, record, self.ledger, "lost")

    def _spent(self, besides: PodRecord) -> Spent:
        pods = [pod for pod in self.ledger.pods(self.run) if pod.pod_id != besides.pod_id]
        return Spent(sum(pod.seconds for pod in pods), sum(pod.cost for pod in pods))

    def _age_s(self, record: PodRecord) -> float:
        return next((pod.seconds for pod in self.ledger.pods(self.run) if pod.pod_id == record.pod_id), 0.0)

    def _cost(self, record: PodRecord) -> float:
        return next((pod.cost for pod in self.ledger.pods(self.run) if pod.pod_id == record.pod_id), 0.0)

    def observed(self) -> Observed:
        """What the ledger knows of time and money."""
        pods = self.ledger.pods(self.run)
        return Observed(sum(pod.seconds for pod in pods), sum(pod.cost for pod in pods))

    def _timed(self, phase: str, work: Callable[[], Any]) -> Any:
        began = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - began


def _of_attempt(status: Mapping[str, Any], attempt: int) -> Mapping[str, Any] | None:
    return status if status.get("attempt") == attempt and status.get("armed") else None


def _not_armed(because: str) -> str:
    return f"no guard on the pod can end it, because {because}; this client's guards can while it runs"


def _step_seconds(status: Mapping[str, Any]) -> dict[str, float]:
    """How long each step took, by the pod's clock."""
    return {f"step {name}": step["seconds"] for name, step in status["steps"].items() if "seconds" in step}


def _until(look: Callable[[], Any], limit_s: float, what: str) -> Any:
    """What `look` gives as soon as it gives something.

    Raises:
        PodError: it never does.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise PodError(what, f"not within {limit_s:g} s", "look at supervisor.log in the run's folder on the pod")
