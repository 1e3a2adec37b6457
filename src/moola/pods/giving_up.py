"""Ending the pods of a run at once, with what that would lose told before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from moola.errors import MoolaError
from moola.layout import Layout
from moola.pods.acquiring import was_started
from moola.pods.ending import clear_host, end_pod
from moola.pods.ledger import Ledger
from moola.pods.provider import LENT, STAYING, PodError, PodRecord, Provider
from moola.pods.providers import open_api, run_keys

if TYPE_CHECKING:
    from moola.pods.session import RunOnPod

_REQUEST_S = 60.0


def own_pods(ledger: Ledger, providers: Sequence[Provider], run: str | None, *, any_ledger: bool) -> list[PodRecord]:
    """Pods that are to be ended: what the lenders have, and what only the ledger knows: hosts.

    Args:
        ledger: what is known.
        providers: who is asked.
        run: whose pods; None: all.
        any_ledger: those of other ledgers, too.

    Raises:
        ConfigError: the ledger knows pods of RunPod, and there is no key to end them with.
    """
    unasked = {pod.provider for pod in ledger.pods(run, open_only=True)} - {one.name for one in providers}
    if "runpod" in unasked:
        open_api().close()
    found = [pod for provider in providers for pod in provider.find(run) if pod.status != "TERMINATED"]
    known = [pod.record(ledger.owner) for pod in ledger.pods(run, open_only=True) if pod.provider in STAYING]
    return [pod for pod in found + known if any_ledger or pod.owner == ledger.owner]


def would_lose(ledger: Ledger, pods: Sequence[PodRecord]) -> list[str]:
    """Of pods that work and of which no result has come back: a sentence each."""
    lines: list[str] = []
    for pod in pods:
        pulled = any(one["direction"] == "pull" and one["pod_id"] == pod.pod_id for one in ledger.transfers(pod.run))
        if pod.owner != ledger.owner:
            lines.append(f"pod {pod.pod_id} ({pod.run}) is another machine's or checkout's")
        elif was_started(ledger, pod) and not pulled:
            holder = ledger.lease_holder(pod.run)
            follows = f"; {holder} follows it" if holder else ""
            lines.append(f"pod {pod.pod_id} works on {pod.run}, and its results are not here{follows}")
    return lines


def give_up(
    pods: Sequence[PodRecord],
    providers: Sequence[Provider],
    ledger: Ledger,
    layout: Layout,
    *,
    tell: Callable[[str], None],
    silent_too: bool = False,
) -> None:
    """End pods, whatever they do.

    Args:
        pods: to be ended.
        providers: who is asked.
        ledger: hears of it.
        layout: of the runs.
        tell: is told what happens.
        silent_too: count a host that does not answer as left: nobody bills it, and what runs there may go on.

    Raises:
        PodError: some could not be ended; all were tried.
    """
    lenders = {provider.name: provider for provider in providers}
    failures: list[MoolaError] = []
    for pod in sorted(pods, key=lambda pod: pod.provider == LENT):  # whatever is on a rented pod goes with that
        try:
            if pod.provider == LENT and not ledger.is_open(LENT, pod.pod_id):
                tell(f"{pod.run} went with pod {pod.data_center}")
                continue
            if pod.provider in lenders:
                if pod.owner == ledger.owner:
                    ledger.add_pod(pod)
                    _announce(pod, ledger, tell)
                end_pod(lenders[pod.provider], pod, ledger, "given up")
            else:
                _leave_host(pod, ledger, layout, tell, silent_too=silent_too)
            tell(f"pod {pod.pod_id} ({pod.run}) is ended")
        except MoolaError as error:
            failures.append(error)
    for run in {pod.run for pod in pods if not ledger.is_leased(pod.run)}:  # a client that works on it does so itself
        run_keys(layout).forget_where_over(run, ledger)
    if failures:
        told = "\n".join(error.spoken() for error in failures)
        raise PodError(f"{len(failures)} of {len(pods)} pods could not be ended", told, "run the same command again")


def _announce(pod: PodRecord, ledger: Ledger, tell: Callable[[str], None]) -> None:
    """Have whoever follows a run know that its pod is about to be ended, and the user know who that is."""
    ledger.give_up_pod(pod.provider, pod.pod_id, pod.run)
    if holder := ledger.lease_holder(pod.run):
        tell(f"another client works on {pod.run} ({holder}): it hears that its pod is ended, and rents no other")


def _leave_host(
    pod: PodRecord, ledger: Ledger, layout: Layout, tell: Callable[[str], None], *, silent_too: bool
) -> None:
    """Kill a run on a host that stays, and delete its folder there.

    Raises:
        PodError: the host does not answer, so that nobody knows whether the run goes on.
    """
    from moola.pods.resuming import reopen_run

    order = reopen_run(pod.run, layout, tell=tell, show=lambda _: None)
    found = order.find()
    if found is None:
        why = f"{pod.data_center} does not answer"
        if not silent_too:
            way_out = f"`moola pod down {pod.run}` when it answers; if it never will: `moola pod down {pod.run} --yes`"
            raise PodError(f"nobody knows whether {pod.run} goes on there", why, way_out)
        _announce(pod, ledger, tell)
        tell(f"{why}: what runs there may go on, and {order.provider.root}/runs/{pod.run} stays there")
        end_pod(order.provider, pod, ledger, "given up, the host was silent")
        return
    record, run = found
    _announce(record, ledger, tell)
    try:
        kill_run(run)
        clear_host(run, keep_cache=order.settings.keep_cache, tell=tell)
    finally:
        run.shell.connection.close()
    end_pod(order.provider, record, ledger, "given up")


def kill_run(run: RunOnPod) -> None:
    """Kill a run's supervisor, then the step that it had started, each with its process group."""
    for name in ("supervisor", "pid"):
        status = run.status()  # again: a supervisor that is gone starts no other step
        pid = status.get("supervisor_pid" if name == "supervisor" else "pid")
        ticks = status.get(f"{name}_ticks")
        if pid:
            arguments = {"pid": pid, "name": "SIGKILL", "started": None if ticks is None else str(ticks)}
            run.shell.connection.request("signal", arguments, timeout_s=_REQUEST_S)
