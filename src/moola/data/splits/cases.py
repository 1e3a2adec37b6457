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

_USUAL = 5


@dataclass(frozen=True)
class GivenCases:
    """The parts that the source gives; folds are stratified, in file order.

    Attributes:
        n_folds: folds among the labelled training cases; null: 5, or as many as the rarest class has cases.
    """

    n_folds: int | None = None
    coverage: ClassVar[Coverage] = "once"

    def __post_init__(self) -> None:
        reject((self.n_folds is not None and self.n_folds < 2, f"n_folds: {self.n_folds} must be at least 2"))

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
            DataError: a class has fewer than 2 cases, or fewer than the folds that were asked for.
        """
        cases, first, case_of = np.unique(windows.series, return_index=True, return_inverse=True)
        classes = labels[first]  # a case is one label, however many windows it was cut into
        present, counts = np.unique(classes, return_counts=True)
        rarest = int(counts.min())
        told = f"labelled training cases a class: {dict(zip(present.tolist(), counts.tolist(), strict=True))}"
        if rarest < 2:
            raise DataError(
                "a class has fewer than 2 cases",
                told,
                "give the models more labels (task.n_given), or choose another set",
            )
        n_folds = min(_USUAL, rarest) if self.n_folds is None else self.n_folds
        if rarest < n_folds:
            raise DataError(
                f"{len(cases)} labelled cases, {rarest} of the rarest class, cannot make {n_folds} folds",
                f"every fold holds out cases of every class; {told}",
                f"choose split.n_folds={rarest} or less, or null for as many as there can be, {_USUAL} at most",
            )
        fold_of = np.empty(len(cases), dtype=np.int64)
        for number in present:
            members = np.flatnonzero(classes == number)
            fold_of[members] = np.arange(len(members)) % n_folds
        fold_of = fold_of[case_of]
        return [Fold(np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k)) for k in range(n_folds)]
