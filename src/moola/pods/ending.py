"""Ending pods so that it is known that they ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from moola.errors import MoolaError, StorageError
from moola.pods.clock import Clock
from moola.pods.leases import is_taken_over
from moola.pods.ledger import Ledger
from moola.pods.provider import PodError, PodRecord, Provider

if TYPE_CHECKING:
    from moola.pods.session import RunOnPod

_ATTEMPTS = 6
_PAUSE_S = 5.0
_INSIST_S = 3 * 3600.0
_INSIST_PAUSE_S = 300.0
"""How long, and how often, an end is asked for that nobody else would ask for: nothing on the pod can end it yet."""


def end_pod(provider: Provider, pod: PodRecord, ledger: Ledger, why: str, *, clock: Clock | None = None) -> None:
    """End a pod and look until the lender knows it no more; the ledger hears of it only then.

    Raises:
        PodError: it still bills, or may because this was interrupted; the message says how to end it by hand.
    """
    clock = clock or Clock()
    refused: PodError | None = None
    try:
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
    except KeyboardInterrupt as error:
        told = "interrupted before its lender said that it is gone"
        raise PodError(f"pod {pod.pod_id} may still bill ${pod.price_per_h:.2f}/h", told, _by_hand(pod)) from error
    raise PodError(
        f"pod {pod.pod_id} could not be ended and still bills ${pod.price_per_h:.2f}/h",
        refused.spoken() if refused else "the lender took the request and shows the pod still",
        _by_hand(pod),
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
        MoolaError: some could not be ended, or not written down; all were tried.
    """
    own = [pod for pod in provider.find(run) if pod.owner == ledger.owner]
    with contextlib.suppress(StorageError):
        listed = {pod.pod_id for pod in own}  # a new one may not be in the lender's list yet
        known = [pod for pod in ledger.pods(run, open_only=True) if pod.provider == provider.name]
        own += [pod.record(ledger.owner) for pod in known if pod.pod_id not in listed]
    failures: list[MoolaError] = []
    for pod in own:
        try:
            with contextlib.suppress(StorageError):  # what cannot be written down has to end all the more
                ledger.add_pod(pod)
            end_pod(provider, pod, ledger, why, clock=clock)
            tell(f"pod {pod.pod_id} is ended: {why}")
        except MoolaError as error:
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


def end_unused(
    provider: Provider,
    run: str,
    ledger: Ledger,
    why: str,
    error: BaseException,
    *,
    tell: Callable[[str], None],
    clock: Clock | None = None,
    hold: Callable[[], None] = lambda: None,
) -> None:
    """End the pods of a run on which nothing was started, because of an error that is raised afterwards.

    A lender that does not answer is asked for hours, unless this is interrupted: nobody else would end them. Once
    `hold` says that another client took the run over, they are that client's.

    Raises:
        PodError: they cannot be ended; the error that led here is told with it.
    """
    clock = clock or Clock()
    until = clock.now() + _INSIST_S
    try:
        while not is_taken_over(hold):
            try:
                end_run(provider, run, ledger, why, tell=tell, clock=clock)
                return
            except PodError as refused:
                if clock.now() > until or isinstance(refused.__cause__, KeyboardInterrupt):
                    raise
                tell(f"{refused.what}: {refused.why}")
                tell(f"the pod of {run} may still bill: its end is asked for again in {_INSIST_PAUSE_S:g} s")
                clock.sleep(_INSIST_PAUSE_S)
    except (MoolaError, KeyboardInterrupt) as refused:
        told = f"{refused.what}\n{refused.why}" if isinstance(refused, MoolaError) else "interrupted once more"
        raise PodError(
            f"the pod of {run} may still bill",
            f"it was to be ended ({why}: {error or type(error).__name__})\n{told}",
            f"`moola pod down {run}` as soon as {provider.name} answers",
        ) from error


def _by_hand(pod: PodRecord) -> str:
    return f"`moola pod down {pod.run}`, or end it by hand at https://console.runpod.io/pods"
