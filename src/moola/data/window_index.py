"""Windows as positions: a window is the index of its first bar, never a copy of its bars."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl

from moola.config import reject
from moola.data.bar_store import BarStore, times
from moola.errors import DataError

_MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class WindowConfig:
    """How windows are cut.

    Attributes:
        length: bars a window; null takes whole series, which must then be equally long.
        stride_bars: bars between the starts of neighbours.
        visible: bars a model may see, from the first; null means all. What comes after is for human eyes.
        zone: first and past-the-end bar that the label speaks of; null means every visible bar.
        max_gap_days: a longer pause between two bars ends a session, and no window crosses it; null: only series end.
    """

    length: int | None = None
    stride_bars: int = 1
    visible: int | None = None
    zone: tuple[int, int] | None = None
    max_gap_days: float | None = None

    def __post_init__(self) -> None:
        length = self.length if self.length is not None else 1 << 62
        visible = self.visible if self.visible is not None else length
        zone = self.zone or (0, visible)
        reject(
            (length < 2, f"length: {self.length} must be at least 2"),
            (self.stride_bars < 1, f"stride_bars: {self.stride_bars} must be at least 1"),
            (not 2 <= visible <= length, f"visible: {self.visible} must lie between 2 and length ({self.length})"),
            (
                not 0 <= zone[0] < zone[1] <= length,
                f"zone: {list(zone)} must be [first, past-the-end] inside the window",
            ),
            (
                self.max_gap_days is not None and self.max_gap_days <= 0,
                f"max_gap_days: {self.max_gap_days} must be positive",
            ),
        )


@dataclass(frozen=True)
class WindowIndex:
    """Where every window starts and what it spans.

    Attributes:
        starts: int64 [n_windows], first bar of each window in the bar store.
        length: bars a window.
        visible: bars a model may see, from the first.
        zone: first and past-the-end bar that the label speaks of.
    """

    starts: np.ndarray
    length: int
    visible: int
    zone: tuple[int, int]

    def __len__(self) -> int:
        return len(self.starts)

    def gather(self, values: np.ndarray, which: np.ndarray, n_bars: int | None = None) -> np.ndarray:
        """Copy some windows out of the bars: [len(which), n_bars, n_channels]; for labelled windows, which are few."""
        span = np.arange(n_bars or self.visible)
        return np.asarray(values[self.starts[which][:, None] + span])

    @classmethod
    def build(cls, store: BarStore, config: WindowConfig) -> WindowIndex:
        """Every window of `length` bars that stays inside one series and one session.

        Raises:
            DataError: no series is long enough, or `length` is null and series differ in length or are shorter than
                `visible` or `zone` ask for.
        """
        length = config.length if config.length is not None else _common_length(store)
        edges = _session_edges(store, config.max_gap_days)
        starts = [np.arange(a, b - length + 1, config.stride_bars) for a, b in itertools.pairwise(edges.tolist())]
        found = np.concatenate(starts).astype(np.int64)
        if not len(found):
            longest = int(np.max(np.diff(edges)))
            raise DataError(
                f"no window of {length} bars fits",
                f"the longest unbroken stretch has {longest} bars",
                f"choose data.window.length={longest} or less, or a larger data.window.max_gap_days",
            )
        visible = config.visible if config.visible is not None else length
        zone = config.zone or (0, visible)
        if max(visible, zone[1]) > length:  # known only now where `length` is null
            raise DataError(
                f"data.window does not fit into windows of {length} bars",
                f"visible: {visible}, zone: {list(zone)}",
                "give a data.window.length, or a smaller visible and zone",
            )
        return cls(found, length, visible, zone)

    def calendar_length(self, store: BarStore) -> int:
        """Positions on the common calendar (`BarStore.steps`) that the longest window spans.

        It is `length` where all series have their bars at the same times, and more where one has bars while another
        pauses; purging by `length` would then let windows that share time train and be held out.
        """
        if store.independent:  # cases share no calendar
            return self.length
        steps = store.steps()
        return int((steps[self.starts + self.length - 1] - steps[self.starts]).max()) + 1

    def table(self, store: BarStore) -> pl.DataFrame:
        """The windows table of `moola.schemas.windows`; ``true_label`` is empty."""
        number = np.searchsorted(store.offsets, self.starts, side="right") - 1
        names = np.asarray(store.series)[number]
        whole = len(self) == len(store.series) and not np.any(self.starts - store.offsets[:-1])
        within = self.starts - store.offsets[number]
        ids = names.tolist() if whole else [f"{name}_{bar:07d}" for name, bar in zip(names, within, strict=True)]
        steps = store.steps()[self.starts] if not store.independent else np.arange(len(self))
        return pl.DataFrame(
            {
                "window_id": ids,
                "series": names.tolist(),
                "start": self.starts,
                "step": steps,
                "first_time": times(store.timestamps[self.starts]),
                "last_time": times(store.timestamps[self.starts + self.length - 1]),
                "true_label": pl.Series([None] * len(self), dtype=pl.String),
            }
        )


def _common_length(store: BarStore) -> int:
    lengths = np.diff(store.offsets)
    if lengths.min() != lengths.max():
        raise DataError(
            "data.window.length is needed",
            f"series have between {lengths.min()} and {lengths.max()} bars",
            "give data.window.length=BARS",
        )
    return int(lengths[0])


def _session_edges(store: BarStore, max_gap_days: float | None) -> np.ndarray:
    """int64 [n_sessions + 1]: bars at which a series or a session begins, and the end."""
    if max_gap_days is None:
        return store.offsets
    pauses = np.flatnonzero(np.diff(store.timestamps) > max_gap_days * _MICROSECONDS_PER_DAY) + 1
    return np.unique(np.concatenate([store.offsets, pauses]))
