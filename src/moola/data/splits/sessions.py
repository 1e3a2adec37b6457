"""Folds of whole sessions: what one trading day holds is never in training and held out at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from moola.config import reject
from moola.data.bar_store import BarStore, times
from moola.data.splits import Coverage, Fold
from moola.data.splits.blocks import equal_borders, time_blocks
from moola.data.splits.purging import purged_fold
from moola.data.splits.sealed import SealedByDate
from moola.data.timezones import timezone_problem
from moola.data.window_index import WindowSpans


@dataclass(frozen=True)
class SessionFolds(SealedByDate):
    """Blocks of whole sessions in time order, purged like any other block.

    Attributes:
        n_folds: blocks; each is held out once.
        by: ``stretch``: bars of a series without a session border or a long pause between them; ``day``: the local
            day on which a window begins, of all series together.
        timezone: where a local day begins, for ``by=day``.
    """

    n_folds: int = 5
    by: Literal["stretch", "day"] = "stretch"
    timezone: str = "UTC"
    coverage: ClassVar[Coverage] = "once"

    def __post_init__(self) -> None:
        zone_problem = timezone_problem(self.timezone)
        reject(
            *self.sealing_problems(),
            (self.n_folds < 2, f"n_folds: {self.n_folds} must be at least 2"),
            (zone_problem is not None, f"timezone: {zone_problem}"),
            (
                self.by == "stretch" and self.timezone != "UTC",
                "timezone: stretches have borders of their own; choose by=day or leave it out",
            ),
        )

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        """One fold a block of sessions.

        Raises:
            DataError: fewer sessions than folds, or a fold has nothing left to train on.
        """
        days, borders = local_days(windows.first_time, self.timezone), equal_borders(self.n_folds)
        if self.by == "day":
            block = time_blocks(days, borders, "days")
        else:
            by_day = ("choose split.by=day",) if len(np.unique(days)) >= self.n_folds else ()
            block = time_blocks(stretch_begins(windows), borders, "stretches", by_day)
        return [purged_fold(windows, block == number, self.margins, number) for number in range(self.n_folds)]


def local_days(times_us: np.ndarray, timezone: str) -> np.ndarray:
    """Number of the local day of each moment, int64 [n]; daylight saving counted."""
    return times(times_us).dt.convert_time_zone(timezone).dt.date().to_physical().to_numpy().astype(np.int64)


def stretch_begins(windows: WindowSpans) -> np.ndarray:
    """Step at which the first of the given windows of each window's stretch begins, int64 [n_windows]."""
    _, number = np.unique(windows.stretch, return_inverse=True)
    begins = np.full(number.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(begins, number, windows.first_step)
    return begins[number]
