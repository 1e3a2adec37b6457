"""The right to work on a run: one process at a time has it, and a process that was killed loses it at once."""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from moola.errors import StorageError
from moola.pods.clock import Clock
from moola.pods.provider import PodTakenError

LEASE_S = 120.0
"""How long a lease holds unless it is renewed; counts only where the holder is on another machine."""

Writing = Callable[[], AbstractContextManager[sqlite3.Connection]]


class Lease:
    """A lease that is held; leaving the block gives it back."""

    def __init__(self, writing: Writing, run: str, holder: str, clock: Clock) -> None:
        self.run = run
        self._writing, self._holder, self._clock = writing, holder, clock

    def renew(self) -> None:
        """Hold it for another while; call it every minute or so.

        Raises:
            PodTakenError: it ran out while this machine slept, and another client took it.
        """
        with self._writing() as book:
            until = self._clock.now() + LEASE_S
            row = (until, self.run, self._holder)
            if not book.execute("UPDATE leases SET until = ? WHERE run = ? AND holder = ?", row).rowcount:
                raise PodTakenError(
                    f"another client took {self.run} over",
                    "this one did not answer for a while; the machine may have slept",
                    f"moola pod attach {self.run}",
                )

    def give_back(self) -> None:
        """Let others have it; nothing happens where they have it already."""
        with self._writing() as book:
            book.execute("DELETE FROM leases WHERE run = ? AND holder = ?", (self.run, self._holder))

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()


def take_lease(writing: Writing, run: str, clock: Clock) -> Lease:
    """Take a run's lease, or that of a holder that is gone.

    Raises:
        PodTakenError: its holder lives, or is on another machine and was heard of lately.
    """
    holder, host, process = secrets.token_hex(8), socket.gethostname(), _process(os.getpid())
    with writing() as book:
        other = holder_of(book, run, clock)
        if other is not None:
            way_out = f"follow it with `moola pod logs {run} -f`, or stop it with `moola pod stop {run}`"
            raise PodTakenError(f"another client works on {run}", other, way_out)
        row = (run, holder, host, process, clock.now() + LEASE_S)
        book.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)", row)
    return Lease(writing, run, holder, clock)


def is_taken_over(hold: Callable[[], None]) -> bool:
    """Whether another client has the run that `hold` is to keep; where the ledger cannot tell, nobody has."""
    try:
        hold()
    except PodTakenError:
        return True
    except StorageError:
        pass
    return False


def holder_of(book: sqlite3.Connection, run: str, clock: Clock) -> str | None:
    """Who holds a run's lease, for people; None: nobody who lives or, on another machine, was heard of lately."""
    found = book.execute("SELECT host, process, until FROM leases WHERE run = ?", (run,)).fetchone()
    if found is None:
        return None
    host, process, until = found
    number = process.partition(" ")[0]
    here = host == socket.gethostname()
    holds = _process(int(number)) == process if here else clock.now() < until
    return f"process {number} on {host}" if holds else None


def _process(pid: int) -> str:
    """A process by its number and start, for numbers are used again; only the number where it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return _process_without_proc(pid)
    state, *rest = stat.rpartition(")")[2].split()
    return f"{pid}" if state in "ZX" else f"{pid} {rest[18]}"


def _process_without_proc(pid: int) -> str:
    """Where there is no /proc (macOS): whether it lives is all there is to know."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return f"{pid}"
    except PermissionError:
        pass
    return f"{pid} lives"
