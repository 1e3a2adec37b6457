"""Workers say what they have to say, however much it is."""

from __future__ import annotations

import operator
import time
from pathlib import Path

from moola.sweeps.workers import WarmServer, WorkerSetup

MORE_THAN_A_PIPE_HOLDS = 1_000_000


def test_what_a_worker_returns_may_be_larger_than_a_pipe_holds(tmp_path: Path):
    with WarmServer() as server:
        worker = server.start(operator.mul, "x", MORE_THAN_A_PIPE_HOLDS, setup=WorkerSetup(tmp_path))
        deadline = time.monotonic() + 60.0
        while (ended := worker.ended) is None and time.monotonic() < deadline:
            server.wait([worker], timeout_s=1.0)
    assert ended is not None and len(ended.value) == MORE_THAN_A_PIPE_HOLDS
