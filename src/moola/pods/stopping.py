"""Stopping a run with its checkpoint: by this client, or by the one that follows it."""

from __future__ import annotations

from moola.pods.attending import Ended, attend
from moola.pods.provider import PodError
from moola.pods.running import PodRun
from moola.pods.session import RunOnPod

_WHY = "moola pod stop"
_LOOK_S = 1.0


def stop(run: PodRun) -> Ended:
    """End the job with its checkpoint, bring that here and end the pod. The caller has the run's lease.

    Raises:
        PodError: it has no pod, or that does not answer.
    """
    if (here := run.back()) is not None:
        return here
    record, pod = run.found()
    _ask(pod)
    return attend(run, record, pod)


def pass_on_stop(run: PodRun, holder: str) -> Ended | None:
    """Have the client that follows a run stop it, and wait until it has; None where it left the pod to others.

    Args:
        run: without its lease.
        holder: who has that, for people.

    Raises:
        PodError: nothing was started yet that could be stopped, or the pod does not answer.
    """
    _, pod = run.found()
    if not _ask(pod):
        way_out = "Ctrl-C in that client ends the pod, and nothing is lost by it"
        raise PodError(f"{run.run} has not begun on its pod", f"{holder} prepares it", way_out)
    run.close()
    run.tell(f"{holder} follows it: that client brings the checkpoint here and ends the pod; waiting for it")
    while run.ledger.is_leased(run.run):
        run.clock.sleep(_LOOK_S)
    if run.ledger.pods(run.run, open_only=True):
        return None
    return run.back() or Ended(run.run, "stopped", _WHY, pod_ended=True)


def _ask(pod: RunOnPod) -> bool:
    """Whether there is an attempt that can be asked to stop, and was."""
    attempt = pod.job().get("attempt")
    if attempt is not None:
        pod.write("stop.json", {"attempt": attempt, "why": _WHY})
    return attempt is not None
