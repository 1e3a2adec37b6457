"""Holding a lease while something long is done."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from moola.errors import MoolaError
from moola.pods.leases import LEASE_S, Lease
from moola.pods.provider import PodTakenError


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
