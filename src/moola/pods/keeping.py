"""Being alone at a run while something long is done, and being told to leave."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from moola.errors import MoolaError
from moola.pods.leases import LEASE_S, Lease
from moola.pods.provider import PodTakenError
from moola.pods.providers import run_keys

if TYPE_CHECKING:
    from moola.pods.attending import Ended
    from moola.pods.running import PodRun


def alone_at(run: PodRun, work: Callable[[], Ended]) -> Ended:
    """Do something that one client at a time may do. The run's key goes when no pod of it is left, however this ends.

    Raises:
        PodTakenError: another client is at the run, or took it over.
    """
    with kept(run.ledger.lease(run.run)) as run.lease:
        try:
            return work()
        finally:
            run.close()
            run_keys(run.layout).forget_where_over(run.run, run.ledger)


@contextlib.contextmanager
def kept(lease: Lease) -> Iterator[Lease]:
    """Renew a lease in the background until the block ends, then give it back."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(LEASE_S / 4):
            try:
                lease.renew()
            except PodTakenError:  # for good: `PodRun.hold` says so before anything more is done
                return
            except MoolaError:  # a ledger that is busy now may be written the next time
                continue

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    with lease:
        thread.start()
        try:
            yield lease
        finally:
            over.set()
            thread.join()


@contextlib.contextmanager
def interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """Have signals that would end this process unheard raise `KeyboardInterrupt`; ignored ones (nohup) stay ignored."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
