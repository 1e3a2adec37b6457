"""When to try a transfer again: as long as something comes through, and a few times more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Patience:
    """Counts attempts of one transfer that brought nothing.

    Attributes:
        attempts: in a row that may bring nothing before it is given up.
        pause_s: before the second of them; it doubles with each further one, up to `longest_s`.
        longest_s: the longest pause.
        sleep: takes seconds.
    """

    attempts: int = 6
    pause_s: float = 0.5
    longest_s: float = 15.0
    sleep: Callable[[float], None] = time.sleep
    _least_left: float = field(default=float("inf"), init=False)
    _in_vain: int = field(default=0, init=False)

    def failed(self, error: Exception, left: float) -> None:
        """Wait before the next attempt.

        Args:
            error: what ended this one.
            left: bytes that are still to come.

        Raises:
            Exception: `error`, where too many attempts in a row have left no less than before.
        """
        self._in_vain = 1 if left < self._least_left else self._in_vain + 1
        self._least_left = min(left, self._least_left)
        if self._in_vain >= self.attempts:
            raise error
        self.sleep(min(self.pause_s * 2 ** (self._in_vain - 1), self.longest_s))
