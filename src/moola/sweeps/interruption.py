"""Ctrl-C for work in threads, which signals never reach, and for the thread that waits for them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_SLICE_S = 0.25
"""Of a sleep, between two looks."""


class Interruption:
    """Raises `KeyboardInterrupt` in the thread that looks, once: what it does to leave in good order is not disturbed.

    Args:
        asked: set when all are to leave.
    """

    def __init__(self, asked: threading.Event) -> None:
        self._asked, self._came = asked, False

    def look(self) -> None:
        """Raise what was asked for.

        Raises:
            KeyboardInterrupt: the first time that it is.
        """
        if self._asked.is_set() and not self._came:
            self._came = True
            raise KeyboardInterrupt

    def waking(self, sleep: Callable[[float], None]) -> Callable[[float], None]:
        """A sleep of so many seconds from which one wakes up to leave."""

        def slept(seconds: float) -> None:
            while seconds > 0:
                self.look()
                sleep(min(seconds, _SLICE_S))
                seconds -= _SLICE_S
            self.look()

        return slept


class HeldSignals:
    """Signals that raise `KeyboardInterrupt`, and raise it again at the next look where nobody has seen it.

    Python drops an exception that is raised while a destructor or a weak reference calls back.
    """

    def __init__(self) -> None:
        self._came = False

    def __call__(self, number: int, frame: object) -> None:
        """What the signals call."""
        self._came = True
        raise KeyboardInterrupt

    def seen(self) -> None:
        """The last one was heard."""
        self._came = False

    def look(self) -> None:
        """Raise what was dropped.

        Raises:
            KeyboardInterrupt: a signal came that nobody has seen.
        """
        if self._came:
            self._came = False
            raise KeyboardInterrupt


@contextlib.contextmanager
def held(*numbers: signal.Signals) -> Iterator[HeldSignals]:
    """Have these signals held in the block; ignored ones (nohup) stay ignored."""
    signals = HeldSignals()
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, signals)
    try:
        yield signals
    finally:
        for number in taken:
            signal.signal(number, before[number] or signal.SIG_DFL)
