"""Processes that start in a moment: forked from a clean one that has imported what jobs need, once.

The clean process is the fork server of the standard library. It has no threads, whatever ran in the process that asks
for workers, and ends with it. A worker whose parent is gone, however it went, ends by itself.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

from moola.errors import MoolaError
from moola.pipelines.held_signals import HeldSignals, held

GRACE_S = 60.0
"""How long a worker may take to keep what it has done, once it is told to end."""
_LOOK_EVERY_S = 0.5
"""Between two looks whether a signal came whose exception Python dropped."""
_PRELOADED = "moola.sweeps.warm"
_to_parent: connection.Connection | None = None


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker has from the start.

    Attributes:
        directory: its working directory.
        environment: its environment variables, all of them.
        log: file that its stdout and stderr are appended to; None: where those of the parent go.
        threads: that torch computes with; None: as many as torch chooses.
    """

    directory: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    log: Path | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a worker ended.

    Attributes:
        value: what its function returned.
        error: what it raised; of errors that are no `MoolaError` the last line.
        interrupted: whether it ended because it was told to.
        died: exit code of a process that ended without a word; minus the number of the signal that killed it.
    """

    value: Any = None
    error: MoolaError | None = None
    interrupted: bool = False
    died: int | None = None

    @property
    def why(self) -> str:
        """What went wrong, in words; empty where nothing did."""
        if self.died is None:
            return str(self.error) if self.error is not None else ""
        if self.died >= 0:
            return f"ended by itself with exit code {self.died}"
        return f"killed by signal {-self.died} ({_signal_name(-self.died)})"


class Worker:
    """A process at work on one function."""

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any], setup: WorkerSetup) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._connection, theirs = self._context.Pipe(duplex=False)
        self._process = self._context.Process(target=_work, args=(theirs, setup, function, tuple(arguments)))
        self._process.start()
        theirs.close()
        self._messages: list[Any] = []
        self._last: Ended | None = None
        self.started = time.monotonic()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def waitables(self) -> tuple[Any, ...]:
        """What `multiprocessing.connection.wait` takes: ready when there is a message or the process ended."""
        return (self._process.sentinel,) if self._connection.closed else (self._connection, self._process.sentinel)

    def messages(self) -> list[Any]:
        """What the function has sent since it was asked last."""
        self._read()
        found, self._messages = self._messages, []
        return found

    @property
    def ended(self) -> Ended | None:
        """How it ended; None while it is at work."""
        self._read()  # a worker whose words fill the pipe cannot end before they are read
        if self._process.exitcode is None:
            return None
        self._read()
        return self._last or Ended(died=self._process.exitcode)

    def result(self) -> Any:
        """What the function of a worker that has ended returned.

        Raises:
            MoolaError: it raised, or was killed.
        """
        ended = self.ended
        assert ended is not None
        if ended.error is not None:
            raise ended.error
        if ended.why:
            raise MoolaError(f"a process of this command: {ended.why}", "", "run the same command again")
        return ended.value

    def interrupt(self) -> None:
        """Raise a KeyboardInterrupt in it."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, with all that it started."""
        self._signal(signal.SIGKILL)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; whether it came."""
        self._process.join(timeout_s)
        return self._process.exitcode is not None

    def _read(self) -> None:
        try:
            while not self._connection.closed and self._connection.poll():
                said = self._connection.recv()
                if isinstance(said, Ended):
                    self._last = said
                else:
                    self._messages.append(said)
        except (EOFError, OSError):
            self._connection.close()

    def _signal(self, number: int) -> None:
        """To the process, or with SIGKILL to all of its group."""
        if self._process.exitcode is None:
            try:
                if number == signal.SIGKILL and os.getpgid(self.pid) == self.pid:
                    os.killpg(self.pid, number)
                else:
                    os.kill(self.pid, number)
            except ProcessLookupError:
                pass


class WarmServer:
    """Starts workers; the first one waits until the clean process has imported everything."""

    def __init__(self) -> None:
        multiprocessing.get_context("forkserver").set_forkserver_preload([_PRELOADED])
        self._workers: list[Worker] = []
        self._stack = contextlib.ExitStack()
        self._signals = HeldSignals()

    def __enter__(self) -> WarmServer:
        if threading.current_thread() is threading.main_thread():  # no other one gets signals
            self._signals = self._stack.enter_context(held(signal.SIGINT, signal.SIGTERM))
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self.end_all(0.0)

    def start(self, function: Callable[..., Any], *arguments: Any, setup: WorkerSetup) -> Worker:
        """Call `function` in a process of its own.

        Args:
            function: at the top level of a module.
            arguments: of it; pickled, as is what it returns.
            setup: what the process has from the start.
        """
        self._workers = [worker for worker in self._workers if worker.ended is None]
        self._workers.append(Worker(function, arguments, setup))
        return self._workers[-1]

    def call(self, function: Callable[..., Any], *arguments: Any, setup: WorkerSetup) -> Any:
        """What the function returns in a worker.

        Raises:
            MoolaError: it raised, or was killed.
        """
        worker = self.start(function, *arguments, setup=setup)
        while worker.ended is None:
            self.wait([worker])
        return worker.result()

    def wait(self, workers: Iterable[Worker], timeout_s: float = math.inf) -> list[Worker]:
        """Workers that said something or ended, once there is one; none after `timeout_s` seconds.

        Raises:
            KeyboardInterrupt: this process was told to end.
        """
        owner = {waitable: worker for worker in workers for waitable in worker.waitables}
        deadline = time.monotonic() + timeout_s
        while True:
            self._signals.look()
            left_s = deadline - time.monotonic()
            ready = connection.wait(list(owner), max(min(left_s, _LOOK_EVERY_S), 0.0))
            if ready or left_s <= _LOOK_EVERY_S:
                return list(dict.fromkeys(owner[one] for one in ready))  # type: ignore[index]

    def end_all(self, grace_s: float) -> None:
        """End those at work: told to, and killed where they have not ended after `grace_s` seconds."""
        at_work = [worker for worker in self._workers if worker.ended is None]
        deadline = time.monotonic() + grace_s
        try:
            for worker in at_work if grace_s else ():
                worker.interrupt()
            for worker in at_work if grace_s else ():
                worker.join(max(deadline - time.monotonic(), 0.0))
        finally:  # a second Ctrl-C waits for nothing
            for worker in at_work:
                worker.kill()
                worker.join(5.0)


def send(message: Any) -> None:
    """Tell the parent of this worker something that can be pickled."""
    assert _to_parent is not None
    _to_parent.send(message)


def _work(to_parent: connection.Connection, setup: WorkerSetup, function: Callable[..., Any], arguments: Any) -> None:
    """The whole life of a worker."""
    global _to_parent
    _to_parent = to_parent
    _settle(setup)
    try:
        ended = Ended(value=function(*arguments))
    except MoolaError as error:
        ended = Ended(error=error.plain())
    except KeyboardInterrupt:
        ended = Ended(interrupted=True, error=MoolaError("interrupted"))
    except BaseException as error:
        traceback.print_exc()
        ended = Ended(error=MoolaError(f"{type(error).__name__}: {error}", "", "a defect; its log has the traceback"))
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # nobody is left who would read it
        to_parent.send(ended)


def _settle(setup: WorkerSetup) -> None:
    """Make this process what was asked for.

    It leaves the group of its parent: Ctrl-C on a terminal goes to the parent alone, which passes it on, once.
    """
    from moola.pipelines.console_run import end_on_signals

    os.setsid()
    end_on_signals()
    if setup.log is not None:
        descriptor = os.open(setup.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
    os.chdir(setup.directory)
    os.environ.clear()
    os.environ.update(setup.environment)
    if setup.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(setup.threads)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(setup.threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the parent, which closes a pipe, and then end this process and all that it started."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
