"""Small fits on one thread each, whatever the ones before did to the threads of the process."""

from __future__ import annotations

from collections.abc import Callable

import torch

from moola.pipelines.parallel import run_all


def prepare() -> Callable[[int], int]:
    def work(number: int) -> int:
        found = torch.get_num_threads()
        torch.set_num_threads(2)  # as numba does when it first runs something in parallel
        return found

    return work


def test_every_task_begins_on_one_thread() -> None:
    before = torch.get_num_threads()
    assert dict(run_all(range(4), prepare, 1)) == dict.fromkeys(range(4), 1)
    assert torch.get_num_threads() == before
