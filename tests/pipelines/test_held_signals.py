"""Signals that ask to leave are heard, also where Python drops the exception that they raise."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from moola.pipelines import console_run
from moola.pipelines.console_run import end_on_signals, watched
from moola.pipelines.held_signals import held

PROGRESS = {"event": "progress", "stage": "oof", "done": 1, "total": 2, "what": "fit"}


class Dropping:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)  # the handler raises in here, and Python drops it


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_came_in_a_destructor_is_raised_at_the_next_look():
    before = signal.getsignal(signal.SIGINT)
    with held(signal.SIGINT, signal.SIGTERM) as signals:
        Dropping().__class__  # noqa: B018 (made, and at once destroyed)
        with pytest.raises(KeyboardInterrupt):
            signals.look()
        signals.look()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        signals.seen()
        signals.look()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def ended_by_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    end_on_signals()
    yield
    console_run._SIGNALS.seen()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("ended_by_signals")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_job_that_goes_on_after_a_signal_ends_with_its_next_step():
    with watched() as listener:
        listener(PROGRESS)
        Dropping().__class__  # noqa: B018 (made, and at once destroyed)
        listener({"event": "stage_failed", "stage": "oof"})  # what is told while a job ends raises nothing
        for event in (PROGRESS, {"event": "stage_started"}):
            with pytest.raises(KeyboardInterrupt):
                listener(event)
