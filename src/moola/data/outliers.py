"""Changes that are out of scale for their own series: spikes, level shifts, and candles that stand still.

A change is measured against the median change of the bars around it, never against a price: what is found in a series
is found again when every price of it is multiplied by a constant. Nothing is dropped for being an outlier.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

BLOCK_BARS = 1024
"""Changes that are judged by one scale; counted from the first bar of the series, so chunks change nothing."""

_SAMPLED = 8
"""The scale of a full block is the median of every 8th change: 128 values, known to about a tenth."""
_BLOCKS_AT_ONCE = 64
"""Blocks that are worked on together: a quarter of a megabyte a channel, which stays in the processor's cache."""
_LEAST_CHANGES = 20
"""A scale needs this many changes that are not 0."""
_RETURNED = 0.25
"""A spike is back when what is left of it is at most this part of it."""

Kind = Literal["spike", "level_shift", "stuck"]


@dataclass(frozen=True)
class Outlier:
    """One bar (or run of bars) that is worth a look.

    Attributes:
        kind: ``spike``: the value leaves for one bar and returns (a slipped decimal point, a bad tick);
            ``level_shift``: it leaves and stays (a split, a change of contract); ``stuck``: the same candle again and
            again.
        origin: where the bar, or the first of the run, stood.
        time: its time, microseconds.
        channel: number of the channel; -1 for a candle that is stuck.
        before: value of the bar before.
        value: value of the bar.
        bars: 1, or the length of the run.
    """

    kind: Kind
    origin: int
    time: int
    channel: int = -1
    before: float = float("nan")
    value: float = float("nan")
    bars: int = 1


@dataclass
class _Run:
    """Equal candles in a row, up to the last bar judged."""

    bars: int = 0
    origin: int = 0
    time: int = 0


@dataclass
class SeriesWatch:
    """Finds the outliers of one series while it streams by; how it is cut into chunks changes nothing.

    The change of bar i is ``|x[i] - x[i-1]|``, divided by the smaller of the two in a block where all values are above
    0, so that up and down count alike (it is ``exp(|log return|) - 1``). The scale of a block of 1,024 bars is the
    median of its changes that are not 0, and at least that of the block before it; a change of more than `scale`
    times that is an outlier. A block with fewer than 20 such changes takes the scale of the block before.

    Attributes:
        watched: numbers of the channels in which spikes and shifts are looked for.
        candle: numbers of the channels that must move for a candle not to be stuck.
        scale: how many median changes make an outlier; None: none are looked for.
        stuck_bars: equal candles in a row that are worth a warning; None: not looked for.
    """

    watched: Sequence[int]
    candle: Sequence[int]
    scale: float | None
    stuck_bars: int | None
    _held: list[np.ndarray] = field(default_factory=list)
    _seen: int = 0
    _last_scale: dict[int, tuple[bool, float]] = field(default_factory=dict)
    _run: _Run = field(default_factory=_Run)

    def take(self, times: np.ndarray, origins: np.ndarray, values: Sequence[np.ndarray]) -> list[Outlier]:
        """Outliers that are certain now.

        Args:
            times: int64 [n], microseconds, going forward.
            origins: int64 [n], where each bar stood.
            values: one float array [n] a channel.
        """
        columns = [times, origins, *values]
        if not self._held:
            return self._judge(columns)
        # Fill up the block that was begun, so that all others are judged where they are, without a copy.
        waiting = len(self._held[0]) - min(self._seen, 2)
        filling = BLOCK_BARS - waiting + 1
        filling += BLOCK_BARS if filling < 3 else 0
        found = self._judge([np.concatenate([a, b[:filling]]) for a, b in zip(self._held, columns, strict=True)])
        if len(times) > filling:
            found += self._judge([column[filling - 3 :] for column in columns])
        return found

    def finish(self) -> list[Outlier]:
        """The outliers among the last bars."""
        found = self._judge(self._held, is_last=True) if self._held else []
        return found + self._close_run()

    def _judge(self, columns: list[np.ndarray], is_last: bool = False) -> list[Outlier]:
        """Judge whole blocks, each when the bar after it is known; at the end, what is left.

        Args:
            columns: times, origins and values of the two bars judged last, and of all bars after them.
            is_last: nothing comes after them.
        """
        first = min(self._seen, 2)
        waiting = len(columns[0]) - first
        end = first + (waiting if is_last else max(waiting - 1, 0) // BLOCK_BARS * BLOCK_BARS)
        found: list[Outlier] = []
        whole = first + (end - first) // BLOCK_BARS * BLOCK_BARS
        edges = [*range(first, whole, _BLOCKS_AT_ONCE * BLOCK_BARS), whole, end]
        for start, stop in itertools.pairwise(edges):
            if stop > start:
                found += self._judge_piece(columns, start, stop)
        self._seen += end - first
        self._held = [column[max(end - 2, 0) :].copy() for column in columns]
        return found

    def _judge_piece(self, columns: list[np.ndarray], start: int, stop: int) -> list[Outlier]:
        """Judge bars `start` to `stop`, either whole blocks or one that is not whole."""
        times, origins, *values = columns
        n_blocks = max((stop - start) // BLOCK_BARS, 1)
        found: list[Outlier] = []
        for channel in self.watched if self.scale is not None else ():
            for bar, kind in self._jumps(channel, values[channel], start, stop, n_blocks):
                before, value = float(values[channel][bar - 1]), float(values[channel][bar])
                found.append(Outlier(kind, int(origins[bar]), int(times[bar]), channel, before, value))
        if self.stuck_bars is not None:
            found += self._stuck(times, origins, [values[channel] for channel in self.candle], start, stop)
        return found

    def _jumps(
        self, channel: int, x: np.ndarray, start: int, stop: int, n_blocks: int
    ) -> Iterator[tuple[int, Literal["spike", "level_shift"]]]:
        sizes, relative = _changes(x, start, stop, n_blocks)
        limits = self._limits(channel, sizes, relative)
        for block in (sizes.max(axis=1) > limits).nonzero()[0]:
            for at in np.flatnonzero(sizes[block] > limits[block]):
                bar = start + int(block) * sizes.shape[1] + int(at)
                if _is_spike(x, bar, bool(relative[block])):
                    yield bar, "spike"
                elif not _is_spike(x, bar - 1, bool(relative[block])):
                    yield bar, "level_shift"

    def _limits(self, channel: int, sizes: np.ndarray, relative: np.ndarray) -> np.ndarray:
        """float64 [n_blocks]: a larger change is an outlier; NaN where the series has not moved enough to say."""
        assert self.scale is not None
        scales = _scales(sizes)
        was_relative, last = self._last_scale.get(channel, (bool(relative[0]), float("nan")))
        # A block of another kind has a scale of another kind: nothing is known from before.
        changed = relative != np.concatenate([[was_relative], relative[:-1]])
        known = np.concatenate([[last], scales])
        for block in (changed | np.isnan(scales)).nonzero()[0].tolist():
            if changed[block]:
                known[block] = np.nan
            if np.isnan(scales[block]):
                known[block + 1] = known[block]
        self._last_scale[channel] = (bool(relative[-1]), float(known[-1]))
        return np.fmax(scales, known[:-1]) * self.scale

    def _stuck(
        self, times: np.ndarray, origins: np.ndarray, candle: Sequence[np.ndarray], start: int, stop: int
    ) -> list[Outlier]:
        """Runs of equal candles that end in this piece."""
        new = np.ones(stop - start, dtype=bool)
        after_first = slice(1 if start == 0 else 0, None)
        bars = slice(max(start, 1), stop)
        same = np.ones(bars.stop - bars.start, dtype=bool)
        for x in candle:
            same &= x[bars] == x[bars.start - 1 : bars.stop - 1]
        np.logical_not(same, out=new[after_first])
        begins = np.flatnonzero(new)
        if not len(begins):
            self._run.bars += stop - start
            return []
        self._run.bars += int(begins[0])
        found = self._close_run()
        lengths = np.diff(begins)
        assert self.stuck_bars is not None
        for run in np.flatnonzero(lengths >= self.stuck_bars):
            at = start + int(begins[run])
            found.append(Outlier("stuck", int(origins[at]), int(times[at]), bars=int(lengths[run])))
        at = start + int(begins[-1])
        self._run = _Run(stop - at, int(origins[at]), int(times[at]))
        return found

    def _close_run(self) -> list[Outlier]:
        run, self._run = self._run, _Run()
        if self.stuck_bars is None or run.bars < self.stuck_bars:
            return []
        return [Outlier("stuck", run.origin, run.time, bars=run.bars)]


def _changes(x: np.ndarray, start: int, stop: int, n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of the changes that lead to bars `start` to `stop`, [n_blocks, n_bars], and which blocks are relative."""
    before = x[max(start - 1, 0) : stop - 1] if start else np.concatenate([x[:1], x[: stop - 1]])
    with np.errstate(over="ignore"):
        sizes = np.abs(x[start:stop] - before).reshape(n_blocks, -1)
        smaller = np.minimum(x[start:stop], before).reshape(n_blocks, -1)
        relative = smaller.min(axis=1) > 0
        if relative.all():
            sizes /= smaller
        else:
            sizes[relative] /= smaller[relative]
    return sizes, relative


def _scales(sizes: np.ndarray) -> np.ndarray:
    """float64 [n_blocks]: median of the changes that are not 0, NaN where these are few."""
    sampled = np.sort(sizes[:, :: _SAMPLED if sizes.shape[1] == BLOCK_BARS else 1], axis=1)
    n = sampled.shape[1]
    zeros = np.where(sampled[:, -1] > 0, (sampled > 0).argmax(axis=1), n)
    median = sampled[np.arange(len(sampled)), np.minimum(zeros + (n - zeros) // 2, n - 1)].astype(np.float64)
    median[n - zeros < _LEAST_CHANGES] = np.nan
    return median


def _is_spike(x: np.ndarray, bar: int, relative: bool) -> bool:
    """Whether the value leaves at this bar and is back at the next."""
    if not 0 < bar < len(x) - 1:
        return False
    before, value, after = float(x[bar - 1]), float(x[bar]), float(x[bar + 1])
    leaves, returns = _size(before, value, relative), _size(value, after, relative)
    opposite = (value - before) * (after - value) < 0
    return opposite and _size(before, after, relative) <= _RETURNED * min(leaves, returns)


def _size(a: float, b: float, relative: bool) -> float:
    return abs(b - a) / min(a, b) if relative and min(a, b) > 0 else abs(b - a)
