"""Splits that do not leak, on any calendar."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moola.data.bar_store import BarStore
from moola.data.splits import Fold, GivenCases, SealedDate, purged_folds
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import ConfigError, DataError

DAY = 86_400_000_000

# Windows of several series that may start on the same day, in any order.
STEPS = st.lists(st.integers(0, 400), min_size=4, max_size=60).flatmap(
    lambda steps: st.permutations(steps + steps[: len(steps) // 2])
)


def folds_or_none(steps: np.ndarray, length: int, n_folds: int, embargo: int) -> list[Fold] | None:
    try:
        return purged_folds(steps, length, n_folds, embargo)
    except DataError:
        return None


@given(steps=STEPS, length=st.integers(1, 40), n_folds=st.integers(2, 6), embargo=st.integers(0, 30))
def test_purged_folds_hold_each_row_out_once_and_never_train_on_a_bar_of_the_block_or_its_embargo(
    steps: list[int], length: int, n_folds: int, embargo: int
) -> None:
    starts = np.array(steps)
    folds = folds_or_none(starts, length, n_folds, embargo)
    assume(folds is not None)
    assert folds is not None
    assert sorted(np.concatenate([fold.held_out for fold in folds]).tolist()) == list(range(len(starts)))
    for fold in folds:
        block = set(range(starts[fold.held_out].min(), starts[fold.held_out].max() + length))
        after = set(range(max(block) + 1, max(block) + 1 + embargo))
        train = [set(range(start, start + length)) for start in starts[fold.train]]
        assert all(not bars & block for bars in train)
        assert all(min(bars) not in after for bars in train)
        # Nothing is purged without need.
        rest = set(range(len(starts))) - set(fold.train.tolist()) - set(fold.held_out.tolist())
        for row in rest:
            bars = set(range(starts[row], starts[row] + length))
            assert bars & block or min(bars) in after


@given(steps=STEPS, n_folds=st.integers(2, 6))
def test_windows_that_start_together_are_held_out_together_and_blocks_follow_time(
    steps: list[int], n_folds: int
) -> None:
    starts = np.array(steps)
    folds = folds_or_none(starts, 1, n_folds, 0)
    assume(folds is not None)
    assert folds is not None
    spans = [(starts[fold.held_out].min(), starts[fold.held_out].max()) for fold in folds]
    assert all(end < first for (_, end), (first, _) in itertools.pairwise(spans))


@given(
    pauses=st.lists(st.lists(st.integers(1, 6), min_size=30, max_size=60), min_size=2, max_size=3),
    length=st.integers(2, 6),
)
def test_series_on_different_calendars_do_not_leak_when_purged_by_their_calendar_length(
    pauses: list[list[int]], length: int, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(*(np.cumsum(some) * DAY for some in pauses))
    windows = WindowIndex.build(store, WindowConfig(length=length))
    table = windows.table(store)
    folds = folds_or_none(table["step"].to_numpy(), windows.calendar_length(store), 3, 0)
    assume(folds is not None)
    assert folds is not None
    first, last = (table[name].dt.epoch("us").to_numpy() for name in ("first_time", "last_time"))
    for fold in folds:
        begins_before_the_end = first[fold.train][:, None] <= last[fold.held_out]
        ends_after_the_begin = last[fold.train][:, None] >= first[fold.held_out]
        assert not np.any(begins_before_the_end & ends_after_the_begin)


def test_the_calendar_length_is_the_length_where_series_share_their_times(
    market: SimpleNamespace, store_of: Callable[..., BarStore]
) -> None:
    assert market.windows.calendar_length(market.store) == 105
    cases = store_of(np.arange(9), np.arange(9), independent=True)
    assert WindowIndex.build(cases, WindowConfig()).calendar_length(cases) == 9


def test_blocks_hold_about_equal_counts() -> None:
    folds = purged_folds(np.repeat(np.arange(0, 1000, 10), 2), 5, 5, 0)
    assert [len(fold.held_out) for fold in folds] == [40] * 5


def test_the_embargo_stands_after_the_block_and_not_before_it() -> None:
    (_, middle, _) = purged_folds(np.arange(0, 90, 10), 10, 3, 15)
    assert middle.held_out.tolist() == [3, 4, 5]
    assert middle.train.tolist() == [0, 1, 2, 8]  # 60 and 70 begin within 15 bars of the end at 60


def test_more_folds_than_moments_are_refused() -> None:
    with pytest.raises(DataError, match="2 labelled moments cannot make 3 folds"):
        purged_folds(np.array([5, 5, 9]), 1, 3, 0)


def test_a_fold_that_has_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(DataError, match="fold 0 has nothing left to train on"):
        purged_folds(np.arange(10), 50, 2, 0)


@given(
    n_bars=st.lists(st.integers(20, 120), min_size=1, max_size=3),
    length=st.integers(2, 15),
    border=st.integers(1, 118),
    late=st.integers(0, 30),
)
def test_no_training_window_shares_a_moment_with_a_test_window(
    n_bars: list[int], length: int, border: int, late: int, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(*(np.arange(n) * DAY + i * late * DAY for i, n in enumerate(n_bars)))
    windows = WindowIndex.build(store, WindowConfig(length=length))
    table = windows.table(store)
    day = pl.Series([border * DAY]).cast(pl.Datetime("us"))[0].date().isoformat()
    try:
        spans = SealedDate(day).spans(store, windows, table)
    except DataError:
        assume(False)
    train, test = (table.filter(pl.Series(spans == span)) for span in ("train", "test"))
    assert train["last_time"].max() < test["first_time"].min()
    used = {span: set(gathered_times(store, windows, spans == span)) for span in ("train", "test")}
    assert not used["train"] & used["test"]
    crossing = table.filter(pl.Series(spans == "excluded"))
    assert (crossing["first_time"].dt.epoch("us") < border * DAY).all()
    assert (crossing["last_time"].dt.epoch("us") >= border * DAY).all()


def gathered_times(store: BarStore, windows: WindowIndex, chosen: np.ndarray) -> list[int]:
    return windows.gather(store.timestamps, np.flatnonzero(chosen), windows.length).ravel().tolist()


def test_the_default_split_has_the_golden_counts(market: SimpleNamespace) -> None:
    counts = market.table.group_by("span", "true_label").len()
    assert dict(
        counts.select(pl.concat_list("span", pl.col("true_label").fill_null("none")), "len")
        .map_rows(lambda row: ("/".join(row[0]), row[1]))
        .iter_rows()
    ) == {
        "train/consolidation": 1_241,
        "train/retracement": 993,
        "train/none": 4_600,
        "test/consolidation": 440,
        "test/retracement": 325,
        "test/none": 2_047,
        "excluded/consolidation": 1,
        "excluded/retracement": 57,
        "excluded/none": 150,
    }
    assert (market.table["span"] == "train").sum() == 6_834
    assert (market.table["span"] == "test").sum() == 2_812


@pytest.mark.parametrize(("date", "missing"), [("1990-01-01", "no training"), ("2030-01-01", "no test")])
def test_a_date_outside_the_bars_is_refused(date: str, missing: str, market: SimpleNamespace) -> None:
    with pytest.raises(DataError, match=f"leaves {missing} windows"):
        SealedDate(date).spans(market.store, market.windows, market.table)


def test_wrong_splits_are_refused_with_every_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        SealedDate("01.01.2013", n_folds=1, embargo_bars=-1)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["test_from", "n_folds", "embargo_bars"]
    with pytest.raises(ConfigError, match="n_folds: 1"):
        GivenCases(n_folds=1)


def cases(splits: tuple[str | None, ...], independent: bool = True) -> tuple[BarStore, WindowIndex, pl.DataFrame]:
    n = len(splits)
    names = tuple(f"c{i}" for i in range(n))
    store = BarStore(
        np.zeros((n * 4, 1), np.float32),
        np.tile(np.arange(4), n),
        np.arange(n + 1) * 4,
        names,
        splits,
        (None,) * n,
        ("x",),
        independent,
    )
    windows = WindowIndex.build(store, WindowConfig())
    return store, windows, windows.table(store)


def test_given_parts_are_the_spans() -> None:
    assert GivenCases().spans(*cases(("train", "test", "train"))).tolist() == ["train", "test", "train"]


@pytest.mark.parametrize(("splits", "independent"), [(("train", None), True), (("train", "test"), False)])
def test_data_without_given_parts_is_refused(splits: tuple[str | None, ...], independent: bool) -> None:
    with pytest.raises(DataError, match="split=given_cases needs data with its own train and test cases"):
        GivenCases().spans(*cases(splits, independent))


@given(labels=st.lists(st.integers(0, 2), min_size=6, max_size=60), n_folds=st.integers(2, 7))
def test_folds_of_cases_are_stratified_and_hold_each_case_out_once(labels: list[int], n_folds: int) -> None:
    numbers = np.array(labels)
    assume(np.bincount(numbers).min() >= 2)
    folds = GivenCases(n_folds).folds(np.arange(len(numbers)), 4, numbers)
    assert len(folds) == min(n_folds, np.bincount(numbers).min())
    assert sorted(np.concatenate([fold.held_out for fold in folds]).tolist()) == list(range(len(numbers)))
    for fold in folds:
        assert not set(fold.train.tolist()) & set(fold.held_out.tolist())
        assert len(fold.train) + len(fold.held_out) == len(numbers)
    for number in range(len(np.bincount(numbers))):
        per_fold = [int(np.sum(numbers[fold.held_out] == number)) for fold in folds]
        assert max(per_fold) - min(per_fold) <= 1 and min(per_fold) >= 1


def test_a_class_with_one_case_is_refused() -> None:
    with pytest.raises(DataError, match="fewer than 2 cases"):
        GivenCases().folds(np.arange(3), 4, np.array([0, 0, 1]))
