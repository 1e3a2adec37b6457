"""Small fits on one thread each, whatever the ones before did to the threads; and in processes that end with the first.

A process of its own takes seconds to start, so few tests start any.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moola.errors import MoolaError
from moola.pipelines.parallel import run_all

Told = tuple[int, int]
"""The process that did a task, and the threads that torch had there when it began."""

KILLED_PARENT = """
import os, signal
from moola.pipelines.parallel import run_all
from test_parallel import prepare
for _, (worker, _) in run_all([None], prepare, 2):
    print(worker, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def prepare() -> Callable[[Path | None], Told]:
    import torch

    def work(waits_for: Path | None) -> Told:
        found = torch.get_num_threads()
        torch.set_num_threads(2)  # as numba does when it first runs something in parallel
        if waits_for is not None:
            while not waits_for.exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out
        return os.getpid(), found

    return work


def test_every_task_begins_on_one_thread() -> None:
    import torch

    before = torch.get_num_threads()
    assert list(run_all([None] * 4, prepare, 1)) == [(None, (os.getpid(), 1))] * 4
    assert torch.get_num_threads() == before


def test_the_others_go_on_beside_a_slow_task_and_a_killed_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # processes look up `prepare` by the module's name
    done = run_all([tmp_path / "now", None, None, None], prepare, 2)
    told = [next(done)[1] for _ in range(3)]
    assert told == [(told[0][0], 1)] * 3 and told[0][0] != os.getpid()
    (tmp_path / "now").touch()
    with pytest.raises(MoolaError, match="a process that fits models was killed"):
        next(done)


def test_processes_end_with_the_one_that_started_them() -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", KILLED_PARENT]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, start_new_session=True
    ) as first:
        try:
            worker, _ = first.communicate(timeout=90)  # comes back when nobody is left who could write
            assert int(worker) != first.pid and first.returncode == -signal.SIGKILL
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(first.pid, signal.SIGKILL)
