"""Purged k-fold over time with an embargo (López de Prado 2018, section 7.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moola.config import reject
from moola.data.bar_store import BarStore
from moola.data.splits import Coverage, Fold
from moola.data.splits.blocks import equal_borders, time_blocks
from moola.data.splits.purging import purged_fold
from moola.data.splits.sealed import SealedByDate
from moola.data.window_index import WindowSpans


@dataclass(frozen=True)
class PurgedKFold(SealedByDate):
    """Blocks of equal counts in time order; windows of all series that start together never part.

    Attributes:
        n_folds: blocks of time among the labelled windows; each is held out once.
    """

    n_folds: int = 5
    coverage: ClassVar[Coverage] = "once"

    def __post_init__(self) -> None:
        reject(*self.sealing_problems(), (self.n_folds < 2, f"n_folds: {self.n_folds} must be at least 2"))

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        """One fold a block.

        Raises:
            DataError: fewer distinct starts than folds, or a fold has nothing left to train on.
        """
        block = time_blocks(windows.first_step, equal_borders(self.n_folds))
        return [purged_fold(windows, block == number, self.margins, number) for number in range(self.n_folds)]
