"""Signals that ask to leave are heard, also where Python drops the exception that they raise."""

from __future__ import annotations

import os
import signal

import pytest

from moola.sweeps.interruption import held


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
