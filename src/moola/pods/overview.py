"""Pods as the ledger and the lenders know them together, and what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from moola.pods.ledger import Ledger, LedgerPod
from moola.pods.provider import STAYING, PodRecord, Provider


@dataclass(frozen=True)
class PodRow:
    """One pod that may bill.

    Attributes:
        run: it was made for.
        provider: who lends it.
        pod_id: the lender's id.
        gpu: id of the GPU type; empty: what the host has.
        where: data centre, host or nothing.
        status: as the lender says, else as the ledger last heard.
        seconds: since it was created.
        price_per_h: US dollars an hour, now.
        cost: US dollars so far.
        note: what is odd about it.
    """

    run: str
    provider: str
    pod_id: str
    gpu: str
    where: str
    status: str
    seconds: float
    price_per_h: float
    cost: float
    note: str = ""


@dataclass(frozen=True)
class RunCost:
    """What the pods of a run cost.

    Attributes:
        run: its id.
        experiment: of the run; empty: unknown.
        pods: how many it had.
        hours: of all of them together.
        estimate: US dollars: prices that were seen, times the time between.
        billed: US dollars on the lender's bill; None: not one of its pods is on it yet.
        cost: US dollars: the bill where it is whole, else at least the estimate.
        running: some of them bill still.
    """

    run: str
    experiment: str
    pods: int
    hours: float
    estimate: float
    billed: float | None
    cost: float
    running: bool


def overview(ledger: Ledger, providers: Sequence[Provider]) -> list[PodRow]:
    """Every pod that may bill, the oldest first; the ledger hears what the lenders say.

    Args:
        ledger: what is known here.
        providers: who is asked; what others lend is shown as it was last heard of.
    """
    asked = {provider.name for provider in providers}
    rows: list[PodRow] = []
    for provider in providers:
        seen = [pod for pod in provider.find() if pod.status != "TERMINATED"]
        known = {pod.pod_id: pod for pod in ledger.pods() if pod.provider == provider.name}
        for pod in seen:
            if pod.pod_id in known:
                ledger.add_pod(pod)
        fresh = {pod.pod_id: pod for pod in ledger.pods() if pod.provider == provider.name}
        rows += [_of_lender(pod, fresh.get(pod.pod_id), ledger) for pod in seen]
        missing = {pod_id for pod_id, pod in known.items() if pod.ended_at is None} - {pod.pod_id for pod in seen}
        note = "the lender does not know it: `moola pod reap`"
        rows += [_row(pod, pod.seconds, pod.cost, note) for pod in (fresh[pod_id] for pod_id in missing)]
    for pod in ledger.pods(open_only=True):
        if pod.provider not in asked:
            rows.append(_row(pod, pod.seconds, pod.cost, "" if pod.provider in STAYING else "not asked"))
    return sorted(rows, key=lambda row: (-row.seconds, row.pod_id))


def refresh_bills(ledger: Ledger, provider: Provider) -> None:
    """Write down what a lender's bill says of the pods that the ledger knows."""
    known = [pod for pod in ledger.pods() if pod.provider == provider.name]
    if known:
        billed = provider.billed(min(pod.created_at for pod in known))
        for pod in known:
            if pod.pod_id in billed:
                ledger.set_billed(provider.name, pod.pod_id, billed[pod.pod_id])


def costs(ledger: Ledger, run: str | None = None) -> list[RunCost]:
    """What runs cost, the latest first: one run, or all."""
    by_run: defaultdict[str, list[LedgerPod]] = defaultdict(list)
    for pod in ledger.pods(run):
        by_run[pod.run].append(pod)
    return [_cost(name, pods) for name, pods in reversed(by_run.items())]


def _cost(run: str, pods: Sequence[LedgerPod]) -> RunCost:
    billed = [pod.billed for pod in pods if pod.billed is not None]
    return RunCost(
        run=run,
        experiment=pods[0].experiment,
        pods=len(pods),
        hours=sum(pod.seconds for pod in pods) / 3600,
        estimate=sum(pod.estimate for pod in pods),
        billed=sum(billed) if billed else None,
        cost=sum(pod.cost for pod in pods),
        running=any(pod.ended_at is None for pod in pods),
    )


def _of_lender(pod: PodRecord, known: LedgerPod | None, ledger: Ledger) -> PodRow:
    note = ""
    if pod.owner != ledger.owner:
        note = "another machine's or checkout's"
    elif known is None:
        note = "nobody waits for it: `moola pod reap`"
    age_s = ledger.age(pod) if known is None else known.seconds
    cost = age_s / 3600 * pod.price_per_h if known is None else known.cost
    return _row(pod, age_s, cost, note)


def _row(pod: PodRecord | LedgerPod, seconds: float, cost: float, note: str) -> PodRow:
    return PodRow(
        run=pod.run,
        provider=pod.provider,
        pod_id=pod.pod_id,
        gpu=pod.gpu,
        where=pod.data_center,
        status=pod.status,
        seconds=seconds,
        price_per_h=pod.price_per_h,
        cost=cost,
        note=note,
    )
