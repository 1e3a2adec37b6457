"""Attending a run that was started: its job is followed, what it leaves comes back, then its pod is ended."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moola.errors import MoolaError, StorageError
from moola.pipelines.rented import write_rented
from moola.pods.attaching import Following, LogCopy, PodLostError
from moola.pods.checkpoints import CheckpointPuller
from moola.pods.client_guard import ClientGuard, DeafPodError
from moola.pods.ending import clear_host, end_pod
from moola.pods.failed_checks import failed_checks, is_bad_draw, is_before_its_job, spoken_check
from moola.pods.fetching import fetch_results, fetch_state, write_report
from moola.pods.giving_up import kill_run
from moola.pods.losing import what_is_here
from moola.pods.pod_job import guard_limits
from moola.pods.provider import STAYING, BadDrawError, PodError, PodRecord, PodTakenError
from moola.pods.providers import run_keys
from moola.pods.publishing import Published, rented_by
from moola.pods.session import RunOnPod
from moola.pods.ssh import HostKeyError
from moola.pods.telling import tell_trackers
from moola.pods.wire import ConnectionLostError, RemoteError

if TYPE_CHECKING:
    from moola.pods.running import PodRun

_ROUNDS = 10
"""Connections that may break while results come back, each after one that worked again."""

_COPY_LOOK_S = 0.5
_SIGHT_S = 60.0
"""Between two notes that the pod is there: one that is found gone counts up to the last."""


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


def attend(run: PodRun, record: PodRecord, pod: RunOnPod, *, began_here: bool = False) -> Ended:
    """Follow a run that was started, and bring back what it leaves.

    Whatever ends this before the pod is ended leaves the pod on, and says so.

    Args:
        run: it.
        record: its pod.
        pod: the run on it.
        began_here: by the command that is under way, so that its interruption before the job's first step ends the
            pod: nothing is lost by that, and nobody else may be about to look after it.

    Raises:
        BadDrawError: its preflight says that another pod may do better; this one is ended.
        PodLostError: the pod died; it is written down, and costs nothing any more.
        PodTakenError: another client took the run over.
        PodError: the pod does not answer, or could not be ended.
        StorageError: what came back is not what the run wrote, or there is no room for it.
    """
    following = _following(run, record, pod.project)
    try:
        for _ in range(_ROUNDS):
            try:
                return _attend(run, record, pod, following)
            except (ConnectionLostError, HostKeyError) as error:  # while it was brought back
                pod = following.wait_for(error)
        raise PodError(f"the results of {run.run} do not come through", f"{_ROUNDS} connections broke")
    except KeyboardInterrupt:
        if began_here and _ended_before_its_job(run, record):
            raise
        run.tell(f"{run.stays_on(record)}\nthe run goes on there: `moola pod attach {run.run}`")
        raise
    except (PodTakenError, BadDrawError):
        raise
    except PodLostError as error:
        run.lose(record, error.why)
        here = "\n".join([error.why, *what_is_here(run.folder)])
        way_out = f"`moola pod resume {run.run}` goes on from there on a new pod"
        raise PodLostError(error.what, here, way_out, may_be_its_guard=error.may_be_its_guard) from error
    except BaseException:  # a full disk here, an answer without sense: whatever it is, a pod that bills is told of
        if _may_be_on(run, record):
            run.tell(f"{run.stays_on(record)}; `moola pod attach {run.run}` goes on")
        raise


def _may_be_on(run: PodRun, record: PodRecord) -> bool:
    """Whether the ledger does not know that a pod has ended, or does not answer."""
    try:
        return any(pod.pod_id == record.pod_id for pod in run.ledger.pods(run.run, open_only=True))
    except MoolaError:
        return True


def _attend(run: PodRun, record: PodRecord, pod: RunOnPod, following: Following) -> Ended:
    pod, status, is_deaf = run.timed("job", lambda: _follow(run, record, pod, following))
    for name, seconds in _step_seconds(status).items():
        run.seconds[name] = seconds
    outcome, why = str(status["outcome"]), str(status["why"])
    published, all_here = None, True
    if outcome == "failed" and (failed := failed_checks(pod, status)):
        why = "\n".join([why, *map(spoken_check, failed)])
        if is_bad_draw(run, status, failed):
            write_report(run, record, pod, status)
            raise _refused(run, record, pod, why)
    if outcome == "finished":
        published = run.timed("pull", lambda: fetch_results(run, record, pod))
    else:
        all_here = _has_state(run, record, pod, is_last_guard=is_deaf and run.provider.can_end_itself)
        status = _kept(run, pod, status)
    write_report(run, record, pod, status)
    ended = all_here and run.timed("end", lambda: _end(run, record, pod, outcome))
    if published is not None and published.came:  # what its last minutes cost is known now
        write_rented(published.folder, rented_by(run.run, record, run.ledger, run.bundle, at=run.clock.now()))
        if not run.replays:
            tell_trackers(run.bundle, published.folder, run.layout.artifacts, run.tell)
    code = max((step.get("exit_code") or 0 for step in status.get("steps", {}).values()), default=0)
    return Ended(run.run, outcome, why, published, ended, run.seconds, code)


def _refused(run: PodRun, record: PodRecord, pod: RunOnPod, why: str) -> BadDrawError:
    """What a pod that failed its preflight is told of with, once it is ended."""
    _give_back(run, record, pod, "failed its preflight")
    what = f"pod {record.pod_id} ({record.gpu}) failed its preflight and is ended"
    return BadDrawError(what, why, f"`moola pod resume {run.run}` draws another; or name other GPUs (--gpu)")


def _ended_before_its_job(run: PodRun, record: PodRecord) -> bool:
    """End a pod whose job has not begun, over a connection of its own; False where it has, or nobody can tell."""
    if run.settings.keep:
        return False
    try:
        pod = run.connect(record)
        if pod is None or not is_before_its_job(pod.status()):
            return False
        if run.provider.name in STAYING:  # the host stays, so what runs there has to go
            kill_run(pod)
        _give_back(run, record, pod, "interrupted before its job began")
    except MoolaError as error:
        run.tell(error.spoken())
        return False
    run.tell(f"interrupted before its job began: pod {record.pod_id} is ended, and nothing is lost by it")
    return True


def _following(run: PodRun, record: PodRecord, project: str) -> Following:
    def show(line: Mapping[str, Any]) -> None:  # what it writes there comes to the same place of the project here
        run.show({**line, "text": str(line["text"]).replace(f"{project}/", "")})

    return Following(
        lambda: run.connect(record),
        run.moola_path,
        LogCopy(run.folder / "logs" / f"{record.pod_id}.jsonl"),
        show,
        run.tell,
        is_dead=lambda: run.death(record),
        patience_s=run.settings.limits.silent_s,
        grace_s=run.settings.guards.grace_min * 60,
        clock=run.clock,
    )


def _follow(
    run: PodRun, record: PodRecord, pod: RunOnPod, following: Following
) -> tuple[RunOnPod, Mapping[str, Any], bool]:
    """Stay until the job has ended, or until it has to be ended from here, because its supervisor is deaf."""
    every_s = run.settings.checkpoint_every_min * 60
    checkpoints = CheckpointPuller(run.folder / "checkpoint", every_s, run.tell, run.clock)
    guard = ClientGuard(guard_limits(run.settings, record.price_per_h), run.observed, run.clock)

    seen = float("-inf")

    def every(pod: RunOnPod, status: Mapping[str, Any]) -> None:
        nonlocal seen
        run.hold()
        if run.clock.monotonic() >= seen + _SIGHT_S:
            seen = run.clock.monotonic()
            run.ledger.see_pod(record.provider, record.pod_id)
        run.looked(pod, status)
        guard.look(pod, status)
        checkpoints.look(pod, status)

    following.every = every
    try:
        pod, status = following.follow(pod)
    except DeafPodError as deaf:
        run.tell(f"the supervisor does not heed its guard ({deaf.verdict.why}): this client ends the pod")
        if run.provider.name in STAYING:  # the host stays, so what runs there has to go
            kill_run(deaf.pod)
        checkpoints.join()
        return deaf.pod, {**deaf.status, "outcome": deaf.verdict.guard, "why": deaf.verdict.why}, True
    except PodLostError:  # the next pod's copies come to the same folder
        checkpoints.join()
        raise
    checkpoints.join()  # never after Ctrl-C: a whole pull may take minutes, and what it has is kept for the next
    return pod, status, False


def _has_state(run: PodRun, record: PodRecord, pod: RunOnPod, *, is_last_guard: bool) -> bool:
    """Bring the working state here; False where it is still on the pod alone, which therefore is not ended.

    Unless this client is the last that guards it: a pod past its limits, kept, would bill until somebody looks.
    """
    try:
        fetch_state(run, pod)
    except (StorageError, RemoteError) as error:
        if not is_last_guard and isinstance(error, RemoteError):
            raise
        run.tell(f"its working state could not be pulled: {error.spoken()}")
        if is_last_guard:
            run.tell(f"pod {record.pod_id} is past its limits and no other guard is left: it is ended without that")
            return True
        run.tell(f"{run.stays_on(record)}; `moola pod pull {run.run}` tries again")
        return False
    return True


def _kept(run: PodRun, pod: RunOnPod, status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let the last copy to the volume, where there is one, come to its end; the status then."""
    until = run.clock.monotonic() + run.settings.guards.checkpoint_s
    with contextlib.suppress(ConnectionLostError, RemoteError):
        while (now := pod.status()).get("copying") and run.clock.monotonic() < until:
            run.clock.sleep(_COPY_LOOK_S)
        return {**status, "kept": now.get("kept", {})}
    return status


def _end(run: PodRun, record: PodRecord, pod: RunOnPod, outcome: str) -> bool:
    """End the pod unless it is to stay; whether it is gone. On a host that stays, the run's folder is deleted."""
    if run.settings.keep:
        ends = run.provider.can_end_itself and outcome not in ("finished", "failed")
        until = f"; its own guard ends it in {run.settings.guards.grace_min:g} minutes" if ends else ""
        run.tell(f"--keep: {run.stays_on(record)}{until}")
        return False
    run.before_end()
    _give_back(run, record, pod, outcome)
    return True


def _give_back(run: PodRun, record: PodRecord, pod: RunOnPod, outcome: str) -> None:
    run.keep_lease()
    with contextlib.suppress(ConnectionLostError, RemoteError):  # its lender ends it, whether or not it hears of it
        pod.write("pulled.json", {"attempt": pod.job().get("attempt"), "outcome": outcome})
    if run.provider.name in STAYING:
        clear_host(pod, keep_cache=run.settings.keep_cache, tell=run.tell)
    run.close()
    end_pod(run.provider, record, run.ledger, outcome, clock=run.clock)
    run_keys(run.layout).forget(run.run)


def _step_seconds(status: Mapping[str, Any]) -> dict[str, float]:
    """How long each step took, by the pod's clock."""
    return {f"step {name}": step["seconds"] for name, step in status.get("steps", {}).items() if "seconds" in step}
