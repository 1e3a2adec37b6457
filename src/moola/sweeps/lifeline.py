"""Points that end with the command that began them, though the launcher of another package started their processes.

A command holds the lock of its sweep as long as it lives. Points on the same machine look at it: where it is free, or
says that the command ends, they end too, with everything finished kept.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moola.pipelines.sweep_record import LOCK, is_at_work, is_under_way, read_states
from moola.sweeps.workers import GRACE_S

_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Owner:
    """The command that points belong to.

    Attributes:
        host: that it runs on.
        pid: of its process.
    """

    host: str
    pid: int

    @classmethod
    def this_process(cls) -> Owner:
        """The command at hand."""
        return cls(socket.gethostname(), os.getpid())

    def is_at(self, sweep_folder: Path) -> bool:
        """Whether it goes on with a sweep; asked on its own host."""
        try:
            own = (sweep_folder / LOCK).read_text().strip() == str(self.pid)
        except OSError:  # a disk that does not answer is asked again
            return True
        return own and is_under_way(sweep_folder)


@contextlib.contextmanager
def ending_with(owner: Owner | None, sweep_folder: Path) -> Iterator[None]:
    """End this process as Ctrl-C does when the command that it belongs to ends.

    Args:
        owner: None: the process ends otherwise, or outlives the command. So does one on another host.
        sweep_folder: whose lock the owner holds.

    Raises:
        KeyboardInterrupt: the owner is gone, or goes.
    """
    main = threading.main_thread()
    if owner is None or owner.host != socket.gethostname() or threading.current_thread() is not main:
        yield
        return
    from moola.pipelines.console_run import end_on_signals

    end_on_signals()  # submitit and background shells have SIGINT ignored
    if not owner.is_at(sweep_folder):
        raise KeyboardInterrupt
    done = threading.Event()

    def watch() -> None:
        while owner.is_at(sweep_folder):
            if done.wait(_LOOK_EVERY_S):
                return
        assert main.ident is not None
        signal.pthread_kill(main.ident, signal.SIGINT)
        if not done.wait(GRACE_S):
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def let_go(sweep_folder: Path) -> None:
    """Tell points of this command that it ends, and wait until those at work on this machine have kept what they have.

    Args:
        sweep_folder: whose lock this process holds.
    """
    (sweep_folder / LOCK).write_text(f"{os.getpid()} (ending)\n")
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(
        state.status == "running" and is_at_work(state.where) for state in read_states(sweep_folder).values()
    ):
        time.sleep(0.1)
