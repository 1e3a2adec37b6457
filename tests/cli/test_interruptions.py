"""A signal is not lost where Python drops the exception that it raised."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from moola.pipelines.console_run import Interruptions


@pytest.fixture
def interruptions() -> Iterator[Interruptions]:
    found, before = Interruptions(), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, found)
    yield found
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_drops_comes_again_with_the_next_step(interruptions: Interruptions) -> None:
    class Dropping:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(1000))  # the handler runs between two instructions of a destructor

    interruptions.look({"event": "progress"})
    dropping = Dropping()
    del dropping
    assert interruptions.came
    interruptions.look({"event": "stage_failed"})  # what is told while a job ends raises nothing
    for event in ("progress", "stage_started"):
        with pytest.raises(KeyboardInterrupt):
            interruptions.look({"event": event})
