"""Combinatorial purged cross-validation (López de Prado 2018, section 12.4)."""

from __future__ import annotations

import itertools
import math
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

MAX_FOLDS = 1000
"""More combinations are a slip of the pen: each is a fit of every model and seed."""


@dataclass(frozen=True)
class CombinatorialPurged(SealedByDate):
    """Every choice of `n_held_out` of `n_blocks` blocks of time is held out once.

    That makes C(n_blocks, n_held_out) folds, and each window is held out in C(n_blocks - 1, n_held_out - 1) of them.

    Attributes:
        n_blocks: blocks of equal counts among the labelled windows.
        n_held_out: blocks that a fold holds out.
    """

    n_blocks: int = 6
    n_held_out: int = 2
    coverage: ClassVar[Coverage] = "many"

    def __post_init__(self) -> None:
        n, k = self.n_blocks, self.n_held_out
        fits = 1 <= k < n
        reject(
            *self.sealing_problems(),
            (n < 2, f"n_blocks: {n} must be at least 2"),
            (not fits, f"n_held_out: {k} must be at least 1 and less than n_blocks ({n})"),
            (
                fits and math.comb(n, k) > MAX_FOLDS,
                f"n_blocks: {n} with n_held_out={k} makes {math.comb(n, k) if fits else 0:,} folds, "
                f"more than {MAX_FOLDS:,}",
            ),
        )

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        """One fold a combination, in lexical order; purged around each of its blocks.

        Raises:
            DataError: fewer distinct starts than blocks, or a fold has nothing left to train on.
        """
        block = time_blocks(windows.first_step, equal_borders(self.n_blocks))
        chosen = itertools.combinations(range(self.n_blocks), self.n_held_out)
        return [
            purged_fold(windows, np.isin(block, blocks), self.margins, number) for number, blocks in enumerate(chosen)
        ]
