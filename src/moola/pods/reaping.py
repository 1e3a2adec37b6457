"""What the account has against what the ledger knows: pods that nobody waits for any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from moola.pods.acquiring import STARTED
from moola.pods.clock import Clock
from moola.pods.ending import end_pod
from moola.pods.ledger import Ledger, LedgerPod
from moola.pods.provider import PodError, PodRecord, Provider
from moola.pods.run_keys import RunKeys

GRACE = timedelta(minutes=30)
"""What a run may take beyond its longest time, to save its work and be fetched."""
Verdict = Literal["kept", "end", "foreign", "gone"]


@dataclass(frozen=True)
class Reaped:
    """What is to be done about one pod, and why.

    Attributes:
        pod: as its lender knows it.
        verdict: ``end``; ``kept``; ``foreign``: another ledger's, left alone; ``gone``: only the ledger has it.
        why: for people.
        usd_so_far: what it has cost as far as is known.
        ended: it was ended just now.
    """

    pod: PodRecord
    verdict: Verdict
    why: str
    usd_so_far: float
    ended: bool = False


def compare(provider: Provider, ledger: Ledger, *, any_ledger: bool = False) -> list[Reaped]:
    """Look at every pod with moola's tag; changes nothing. Pods without the tag are not even looked at.

    Args:
        provider: whose account.
        ledger: what is known.
        any_ledger: pods of other ledgers (another machine, another checkout) are to be ended too.
    """
    known = {pod.pod_id: pod for pod in ledger.pods() if pod.provider == provider.name}
    seen = [pod for pod in provider.find() if pod.status != "TERMINATED"]
    found = [_judge(pod, known.get(pod.pod_id), ledger, any_ledger) for pod in seen]
    missing = {pod.pod_id for pod in known.values() if pod.ended_at is None} - {pod.pod_id for pod in seen}
    gone = [known[pod_id] for pod_id in sorted(missing)]
    return found + [
        Reaped(pod.record(ledger.owner), "gone", "the lender does not know it any more", pod.cost) for pod in gone
    ]


def reap(
    found: list[Reaped],
    provider: Provider,
    ledger: Ledger,
    *,
    keys: RunKeys | None = None,
    tell: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
) -> list[Reaped]:
    """Do what `compare` found.

    Args:
        found: by `compare`.
        provider: whose account.
        ledger: hears of it.
        keys: of runs; those of runs that have no pod left are deleted.
        tell: is told what ended.
        clock: for tests.

    Raises:
        PodError: some could not be ended; all were tried.
    """
    done: list[Reaped] = []
    failures: list[PodError] = []
    for one in found:
        ended = False
        if one.verdict == "gone":
            ledger.end_pod(one.pod.provider, one.pod.pod_id, one.why, was_found_gone=True)
        elif one.verdict == "end":
            ledger.add_pod(one.pod)
            try:
                end_pod(provider, one.pod, ledger, f"reaped: {one.why}", clock=clock)
                ended = True
                tell(f"pod {one.pod.pod_id} is ended")
            except PodError as error:
                failures.append(error)
        done.append(Reaped(one.pod, one.verdict, one.why, one.usd_so_far, ended))
    for run in {one.pod.run for one in found}:
        if keys is not None and not ledger.is_leased(run):
            keys.forget_where_over(run, ledger)
    if failures:
        raise failures[0]
    return done


def _judge(pod: PodRecord, known: LedgerPod | None, ledger: Ledger, any_ledger: bool) -> Reaped:
    age = timedelta(seconds=ledger.age(pod))
    usd = known.cost if known else age.total_seconds() / 3600 * pod.price_per_h
    if pod.owner != ledger.owner:
        verdict: Verdict = "end" if any_ledger else "foreign"
        return Reaped(pod, verdict, f"made by another ledger ({pod.owner}): another machine or checkout", usd)
    if ledger.is_leased(pod.run):
        return Reaped(pod, "kept", "a client works on it", usd)
    if known is None:
        return Reaped(pod, "end", "nobody knows it: the answer to its creation was lost", usd)
    if known.ended_at is not None:
        return Reaped(pod, "end", f"it was ended ({known.ended_why}) and is there still", usd)
    if pod.status in ("EXITED", "ERROR"):
        return Reaped(pod, "end", f"it is {pod.status} and pays for its disk", usd)
    if not any(one["kind"] == STARTED and one["pod_id"] == pod.pod_id for one in ledger.events(pod.run)):
        return Reaped(pod, "end", "nothing was started on it, and no client is at it", usd)
    if why := _over_its_limits(pod, age, ledger):
        return Reaped(pod, "end", why, usd)
    return Reaped(pod, "kept", f"{pod.run} was started on it; whether it still works is not known from here", usd)


def _over_its_limits(pod: PodRecord, age: timedelta, ledger: Ledger) -> str:
    """Which limit of its run a pod has outlived, its grace included; empty: none that is known."""
    hours, budget = ledger.max_hours(pod.run), ledger.budget(pod.run)
    if hours is not None and age > timedelta(hours=hours) + GRACE:
        return f"it is {age.total_seconds() / 3600:.1f} h old, {hours:g} h were allowed"
    spent = sum(one.cost for one in ledger.pods(pod.run))
    if budget is not None and spent > budget + GRACE.total_seconds() / 3600 * pod.price_per_h:
        return f"the pods of {pod.run} cost ${spent:,.2f}, ${budget:,.2f} were allowed"
    return ""
