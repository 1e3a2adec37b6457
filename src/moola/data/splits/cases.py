"""Independent cases that come with their own train and test parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moola.config import reject
from moola.data.bar_store import BarStore
from moola.data.splits import Coverage, Fold
from moola.data.window_index import WindowSpans
from moola.errors import DataError


@dataclass(frozen=True)
class GivenCases:
    """The parts that the source gives; folds are stratified, in file order.

    Attributes:
        n_folds: folds among the labelled training cases; fewer where a class has fewer cases.
    """

    n_folds: int = 5
    coverage: ClassVar[Coverage] = "once"

    def __post_init__(self) -> None:
        reject((self.n_folds < 2, f"n_folds: {self.n_folds} must be at least 2"))

    def spans(self, store: BarStore, windows: WindowSpans) -> np.ndarray:
        """The part that the source gives.

        Raises:
            DataError: the source has one calendar, or cases without a part.
        """
        if not store.independent or None in store.series_split:
            raise DataError(
                "split=given_cases needs data with its own train and test cases",
                "this source has cases that belong to no part" if store.independent else "this source has one calendar",
                "use split=group_folds" if store.independent else "use split=purged_kfold split.test_from=DATE",
            )
        return np.asarray(store.series_split, dtype=str)[windows.series]

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        """Stratified folds of whole cases without shuffling: cases share no bars, so nothing has to be purged.

        Raises:
            DataError: a class has fewer than 2 cases.
        """
        cases, first, case_of = np.unique(windows.series, return_index=True, return_inverse=True)
        classes = labels[first]  # a case is one label, however many windows it was cut into
        present, counts = np.unique(classes, return_counts=True)
        if counts.min() < 2:
            raise DataError(
                "a class has fewer than 2 cases",
                f"cases a class: {dict(zip(present.tolist(), counts.tolist(), strict=True))}",
                "give the models more labels (task.n_given), or choose another set",
            )
        fold_of = np.empty(len(cases), dtype=np.int64)
        n_folds = min(self.n_folds, int(counts.min()))
        for number in present:
            members = np.flatnonzero(classes == number)
            fold_of[members] = np.arange(len(members)) % n_folds
        fold_of = fold_of[case_of]
        return [Fold(np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k)) for k in range(n_folds)]
