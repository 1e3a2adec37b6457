"""Windows as they are drawn: bars, times, shaded spans and marks."""

from __future__ import annotations

import datetime
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moola import drawing
from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.drawing.chart import Chart, draw_chart, draw_thumbnail

Band = Callable[[int], np.ndarray | None]
"""Number of a window -> lower and upper edge of its reconstruction, [T, 2], or None."""


def no_band(row: int) -> np.ndarray | None:
    """Where nothing was reconstructed."""
    return None


_TICKS = 8
_HEIGHT = 512.0
_LETTERS = {"open": "O ", "high": "H ", "low": "L ", "close": "C ", "volume": "V "}


@dataclass(frozen=True)
class WindowTimes:
    """When a window was.

    Attributes:
        moments: UTC, one a bar; none for cases without times.
    """

    moments: tuple[datetime.datetime, ...]

    @functools.cached_property
    def is_daily(self) -> bool:
        """Whether no bar is younger than a day."""
        steps = itertools.pairwise(self.moments)
        return all(later - earlier >= datetime.timedelta(hours=20) for earlier, later in steps)

    def words(self, bar: int) -> str:
        """The time of a bar, as precise as its data."""
        if not self.moments:
            return f"bar {bar}"
        return f"{self.moments[bar]:%-d %b %Y}" if self.is_daily else f"{self.moments[bar]:%-d %b %Y %H:%M} UTC"

    def ticks(self, n_bars: int) -> list[tuple[int, str]]:
        """Bars and labels of an axis: dates, or times of day with the date where it changes."""
        step = max(round(n_bars / _TICKS / 5) * 5, 1)
        bars = list(range(0, n_bars, step))
        if not self.moments:
            return [(bar, str(bar)) for bar in bars]
        if self.is_daily:
            return [(bar, f"{self.moments[bar]:%-d %b %y}") for bar in bars]
        days = [None, *(self.moments[bar].date() for bar in bars)]
        return [
            (bar, f"{self.moments[bar]:%H:%M}" if days[i] == days[i + 1] else f"{self.moments[bar]:%-d %b %H:%M}")
            for i, bar in enumerate(bars)
        ]


@dataclass(frozen=True)
class ShownWindows:
    """Pictures of the windows of a run.

    Attributes:
        store: the bars.
        index: where windows start.
        ids: names, in the order of the index.
        pointers: first and last marked bar, int64 [n_windows, 2], -1 where nothing is marked; None where nothing ever
            is.
        band: where a reconstruction of a window lies.
    """

    store: BarStore
    index: WindowIndex
    ids: Sequence[str]
    pointers: np.ndarray | None = None
    band: Band = no_band

    @property
    def zone(self) -> tuple[int, int]:
        """First and past-the-end bar that the label speaks of."""
        return self.index.zone

    @property
    def has_after(self) -> bool:
        """Whether a window goes on after its zone."""
        return self.zone[1] < self.index.length

    def bars(self, row: int) -> np.ndarray:
        """All bars of a window, float32 [length, n_channels]."""
        start = int(self.index.starts[row])
        return np.asarray(self.store.values[start : start + self.index.length])

    def times(self, row: int) -> WindowTimes:
        """When they were."""
        if self.store.independent:
            return WindowTimes(())
        start = int(self.index.starts[row])
        stamps = self.store.timestamps[start : start + self.index.length].tolist()
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return WindowTimes(tuple(epoch + datetime.timedelta(microseconds=stamp) for stamp in stamps))

    def symbol(self, row: int) -> str:
        """Name of the series."""
        place = int(np.searchsorted(self.store.offsets, self.index.starts[row], side="right")) - 1
        return self.store.series[place]

    def marked(self, row: int) -> tuple[int, int] | None:
        """First and last bar that an annotator marked; None where nobody did."""
        if self.pointers is None or self.pointers[row].min() < 0:
            return None
        return int(self.pointers[row, 0]), int(self.pointers[row, 1])

    def chart(self, row: int, *, after: bool) -> Chart:
        """A window, large; what came after its zone only where it is asked for."""
        times = self.times(row)
        return draw_chart(
            self.bars(row),
            self.store.channels,
            title=f"Window {self.ids[row]}, {times.words(0)} to {times.words(self.index.length - 1)}",
            spans=self._spans,
            times=times.ticks(self.index.length),
            shown=None if after else self.zone[1],
            dimmed_from=self.zone[1],
            band=self.band(row),
            height=_HEIGHT,
        )

    def readings(self, row: int) -> list[str]:
        """The figures of each bar with its time, in words."""
        times, names = self.times(row), [_LETTERS.get(name, f"{name} ") for name in self.store.channels]
        return [
            "  ".join(
                [times.words(bar), *(f"{name}{_figure(value)}" for name, value in zip(names, values, strict=True))]
            )
            for bar, values in enumerate(self.bars(row).tolist())
        ]

    @functools.cached_property
    def _spans(self) -> tuple[drawing.Span, ...]:
        (first, past), length = self.zone, self.index.length
        parts = (
            drawing.Span(0, first, "context", "context"),
            drawing.Span(first, past, "zone", "zone"),
            drawing.Span(past, length, "after", "after"),
        )
        return tuple(part for part in parts if part.start < part.stop)

    def thumbnail(self, row: int) -> str:
        """A window, small, without what came after."""
        return self._thumbnails(row)

    @functools.cached_property
    def _thumbnails(self) -> Callable[[int], str]:
        def draw(row: int) -> str:
            bars = self.bars(row)[: self.zone[1]]
            return draw_thumbnail(bars, self.store.channels, title=f"Window {self.ids[row]}", zone=self.zone)

        return functools.lru_cache(maxsize=2048)(draw)


def _figure(value: float) -> str:
    """A price with the digits that it has, a volume with four of them."""
    for size, letter in ((1e9, " B"), (1e6, " M")):
        if abs(value) >= size:
            return f"{value / size:.3f}{letter}"
    return f"{value:,.6g}"
