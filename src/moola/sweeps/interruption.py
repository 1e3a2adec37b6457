"""Ctrl-C for work in threads, which signals never reach."""

from __future__ import annotations

import threading
import time


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

    def sleep(self, seconds: float) -> None:
        """Sleep, and wake up to leave.

        Raises:
            KeyboardInterrupt: as `look`.
        """
        if self._came:
            time.sleep(seconds)
        else:
            self._asked.wait(seconds)
            self.look()
