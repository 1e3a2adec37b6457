"""Folds of whole groups of series: windows that come from one recording, symbol or contract never part."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from moola.config import reject
from moola.data.bar_store import BarStore
from moola.data.splits import Coverage, Fold
from moola.data.splits.purging import PurgeConfig, purged_fold, refuse_margins_between_cases, too_near
from moola.data.splits.sealed import date_problem, sealed_spans
from moola.data.window_index import WindowSpans
from moola.errors import DataError, did_you_mean

SEALED_SHARE = 0.2
"""Share of the groups that is sealed where nothing is said of the test."""

_SHOWN = 5


@dataclass(frozen=True)
class GroupFolds(PurgeConfig):
    r"""Whole groups are held out, spread so that every fold has its part of each class.

    Groups on one calendar are purged like blocks of time: a group that trains does so outside the times of those that
    are held out. Where all groups cover the same time, nothing would be left, and this is said.

    Attributes:
        pattern: regular expression with one group of parentheses that is searched in each series' name and gives the
            name of its group (``'^(\d+)_'``: ``102_exp_1`` and ``102_exp_2`` are of group 102); null: every series
            is a group of its own.
        n_folds: folds of groups.
        test_share: share of the groups that are sealed, the last in the order of the series; 0 seals nothing; null:
            `SEALED_SHARE`, unless something else is sealed.
        test_groups: names of the groups that are sealed, in place of a share.
        test_from: date at which the sealed test begins, in place of either (`moola.data.splits.sealed`).
    """

    pattern: str | None = None
    n_folds: int = 5
    test_share: float | None = None
    test_groups: tuple[str, ...] = ()
    test_from: str | None = None
    coverage: ClassVar[Coverage] = "once"

    def __post_init__(self) -> None:
        given = [name for name in ("test_share", "test_groups", "test_from") if getattr(self, name) not in (None, ())]
        pattern_problem = None if self.pattern is None else _pattern_problem(self.pattern)
        reject(
            (pattern_problem is not None, f"pattern: {pattern_problem}"),
            (self.n_folds < 2, f"n_folds: {self.n_folds} must be at least 2"),
            (len(given) > 1, f"{given[0] if given else ''}: only one of {', '.join(given)} can seal the test"),
            (
                self.test_share is not None and not 0 <= self.test_share < 1,
                f"test_share: {self.test_share} must be at least 0 and less than 1",
            ),
            *([date_problem(self.test_from)] if self.test_from is not None else []),
            *self.purge_problems(),
        )

    def spans(self, store: BarStore, windows: WindowSpans) -> np.ndarray:
        """Test: windows of the sealed groups. Train: the others that share no time with them.

        Raises:
            DataError: unknown groups, series that the pattern does not fit, one group alone, or nothing is left to
                train on.
        """
        refuse_margins_between_cases(store, self.margins)
        if self.test_from is not None:
            return sealed_spans(store, windows, self.test_from, self.margins)
        names, group_of = self.groups(store)
        test = np.isin(group_of[windows.series], self._sealed(names))
        near = too_near(windows, windows[test], self.margins)
        train = ~test & ~near
        if not train.any():
            raise DataError(
                "the sealed groups leave no training windows",
                f"all {int((~test).sum())} windows of the other groups share time with the sealed ones, "
                f"or come too near ({self.margins.spoken})",
                "seal by date instead: split.test_from=DATE",
            )
        return np.where(test, "test", np.where(train, "train", "excluded"))

    def folds(self, store: BarStore, windows: WindowSpans, labels: np.ndarray) -> list[Fold]:
        """Groups given to folds one by one, see `spread_groups`.

        Raises:
            DataError: fewer groups than folds, or a fold has nothing left to train on.
        """
        _, group_of = self.groups(store)
        present, group = np.unique(group_of[windows.series], return_inverse=True)
        if len(present) < self.n_folds:
            raise DataError(
                f"{len(present)} groups with labelled windows cannot make {self.n_folds} folds",
                "windows of one group are never parted",
                f"choose split.n_folds={max(2, len(present))} or less, or a split.pattern that makes more groups",
            )
        fold = spread_groups(group, labels, self.n_folds)[group]
        return [purged_fold(windows, fold == number, self.margins, number) for number in range(self.n_folds)]

    def groups(self, store: BarStore) -> tuple[list[str], np.ndarray]:
        """Names of the groups in the order of their first series, and the group number of each series, int64.

        Raises:
            DataError: the pattern does not fit the names of some series.
        """
        if self.pattern is None:
            return list(store.series), np.arange(len(store.series))
        found = [re.search(self.pattern, name) for name in store.series]
        missed = [name for name, hit in zip(store.series, found, strict=True) if hit is None or hit.group(1) is None]
        if missed:
            shown = "\n".join(f"- {name}" for name in missed[:_SHOWN])
            raise DataError(
                f"split.pattern={self.pattern} does not fit {len(missed)} of {len(store.series)} series names",
                shown + (f"\n- and {len(missed) - _SHOWN} more" if len(missed) > _SHOWN else ""),
                "choose a split.pattern that finds the group in every name",
            )
        of_series = [hit.group(1) for hit in found if hit is not None]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(of_series))}
        return list(numbers), np.array([numbers[name] for name in of_series], dtype=np.int64)

    def _sealed(self, names: list[str]) -> np.ndarray:
        """Numbers of the groups that are sealed."""
        unknown = [name for name in self.test_groups if name not in names]
        if unknown:
            raise DataError(
                f"split.test_groups names {len(unknown)} groups that are not there",
                "\n".join(f"- '{name}': {did_you_mean(name, names)}" for name in unknown),
                "name groups as split.pattern finds them",
            )
        if self.test_groups:
            return np.array([names.index(name) for name in self.test_groups])
        share = SEALED_SHARE if self.test_share is None else self.test_share
        if share and len(names) == 1:
            raise DataError(
                f"split.test_share={share} cannot seal a part of the groups",
                f"all series are of one group, '{names[0]}'",
                "seal by date instead: split.test_from=DATE; split.test_share=0 seals nothing",
            )
        n_sealed = min(max(round(share * len(names)), 1), len(names) - 1) if share else 0
        return np.arange(len(names) - n_sealed, len(names))


def spread_groups(group: np.ndarray, labels: np.ndarray, n_folds: int) -> np.ndarray:
    """Give each group to a fold so that classes are spread evenly; greedy, the largest group first, no shuffling.

    A group goes where the counts of the classes then differ least between folds (the sum over classes of the variance
    of their shares), and, of equals, to the fold with the fewest windows.

    Args:
        group: int64 [n_windows], group numbers from 0 without a gap.
        labels: int64 [n_windows], class numbers.
        n_folds: number of folds, at most the number of groups.

    Returns:
        int64 [n_groups], the fold of each group; none stays empty.
    """
    n_groups, n_classes = int(group.max()) + 1, int(labels.max()) + 1
    counts = np.bincount(group * n_classes + labels, minlength=n_groups * n_classes).reshape(n_groups, n_classes)
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    held = np.zeros((n_folds, n_classes))
    sizes, members = np.zeros(n_folds), np.zeros(n_folds, dtype=np.int64)
    fold_of = np.empty(n_groups, dtype=np.int64)
    for left, number in enumerate(np.argsort(-counts.sum(axis=1), kind="stable")):
        # The variance after adding s to fold k grows with 2 s h_k, all else being the same for every k.
        cost = np.round(held @ shares[number], 12)
        if n_groups - left <= np.count_nonzero(members == 0):  # just enough groups for the folds that have none
            cost = np.where(members == 0, cost, np.inf)
        fold = int(np.lexsort((sizes, cost))[0])
        fold_of[number] = fold
        held[fold] += shares[number]
        sizes[fold] += counts[number].sum()
        members[fold] += 1
    return fold_of


def _pattern_problem(pattern: str) -> str | None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        return f"'{pattern}' is not a regular expression: {error}"
    return None if groups == 1 else f"'{pattern}' has {groups} groups of parentheses and needs exactly one"
