"""Walk-forward: train on the past, predict the block that follows, move on (López de Prado 2018, section 12.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from moola.config import reject
from moola.data.bar_store import BarStore
from moola.data.splits import Coverage, Fold
from moola.data.splits.blocks import time_blocks
from moola.data.splits.purging import purged_fold
from moola.data.splits.sealed import SealedByDate
from moola.data.window_index import WindowSpans


@dataclass(frozen=True)
class WalkForward(SealedByDate):
    """Every fold trains on windows that end before its held-out block begins; the first block is never held out.

    Attributes:
        n_folds: held-out blocks, of equal counts.
        train: ``expanding`` trains on the whole past, ``sliding`` on the last `train_bars` of it.
        min_train: share of the labelled windows before the first held-out block; null: as many as in each block.
        train_bars: bars of the common calendar that a sliding span reaches back from the held-out block; null: as far
            as the first fold does.
    """

    n_folds: int = 5
    train: Literal["expanding", "sliding"] = "expanding"
    min_train: float | None = None
    train_bars: int | None = None
    coverage: ClassVar[Coverage] = "some"

    def __post_init__(self) -> None:
        unused = "training ends before what is held out begins, so an embargo has nothing to keep apart; "
        share = self._first_share
        reject(
            *self.sealing_problems(),
            (self.n_folds < 1, f"n_folds: {self.n_folds} must be at least 1"),
            (not 0 < share < 1, f"min_train: {self.min_train} must lie between 0 and 1"),
            (
                self.train_bars is not None and self.train == "expanding",
                "train_bars: only a sliding span has a length; choose train=sliding or leave it out",
            ),
            (
                self.train_bars is not None and self.train_bars < 1,
                f"train_bars: {self.train_bars} must be at least 1",
            ),
            (self.embargo_bars > 0, f"embargo_bars: {unused}use purge_bars"),
            (self.embargo_time is not None, f"embargo_time: {unused}use purge_time"),
        )

    @property
    def _first_share(self) -> float:
        return 1 / (max(self.n_folds, 1) + 1) if self.min_train is None else self.min_train

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        """One fold a block after the first, in time order.

        Raises:
            DataError: fewer distinct starts than blocks, or a fold has nothing left to train on.
        """
        borders = np.linspace(self._first_share, 1, self.n_folds + 1)[:-1]
        block = time_blocks(windows.first_step, borders)
        begins = [int(windows.first_step[block == number].min()) for number in range(self.n_folds + 1)]
        reach = self.train_bars if self.train_bars is not None else begins[1] - begins[0]
        folds: list[Fold] = []
        for number, begin in enumerate(begins[1:]):
            past = windows.first_step < begin
            if self.train == "sliding":
                past &= windows.first_step >= begin - reach
            folds.append(purged_fold(windows, block == number + 1, self.margins, number, past))
        return folds
