"""Ctrl-C and SIGTERM that are not lost where Python drops the exception that they raise."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class HeldSignals:
    """Signals that raise `KeyboardInterrupt`, and raise it again at the next look where nobody has seen it.

    Python drops an exception that is raised while a destructor or a weak reference calls back.

    Attributes:
        came: a signal came that nobody has seen.
    """

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: object) -> None:
        """What the signals call."""
        self.came = True
        raise KeyboardInterrupt

    def seen(self) -> None:
        """The last one was heard."""
        self.came = False

    def look(self) -> None:
        """Raise what was dropped.

        Raises:
            KeyboardInterrupt: a signal came that nobody has seen.
        """
        if self.came:
            self.came = False
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
