"""Many small fits, one after the other or in several processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from moola.errors import MoolaError

T = TypeVar("T")
R = TypeVar("R")

_LOOK_AFTER_S = 10.0
"""So long everything runs here before it is judged whether more processes are worth their start."""
_WORTH_S = 30.0
"""Work left, by the pace so far, from which they are: each takes some seconds to import what a fit needs."""

_work: Callable[[Any], Any] | None = None


def run_all(
    tasks: Sequence[T], prepare: Callable[[], Callable[[T], R]], processes: int | None
) -> Iterator[tuple[T, R]]:
    """Do every task and yield it with its result, in the order in which they end.

    Each task computes on one thread wherever it runs, so results do not depend on the number of processes.

    Args:
        tasks: what to do; sent to processes, as are results.
        prepare: makes what does one task; called once in every process, so it must be importable from there.
        processes: how many; None: this one until it is clear that the cores of the machine would save time.

    Raises:
        MoolaError: a process was killed.
    """
    wanted = processes or available_cores()
    waiting = list(tasks)
    if processes is None or wanted == 1:
        work, started = prepare(), time.monotonic()
        while waiting:
            task = waiting.pop(0)
            with one_thread():
                result = work(task)
            yield task, result
            spent, done = time.monotonic() - started, len(tasks) - len(waiting)
            if wanted > 1 and spent > _LOOK_AFTER_S and spent / done * len(waiting) > _WORTH_S:
                break
    if waiting:
        yield from _run_elsewhere(waiting, prepare, min(wanted, len(waiting)))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and the linear algebra of others compute on one thread.

    The fits are small: threads cost them more than they give, and another number of threads rounds otherwise. Held
    around each task, not around all of them: numba sets the threads of OpenMP, and so torch's, to the number of cores
    when it first runs something in parallel (MiniRocket), and the next fit would wait at barriers.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _run_elsewhere(tasks: list[T], prepare: Callable[[], Callable[[T], R]], processes: int) -> Iterator[tuple[T, R]]:
    """In so many processes, started anew: a fork would inherit locks of threads that do not exist in it."""
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (prepare,))
    try:
        running: dict[Future[Any], T] = {pool.submit(_do, task): task for task in tasks}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise MoolaError(
            "a process that fits models was killed",
            "the system ends processes when memory runs out",
            "run the same command with processes=1; finished fits are kept",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(prepare: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one ends the others
    with one_thread():
        _work = prepare()


def _end_with_parent() -> None:
    """A parent that is killed tells its pool nothing, and whoever waits for tasks there would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # what is half written has another name than what is whole


def _do(task: Any) -> Any:
    assert _work is not None
    with one_thread():
        return _work(task)
