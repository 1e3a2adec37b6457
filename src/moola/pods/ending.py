"""Ending pods so that it is known that they ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from moola.errors import MoolaError
from moola.pods.clock import Clock
from moola.pods.ledger import Ledger
from moola.pods.provider import PodError, PodRecord, Provider

if TYPE_CHECKING:
    from moola.pods.session import RunOnPod

_ATTEMPTS = 6
_PAUSE_S = 5.0


def end_pod(provider: Provider, pod: PodRecord, ledger: Ledger, why: str, *, clock: Clock | None = None) -> None:
    """End a pod and look until the lender knows it no more; the ledger hears of it only then.

    Raises:
        PodError: it still bills; the message says how to end it by hand.
    """
    clock = clock or Clock()
    refused: PodError | None = None
    for attempt in range(_ATTEMPTS):
        try:
            provider.end(pod.pod_id)
            if attempt:
                clock.sleep(_PAUSE_S)
            if provider.status(pod.pod_id).status == "TERMINATED":
                ledger.end_pod(pod.provider, pod.pod_id, why)
                return
        except PodError as error:
            refused = error
            clock.sleep(_PAUSE_S)
    raise PodError(
        f"pod {pod.pod_id} could not be ended and still bills ${pod.price_per_h:.2f}/h",
        refused.spoken() if refused else "the lender took the request and shows the pod still",
        f"`moola pod down {pod.run}`, or end it by hand at https://console.runpod.io/pods",
    )


def end_run(
    provider: Provider,
    run: str,
    ledger: Ledger,
    why: str,
    *,
    tell: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
) -> list[PodRecord]:
    """End every pod that this ledger's clients made for a run, also those whose creation was never answered.

    Raises:
        PodError: some could not be ended; all were tried.
    """
    own = [pod for pod in provider.find(run) if pod.owner == ledger.owner]
    failures: list[PodError] = []
    for pod in own:
        ledger.add_pod(pod)
        try:
            end_pod(provider, pod, ledger, why, clock=clock)
            tell(f"pod {pod.pod_id} is ended: {why}")
        except PodError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return own


def clear_host(pod: RunOnPod, *, keep_cache: bool, tell: Callable[[str], None]) -> None:
    """Delete a run's folder on a host that stays; what stands in the way is told, for nothing is lost by it."""
    try:
        pod.remove(keep_cache=keep_cache)
        tell(f"its folder on {pod.shell.connection.describe()} is deleted")
    except MoolaError as error:
        tell(f"{pod.spoken()} stays there: {error.spoken()}")
