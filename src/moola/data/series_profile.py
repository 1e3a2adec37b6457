"""What a series looks like from far away: how many bars, from when to when, how far apart, between which values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_MANTISSA_BITS = 8
"""Steps are counted in bins of 0.4 %; a bin that holds one step only is exact."""


@dataclass
class SeriesProfile:
    """Figures of one series, gathered while it streams by.

    Attributes:
        first_time: microseconds since 1970 UTC of the first good row; None before there is one.
        last_time: the same of the last.
        longest_gap: longest step between two good rows that follow each other, microseconds; 0 with fewer than two.
        least, most: smallest and largest value of each channel, [n_channels]; empty before there is a good row.
    """

    first_time: int | None = None
    last_time: int | None = None
    longest_gap: int = 0
    least: list[float] = field(default_factory=list)
    most: list[float] = field(default_factory=list)
    _usual: int = 0
    _steps: dict[int, _StepBin] = field(default_factory=dict)

    def take(self, times: np.ndarray, values: Sequence[np.ndarray]) -> None:
        """Add good rows: int64 [n] times that go forward and one float array [n] a channel."""
        if not len(times):
            return
        self._take_steps(np.diff(times, prepend=times[0] if self.last_time is None else self.last_time))
        self.first_time = int(times[0]) if self.first_time is None else self.first_time
        self.last_time = int(times[-1])
        least, most = [float(x.min()) for x in values], [float(x.max()) for x in values]
        self.least = [min(pair) for pair in zip(self.least, least, strict=True)] if self.least else least
        self.most = [max(pair) for pair in zip(self.most, most, strict=True)] if self.most else most

    def median_step(self) -> int | None:
        """Median step in microseconds, None with fewer than two good rows.

        It is exact where all steps within 0.4 % of it are equal, else the middle of these.
        """
        bins = [self._steps[number] for number in sorted(self._steps)]
        half = (sum(one.count for one in bins) + 1) // 2
        for one in bins:
            half -= one.count
            if half <= 0:
                return (one.least + one.most) // 2
        return None

    def _take_steps(self, steps: np.ndarray) -> None:
        if self.last_time is None:
            steps = steps[1:]
        if not len(steps):
            return
        self.longest_gap = max(self.longest_gap, int(steps.max()))
        usual = steps == self._usual
        n_usual = int(np.count_nonzero(usual))
        if n_usual:
            self._count(self._usual, self._usual, n_usual)
        if n_usual < len(steps):
            found, counts = np.unique(steps[~usual], return_counts=True)
            for start, end in _bins(found):
                self._count(int(found[start]), int(found[end - 1]), int(counts[start:end].sum()))
            if n_usual < len(steps) // 2:
                self._usual = int(found[counts.argmax()])

    def _count(self, least: int, most: int, count: int) -> None:
        number = int(_bin_numbers(np.array([least]))[0])
        one = self._steps.setdefault(number, _StepBin(least, most))
        one.least, one.most, one.count = min(one.least, least), max(one.most, most), one.count + count


@dataclass
class _StepBin:
    least: int
    most: int
    count: int = 0


def _bin_numbers(steps: np.ndarray) -> np.ndarray:
    """Exponent and first bits of the mantissa of each step: bins of equal ratio."""
    return steps.astype(np.float64).view(np.int64) >> (52 - _MANTISSA_BITS)


def _bins(steps: np.ndarray) -> list[tuple[int, int]]:
    """First and past-the-end position of the ascending steps that share a bin."""
    edges = np.flatnonzero(np.diff(_bin_numbers(steps), prepend=-1, append=-1))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
