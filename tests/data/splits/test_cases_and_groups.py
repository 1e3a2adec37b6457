"""Splits of whole cases and whole groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moola.data.bar_store import BarStore
from moola.data.splits.cases import GivenCases
from moola.data.splits.groups import GroupFolds, spread_groups
from moola.data.window_index import WindowConfig, WindowIndex, WindowSpans
from moola.errors import ConfigError, DataError

DAY = 86_400_000_000


def cases(splits: tuple[str | None, ...], independent: bool = True) -> tuple[BarStore, WindowSpans]:
    n = len(splits)
    names = tuple(f"c{i}" for i in range(n))
    values, times = np.zeros((n * 4, 1), np.float32), np.tile(np.arange(4), n)
    store = BarStore(values, times, np.arange(n + 1) * 4, names, splits, (None,) * n, ("x",), independent)
    return store, WindowIndex.build(store, WindowConfig()).spans(store)


def series(names: list[str], begins: list[int], n_bars: int = 10, independent: bool = False) -> Any:
    """Series of `n_bars` daily bars that begin on some day, and the windows of 2 bars in them."""
    n = len(names)
    times = np.concatenate([(begin + np.arange(n_bars)) * DAY for begin in begins])
    values, offsets, nothing = np.zeros((n * n_bars, 1), np.float32), np.arange(n + 1) * n_bars, (None,) * n
    store = BarStore(values, times, offsets, tuple(names), nothing, nothing, ("x",), independent)
    return store, WindowIndex.build(store, WindowConfig(length=2)).spans(store)


def test_given_parts_are_the_spans() -> None:
    assert GivenCases().spans(*cases(("train", "test", "train"))).tolist() == ["train", "test", "train"]


@pytest.mark.parametrize(
    ("splits", "independent", "instead"),
    [(("train", None), True, "group_folds"), (("train", "test"), False, "purged_kfold")],
)
def test_data_without_given_parts_is_refused(splits: tuple[str | None, ...], independent: bool, instead: str) -> None:
    with pytest.raises(DataError, match="split=given_cases needs data with its own train and test cases") as caught:
        GivenCases().spans(*cases(splits, independent))
    assert f"split={instead}" in caught.value.way_out


@given(labels=st.lists(st.integers(0, 2), min_size=6, max_size=60), n_folds=st.integers(2, 7))
def test_folds_of_cases_are_stratified_and_hold_each_case_out_once(labels: list[int], n_folds: int) -> None:
    numbers = np.array(labels)
    counts = np.unique(numbers, return_counts=True)[1]
    assume(counts.min() >= 2)
    store, windows = cases(("train",) * len(labels))
    if counts.min() < n_folds:
        with pytest.raises(DataError, match=f"cannot make {n_folds} folds") as caught:
            GivenCases(n_folds).folds(store, windows, numbers)
        assert f"split.n_folds={counts.min()} or less" in caught.value.way_out
        n_folds = counts.min()
    assert len(GivenCases().folds(store, windows, numbers)) == min(5, counts.min())
    folds = GivenCases(n_folds).folds(store, windows, numbers)
    assert len(folds) == n_folds
    assert sorted(np.concatenate([fold.held_out for fold in folds]).tolist()) == list(range(len(numbers)))
    for fold in folds:
        assert not set(fold.train.tolist()) & set(fold.held_out.tolist())
        assert len(fold.train) + len(fold.held_out) == len(numbers)
    for number in np.unique(numbers):
        per_fold = [int(np.sum(numbers[fold.held_out] == number)) for fold in folds]
        assert max(per_fold) - min(per_fold) <= 1 and min(per_fold) >= 1


def test_windows_of_one_case_never_part() -> None:
    store, windows = series([f"c{i}" for i in range(6)], [0] * 6, n_bars=5, independent=True)
    folds = GivenCases(3).folds(store, windows, np.repeat([0, 1] * 3, 4))
    assert [sorted(set(windows.series[fold.held_out].tolist())) for fold in folds] == [[0, 1], [2, 3], [4, 5]]
    assert all(len(fold.held_out) == 8 for fold in folds)


def test_a_class_with_one_case_is_refused() -> None:
    with pytest.raises(DataError, match="fewer than 2 cases"):
        GivenCases().folds(*cases(("train",) * 3), np.array([0, 0, 1]))


NAMES = [f"{group}_exp_{number}" for group in (101, 102, 103, 104, 105) for number in (1, 2)]


def test_series_of_one_group_never_part_and_the_last_groups_are_sealed() -> None:
    store, windows = series(NAMES, [0] * 10, independent=True)
    splitter = GroupFolds(pattern=r"^(\d+)_", n_folds=4, test_share=0.2)
    part = splitter.spans(store, windows)
    assert set(windows.series[part == "test"].tolist()) == {8, 9}
    assert (part != "excluded").all()
    labelled = windows[part == "train"]
    folds = splitter.folds(store, labelled, labelled.series % 2)
    held = sorted(sorted(set((labelled.series[fold.held_out] // 2).tolist())) for fold in folds)
    assert held == [[0], [1], [2], [3]]


def test_named_groups_are_sealed() -> None:
    store, windows = series(NAMES, [0] * 10, independent=True)
    part = GroupFolds(pattern=r"^(\d+)_", test_groups=("101", "104")).spans(store, windows)
    assert set(windows.series[part == "test"].tolist()) == {0, 1, 6, 7}
    with pytest.raises(DataError, match="names 2 groups that are not there") as caught:
        GroupFolds(pattern=r"^(\d+)_", test_groups=("101", "201", "102_exp_1")).spans(store, windows)
    assert "- '201': did you mean '101'" in caught.value.why


def test_groups_that_follow_each_other_in_time_are_purged_at_their_borders() -> None:
    """Contracts whose last days overlap with the first of the next."""
    store, windows = series(["a", "b", "c", "d"], [0, 8, 16, 24])
    splitter = GroupFolds(n_folds=3, test_groups=("d",), embargo_bars=1)
    part = splitter.spans(store, windows)
    assert windows.last_step[part == "train"].max() < 24
    assert (part == "excluded").sum() == 2  # the days 24 and 25 of c lie in d
    labelled = windows[part == "train"]
    folds = splitter.folds(store, labelled, np.zeros(len(labelled), np.int64))
    for fold in folds:
        kept, held = labelled[fold.train], labelled[fold.held_out]
        assert len(set(held.series.tolist())) == 1
        assert not set(kept.first_step.tolist()) & set(range(held.first_step.min(), held.last_step.max() + 2))


def test_groups_that_cover_the_same_time_are_refused() -> None:
    """Two markets on the same days are one sample in time, however they are called."""
    store, windows = series(["a", "b", "c"], [0, 0, 0])
    with pytest.raises(DataError, match="the sealed groups leave no training windows") as caught:
        GroupFolds(test_share=0.3).spans(store, windows)
    assert "split.test_from=DATE" in caught.value.way_out
    with pytest.raises(DataError, match="nothing left to train on"):
        GroupFolds(n_folds=2, test_share=0.0).folds(store, windows, np.zeros(len(windows), np.int64))


def test_groups_may_be_sealed_by_date_or_not_at_all() -> None:
    store, windows = series(["a", "b", "c"], [0, 20, 40])
    part = GroupFolds(test_from="1970-02-08").spans(store, windows)
    assert set(windows.series[part == "test"].tolist()) == {2}
    assert (GroupFolds(test_share=0.0).spans(store, windows) == "train").all()


def test_a_fifth_of_the_groups_is_sealed_where_nothing_else_is_said() -> None:
    store, windows = series(NAMES, [0] * 10, independent=True)
    assert set(windows.series[GroupFolds().spans(store, windows) == "test"].tolist()) == {8, 9}
    part = GroupFolds(test_groups=("101_exp_1",)).spans(store, windows)
    assert set(windows.series[part == "test"].tolist()) == {0}


def test_one_group_cannot_be_sealed_in_part() -> None:
    with pytest.raises(DataError, match="all series are of one group") as caught:
        GroupFolds(test_share=0.2).spans(*series(["a"], [0]))
    assert "split.test_from=DATE" in caught.value.way_out


def test_names_that_the_pattern_does_not_fit_are_told() -> None:
    store, windows = series([*(f"x{i}" for i in range(7)), "102_exp"], [0] * 8, independent=True)
    with pytest.raises(DataError, match="does not fit 7 of 8 series names") as caught:
        GroupFolds(pattern=r"^(\d+)_", test_share=0.2).spans(store, windows)
    assert caught.value.why.splitlines() == ["- x0", "- x1", "- x2", "- x3", "- x4", "- and 2 more"]


def test_more_folds_than_groups_are_refused() -> None:
    store, windows = series(["a", "b"], [0, 20])
    with pytest.raises(DataError, match="2 groups with labelled windows cannot make 5 folds"):
        GroupFolds(test_share=0.0).folds(store, windows, np.zeros(len(windows), np.int64))


def test_a_margin_between_independent_cases_is_refused() -> None:
    store, windows = series(["a", "b"], [0, 0], independent=True)
    with pytest.raises(DataError, match="says nothing about independent cases"):
        GroupFolds(test_share=0.5, embargo_bars=3).spans(store, windows)


@given(
    groups=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=2, max_size=25),
    n_folds=st.integers(2, 6),
)
def test_every_fold_gets_groups_and_no_fold_much_more_than_its_share(groups: list[list[int]], n_folds: int) -> None:
    assume(len(groups) >= n_folds)
    group = np.repeat(np.arange(len(groups)), [len(some) for some in groups])
    labels = np.concatenate([np.array(some) for some in groups])
    fold = spread_groups(group, labels, n_folds)
    assert sorted(set(fold.tolist())) == list(range(n_folds))
    sizes = np.bincount(fold[group], minlength=n_folds)
    shares = np.array([np.bincount(labels[fold[group] == k], minlength=3) for k in range(n_folds)])
    totals = np.maximum(np.bincount(labels, minlength=3), 1)
    largest = (np.array([np.bincount(some, minlength=3) for some in groups]) / totals).sum(axis=1).max()
    spread = np.ptp((shares / totals).sum(axis=1))
    assert spread <= 3 * largest + 1e-9
    assert sizes.sum() == len(labels)


def test_classes_are_spread_where_groups_hold_one_class_each() -> None:
    labels = np.repeat([0, 1] * 6, 4)
    fold = spread_groups(np.repeat(np.arange(12), 4), labels, 3)
    counts = [np.bincount(labels[np.repeat(fold, 4) == k]).tolist() for k in range(3)]
    assert counts == [[8, 8]] * 3


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({"test_groups": ("a",), "test_from": "2013-01-01"}, ["test_groups"]),
        ({"test_share": 1.0, "n_folds": 1, "purge_bars": -1}, ["n_folds", "test_share", "purge_bars"]),
        ({"test_share": 0.2, "test_from": "2013-01-01"}, ["test_share"]),
        ({"test_from": "soon"}, ["test_from"]),
        ({"test_share": 0.2, "pattern": r"^\d+_"}, ["pattern"]),
        ({"test_share": 0.2, "pattern": r"^(\d+_"}, ["pattern"]),
    ],
)
def test_wrong_keys_are_refused(fields: dict[str, Any], problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        GroupFolds(**fields)
    assert [problem.split(":")[0] for problem in caught.value.problems] == problems
    with pytest.raises(ConfigError, match="n_folds: 1"):
        GivenCases(n_folds=1)
