"""Ctrl-C for work in threads, which signals never reach, and for the thread that waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable

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
