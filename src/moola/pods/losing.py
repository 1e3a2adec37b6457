"""What became of a run whose pod does not answer: told with what is left of its work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moola.pods.acquiring import silent
from moola.pods.attaching import LogCopy, log_copies
from moola.pods.checkpoints import kept_checkpoint
from moola.pods.ledger import Ledger, LedgerPod
from moola.pods.provider import PodError, Provider, alive


def what_became(
    run: str, provider: Provider, ledger: Ledger, folder: Path, *, results: Path | None = None, may_write: bool
) -> PodError:
    """Why a run has no pod that answers: what its lender and the ledger say, and what of its work is here.

    Args:
        run: its id.
        provider: its lender, who is asked.
        ledger: its ledger.
        folder: where what came back of the run is kept.
        results: where its results are here; None: they are not.
        may_write: nobody else works on the run, so that a pod that is gone may be written down as lost.

    Raises:
        PodError: the lender cannot be asked.
    """
    gone: list[str] = []
    for pod in ledger.pods(run, open_only=True):
        state = provider.status(pod.pod_id)
        said = f"{state.status} {state.detail}".strip()
        if state.status == "TERMINATED":
            gone.append(f"{provider.name} says of pod {pod.pod_id}: {said}; last seen {pod.status}")
            if may_write:
                ledger.lose_pod(pod.provider, pod.pod_id, run, said)
        elif state.status in ("EXITED", "ERROR"):
            way_out = (
                f"`moola pod resume {run}` ends it and goes on with a new one; `moola pod down {run}` only ends it"
            )
            why = "\n".join([f"{provider.name} says {said}; it still costs its disk", *what_is_here(folder)])
            return PodError(f"pod {pod.pod_id} of {run} does not run any more", why, way_out)
        else:
            return silent(pod.pod_id, run, f"{provider.name} says {said}, ${state.price_per_h:.2f}/h")
    elsewhere = [pod for pod in alive(provider.find(run)) if pod.owner != ledger.owner]
    if elsewhere:
        names = ", ".join(pod.pod_id for pod in elsewhere)
        way_out = f"go on where it was started, or end it with `moola pod down {run} --any-ledger`"
        return PodError(f"{run} has a pod that was made elsewhere", names, way_out)
    if results is not None:
        why = "\n".join([*gone, f"it is finished, its results are here: {results}"])
        return PodError(f"{run} has no pod any more", why, f"`moola pod logs {run}` has what it said")
    here = what_is_here(folder)
    way_out = f"`moola pod resume {run}` goes on with it on a new pod"
    if gone:
        return PodError(f"the pod of {run} is gone", "\n".join(gone + here), way_out)
    return PodError(f"{run} has no pod", "\n".join(_ended(ledger.pods(run)) + here), way_out)


def what_is_here(folder: Path) -> list[str]:
    """Of a run, a line each: its checkpoint, and what it said last."""
    kept = kept_checkpoint(folder / "checkpoint")
    lines = [f"its checkpoint is here: {kept}" if kept else "no checkpoint of it is here"]
    for last in [record for path in log_copies(folder)[-1:] for record in LogCopy(path).records()][-1:]:
        lines.append(f"it said last, at {last['at']}: {last['step']} | {last['text']}")
    return lines


def _ended(pods: Sequence[LedgerPod]) -> list[str]:
    if not pods:
        return ["none was ever made for it"]
    last = pods[-1]
    when = f"{last.ended_at:%Y-%m-%d %H:%M} UTC" if last.ended_at else "an unknown time"
    return [f"its last one, {last.pod_id}, was ended at {when}: {last.ended_why}"]
