"""Splits that do not leak: a sealed test span, and purged folds in time (López de Prado 2018, chapter 7)."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from moola.config import reject
from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.errors import DataError
from moola.registry import Registry


@dataclass(frozen=True)
class Fold:
    """Row numbers of labelled windows: what a fold trains on and what it predicts; windows in neither are purged."""

    train: np.ndarray
    held_out: np.ndarray


class Splitter(Protocol):
    """Which windows train, which are sealed, and how labelled training windows are folded."""

    def spans(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> np.ndarray:
        """``"train"``, ``"test"`` or ``"excluded"`` for each window, str [n_windows]."""
        ...

    def folds(self, steps: np.ndarray, length: int, labels: np.ndarray) -> list[Fold]:
        """Folds over labelled training windows.

        Args:
            steps: int64 [n], calendar position of each window's first bar.
            length: bars a window spans.
            labels: int64 [n] class numbers.
        """
        ...


SPLITTERS: Registry[Splitter] = Registry(
    "splitter",
    {
        "sealed_date": "moola.data.splits:SealedDate",
        "given_cases": "moola.data.splits:GivenCases",
    },
)


@dataclass(frozen=True)
class SealedDate:
    """Train before a date, test from it on; windows across it belong to neither. Folds are purged in time.

    Attributes:
        test_from: first day of the sealed test, ISO 8601 (``"2013-01-01"``).
        n_folds: blocks of time among the labelled windows.
        embargo_bars: bars after a held-out block whose windows do not train either.
    """

    test_from: str
    n_folds: int = 5
    embargo_bars: int = 0

    def __post_init__(self) -> None:
        try:
            datetime.date.fromisoformat(self.test_from)
            bad_date = False
        except ValueError:
            bad_date = True
        reject(
            (bad_date, f"test_from: '{self.test_from}' is not a date such as 2013-01-01"),
            (self.n_folds < 2, f"n_folds: {self.n_folds} must be at least 2"),
            (self.embargo_bars < 0, f"embargo_bars: {self.embargo_bars} must not be negative"),
        )

    def spans(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> np.ndarray:
        """Train: the last bar lies before `test_from`. Test: the first bar lies on or after it."""
        border = datetime.datetime.fromisoformat(self.test_from).replace(tzinfo=datetime.UTC)
        before = (table["last_time"] < border).to_numpy()
        after = (table["first_time"] >= border).to_numpy()
        if not before.any() or not after.any():
            raise DataError(
                f"split.test_from={self.test_from} leaves {'no training' if not before.any() else 'no test'} windows",
                f"windows run from {table['first_time'].min()} to {table['last_time'].max()}",
                "choose a date inside this span",
            )
        return np.where(before, "train", np.where(after, "test", "excluded"))

    def folds(self, steps: np.ndarray, length: int, labels: np.ndarray) -> list[Fold]:
        """Blocks of equal counts in time order; windows that start together never part."""
        return purged_folds(steps, length, self.n_folds, self.embargo_bars)


@dataclass(frozen=True)
class GivenCases:
    """Independent cases that come with their own train and test parts; folds are stratified, in file order.

    Attributes:
        n_folds: folds among the labelled training cases.
    """

    n_folds: int = 5

    def __post_init__(self) -> None:
        reject((self.n_folds < 2, f"n_folds: {self.n_folds} must be at least 2"))

    def spans(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> np.ndarray:
        """The part that the source gives."""
        if not store.independent or None in store.series_split:
            raise DataError(
                "split=given_cases needs data with its own train and test cases",
                "this source has one calendar",
                "use split=sealed_date split.test_from=DATE",
            )
        number = np.searchsorted(store.offsets, windows.starts, side="right") - 1
        return np.asarray(store.series_split, dtype=object)[number].astype(str)

    def folds(self, steps: np.ndarray, length: int, labels: np.ndarray) -> list[Fold]:
        """Stratified folds without shuffling: cases share no bars, so nothing has to be purged."""
        counts = np.bincount(labels)
        if counts.min() < 2:
            raise DataError("a class has fewer than 2 cases", f"cases a class: {counts.tolist()}", "choose another set")
        fold_of = np.empty(len(labels), dtype=np.int64)
        n_folds = min(self.n_folds, int(counts.min()))
        for number in range(len(counts)):
            members = np.flatnonzero(labels == number)
            fold_of[members] = np.arange(len(members)) % n_folds
        every = np.arange(len(labels))
        return [Fold(every[fold_of != k], every[fold_of == k]) for k in range(n_folds)]


def purged_folds(steps: np.ndarray, length: int, n_folds: int, embargo_bars: int) -> list[Fold]:
    """Purged k-fold over time with an embargo (López de Prado 2018, section 7.4).

    A window at calendar position s spans [s, s + length). Held-out windows are a block in time that spans
    [first, last + length); a window trains with it only if it ends at or before `first`, or begins at or after
    ``last + length + embargo_bars``. Windows of all series are judged on the one calendar.

    Args:
        steps: int64 [n], calendar position of each window's first bar.
        length: bars a window spans.
        n_folds: number of blocks.
        embargo_bars: additional bars after the block.

    Returns:
        One fold a block; every window is held out exactly once.

    Raises:
        DataError: fewer distinct positions than folds, or a fold has nothing left to train on.
    """
    distinct, counts = np.unique(steps, return_counts=True)
    if len(distinct) < n_folds:
        raise DataError(
            f"{len(distinct)} labelled moments cannot make {n_folds} folds",
            "",
            f"choose split.n_folds={max(2, len(distinct))} or less",
        )
    # A block border falls where the running count passes an equal share; equal positions stay together.
    shares = (np.cumsum(counts) - counts / 2) * n_folds / counts.sum()
    block_of_distinct = np.minimum(shares.astype(np.int64), n_folds - 1)
    block = block_of_distinct[np.searchsorted(distinct, steps)]
    folds: list[Fold] = []
    for number in np.unique(block):
        held_out = np.flatnonzero(block == number)
        first, end = steps[held_out].min(), steps[held_out].max() + length
        train = np.flatnonzero((steps + length <= first) | (steps >= end + embargo_bars))
        if not len(train):
            raise DataError(
                f"fold {number} has nothing left to train on",
                f"every window lies within {length} bars (embargo {embargo_bars}) of its {len(held_out)} windows",
                "use fewer folds, a shorter embargo, or labels that spread over more time",
            )
        folds.append(Fold(train, held_out))
    return folds
