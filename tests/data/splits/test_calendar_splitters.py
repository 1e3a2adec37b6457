"""Splitters of a calendar, by example, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.data.bar_store import BarStore
from moola.data.splits.combinatorial import CombinatorialPurged
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.sealed import moment_text, moment_us
from moola.data.splits.sessions import SessionFolds, local_days
from moola.data.splits.walk_forward import WalkForward
from moola.data.window_index import WindowConfig, WindowIndex, WindowSpans
from moola.errors import ConfigError, DataError

DAY = 86_400_000_000
FROM = "2013-01-01"


def spans(starts: Any, length: int, us_per_step: int = DAY, stretch: Any = None) -> WindowSpans:
    """Windows of one series that has a bar at every step."""
    first = np.asarray(starts, dtype=np.int64)
    last = first + length - 1
    alone = np.zeros(len(first), np.int64)
    stretch = alone if stretch is None else np.asarray(stretch)
    return WindowSpans(alone, stretch, first, last, first * us_per_step, last * us_per_step)


def folds(splitter: Any, windows: WindowSpans, store: Any = None) -> list[tuple[list[int], list[int]]]:
    made = splitter.folds(store, windows, np.zeros(len(windows), np.int64))
    return [(fold.train.tolist(), fold.held_out.tolist()) for fold in made]


def test_blocks_hold_about_equal_counts() -> None:
    found = folds(PurgedKFold(FROM), spans(np.repeat(np.arange(0, 1000, 10), 2), 5))
    assert [len(held_out) for _, held_out in found] == [40] * 5


def test_a_moment_that_holds_most_windows_leaves_no_block_empty() -> None:
    found = folds(PurgedKFold(FROM, n_folds=3), spans([0, *[5] * 20, 9], 1))
    assert [len(held_out) for _, held_out in found] == [1, 20, 1]


@pytest.mark.parametrize(
    ("margins", "train"),
    [
        ({}, [0, 1, 2, 6, 7, 8]),  # windows are [0, 9], [10, 19], ...; [30, 59] is held out
        ({"embargo_bars": 15}, [0, 1, 2, 8]),  # 60 and 70 begin within 15 bars of the end at 59
        ({"embargo_time": "10d"}, [0, 1, 2, 7, 8]),
        ({"embargo_time": "11d"}, [0, 1, 2, 8]),  # 70 begins 11 days after 59: that is within
        ({"purge_bars": 1}, [0, 1, 7, 8]),
        ({"purge_time": "1d"}, [0, 1, 7, 8]),  # the last day before is one day away
        ({"purge_bars": 1, "purge_time": "12d"}, [0, 8]),  # the stricter counts
        ({"purge_bars": 1, "embargo_time": "20d"}, [0, 1, 8]),
    ],
)
def test_margins_stand_where_they_should(margins: dict[str, Any], train: list[int]) -> None:
    middle = folds(PurgedKFold(FROM, n_folds=3, **margins), spans(np.arange(0, 90, 10), 10))[1]
    assert middle == (train, [3, 4, 5])


def test_combinatorial_folds_purge_around_each_of_their_blocks() -> None:
    found = folds(CombinatorialPurged(FROM, n_blocks=4, n_held_out=2, embargo_bars=5), spans(np.arange(0, 80, 10), 10))
    assert found[1] == ([3, 7], [0, 1, 4, 5])  # blocks 0 and 2: 20 and 60 begin within 5 bars of an end
    assert len(found) == 6


def test_an_expanding_span_grows_and_a_sliding_one_moves() -> None:
    windows = spans(np.arange(0, 80, 10), 10)
    assert folds(WalkForward(FROM, n_folds=3), windows) == [
        ([0, 1], [2, 3]),
        ([0, 1, 2, 3], [4, 5]),
        ([0, 1, 2, 3, 4, 5], [6, 7]),
    ]
    sliding = folds(WalkForward(FROM, n_folds=3, train="sliding"), windows)
    assert [train for train, _ in sliding] == [[0, 1], [2, 3], [4, 5]]
    longer = folds(WalkForward(FROM, n_folds=3, train="sliding", train_bars=30), windows)
    assert [train for train, _ in longer] == [[0, 1], [1, 2, 3], [3, 4, 5]]
    late = folds(WalkForward(FROM, n_folds=2, min_train=0.5, purge_bars=3), windows)
    assert late == [([0, 1, 2], [4, 5]), ([0, 1, 2, 3, 4], [6, 7])]


def test_a_day_is_a_local_one() -> None:
    late = moment_us("2024-03-09T23:30")  # Sunday morning in Tokyo
    assert local_days(np.array([late]), "Asia/Tokyo")[0] == local_days(np.array([late]), "UTC")[0] + 1
    # On 10 March New York moves its clocks on: the local day has 23 hours, from 05:00 to 04:00 UTC.
    hours = moment_us("2024-03-10T00:00") + np.arange(5, 30) * DAY // 24
    assert np.bincount(local_days(hours, "America/New_York") - local_days(hours[:1], "America/New_York")).tolist() == [
        23,
        2,
    ]


def test_sessions_are_told_apart_by_their_stretch() -> None:
    windows = spans(np.arange(12), 1, stretch=np.repeat([4, 7, 9], 4))
    assert [held for _, held in folds(SessionFolds(FROM, n_folds=3), windows)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    with pytest.raises(DataError, match="3 labelled stretches cannot make 4 blocks"):
        folds(SessionFolds(FROM, n_folds=4), windows)


def test_a_stretch_that_never_ends_leads_to_days() -> None:
    windows = spans(np.arange(12), 1, stretch=np.zeros(12, np.int64))
    with pytest.raises(DataError, match="1 labelled stretches cannot make 3 blocks") as caught:
        folds(SessionFolds(FROM, n_folds=3), windows)
    assert "split.by=day" in caught.value.way_out and "blocks or fewer" not in caught.value.way_out
    assert len(folds(SessionFolds(FROM, n_folds=3, by="day"), windows)) == 3


def test_days_are_not_offered_where_there_are_too_few_of_them() -> None:
    windows = spans(np.arange(2), 1, stretch=np.arange(2))
    with pytest.raises(DataError, match="2 labelled stretches cannot make 3 blocks") as caught:
        folds(SessionFolds(FROM, n_folds=3), windows)
    assert caught.value.way_out.startswith("choose a split with 2 blocks or fewer (split.n_folds, split.n_blocks)")
    assert "split.by" not in caught.value.way_out
    with pytest.raises(DataError, match="2 labelled days cannot make 3 blocks") as caught:
        folds(SessionFolds(FROM, n_folds=3, by="day"), windows)
    assert "split.by" not in caught.value.way_out


def test_more_folds_than_moments_are_refused() -> None:
    with pytest.raises(DataError, match="2 labelled moments cannot make 3 blocks") as caught:
        folds(PurgedKFold(FROM, n_folds=3), spans([5, 5, 9], 1))
    assert "2 blocks or fewer" in caught.value.way_out
    with pytest.raises(DataError, match="1 labelled moments cannot make 3 blocks") as caught:
        folds(PurgedKFold(FROM, n_folds=3), spans([5, 5], 1))
    assert caught.value.way_out == "label windows at more times"


def test_a_fold_that_has_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(DataError, match="fold 0 has nothing left to train on"):
        folds(PurgedKFold(FROM, n_folds=2), spans(np.arange(10), 50))


@pytest.mark.parametrize(("date", "missing"), [("1950-01-01", "no training"), ("2030-01-01", "no test")])
def test_a_date_outside_the_bars_is_refused(date: str, missing: str) -> None:
    with pytest.raises(DataError, match=f"leaves {missing} windows") as caught:
        PurgedKFold(date).spans(SimpleNamespace(independent=False), spans(np.arange(100), 5))  # type: ignore[arg-type]
    assert "windows run from 1970-01-01T00:00:00+00:00 to 1970-04-14T00:00:00+00:00" in caught.value.why


def _works(windows: WindowSpans, date: str, **margins: Any) -> bool:
    try:
        PurgedKFold(date, **margins).spans(SimpleNamespace(independent=False), windows)  # type: ignore[arg-type]
    except DataError:
        return False
    return True


@pytest.mark.parametrize("margins", [{}, {"purge_time": "9d"}, {"embargo_bars": 3, "purge_bars": 2}])
@pytest.mark.parametrize("us_per_step", [DAY, DAY // 1000])
def test_a_date_that_leaves_nothing_is_answered_with_the_first_and_the_last_that_do(
    margins: dict[str, Any], us_per_step: int
) -> None:
    windows = spans(np.arange(100), 5, us_per_step)
    margins = {name: value if us_per_step == DAY or name != "purge_time" else "9m" for name, value in margins.items()}
    with pytest.raises(DataError) as caught:
        PurgedKFold("2030-01-01", **margins).spans(SimpleNamespace(independent=False), windows)  # type: ignore[arg-type]
    _, first, last = re.fullmatch(r"choose a (date|moment) from (\S+) to (\S+) for .*", caught.value.way_out).groups()  # type: ignore[union-attr]
    assert [_works(windows, date, **margins) for date in (first, last)] == [True, True]
    step = DAY if us_per_step == DAY else 1
    for date in (moment_us(first) - step, moment_us(last) + step):
        assert not _works(windows, moment_text(date), **margins)


def test_bars_that_no_date_splits_are_said_to_be_too_few() -> None:
    with pytest.raises(DataError) as caught:
        PurgedKFold("2013-01-01").spans(SimpleNamespace(independent=False), spans([0, 1], 40))  # type: ignore[arg-type]
    assert caught.value.way_out == "no date would do: give more bars, or shorter windows (data.window.length)"


def test_a_purge_that_eats_the_training_span_is_refused() -> None:
    with pytest.raises(DataError, match="leaves no training windows"):
        PurgedKFold("1970-02-01", purge_time="9w").spans(SimpleNamespace(independent=False), spans(np.arange(99), 5))  # type: ignore[arg-type]


def test_cases_without_dates_are_refused(store_of: Callable[..., BarStore]) -> None:
    store = store_of(np.arange(9), np.arange(9), independent=True)
    windows = WindowIndex.build(store, WindowConfig())
    for splitter in (PurgedKFold(FROM), WalkForward(FROM), CombinatorialPurged(FROM), SessionFolds(FROM)):
        with pytest.raises(DataError, match="needs bars on a calendar") as caught:
            splitter.spans(store, windows.spans(store))
        assert "split=given_cases" in caught.value.way_out


def test_a_moment_may_have_an_hour_and_an_offset() -> None:
    assert moment_us("1970-01-01T01:30") == moment_us("1970-01-01T02:30+01:00") == DAY // 16
    assert moment_us("1969-12-31") == -DAY


def test_the_default_split_has_the_golden_counts(market: SimpleNamespace) -> None:
    part = PurgedKFold(FROM, embargo_bars=105).spans(market.store, market.windows.spans(market.store))
    counted = market.table.with_columns(part=pl.Series(part), label=pl.col("true_label").fill_null("none"))
    counts = counted.group_by("part", "label").len().select(pl.concat_str("part", "label", separator="/"), "len")
    assert dict(counts.iter_rows()) == {
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


@pytest.mark.parametrize(
    ("build", "fields"),
    [
        (
            lambda: PurgedKFold("01.01.2013", n_folds=1, embargo_bars=-1, purge_bars=-1, purge_time="2 days"),
            ["test_from", "purge_bars", "embargo_bars", "purge_time", "n_folds"],
        ),
        (lambda: WalkForward(FROM, n_folds=0, min_train=1.5, train_bars=9), ["n_folds", "min_train", "train_bars"]),
        (lambda: WalkForward(FROM, train="sliding", train_bars=0), ["train_bars"]),
        (lambda: WalkForward(FROM, embargo_bars=5, embargo_time="1d"), ["embargo_bars", "embargo_time"]),
        (lambda: CombinatorialPurged(FROM, n_blocks=1, n_held_out=1), ["n_blocks", "n_held_out"]),
        (lambda: CombinatorialPurged(FROM, n_blocks=20, n_held_out=10), ["n_blocks"]),
        (lambda: SessionFolds(FROM, n_folds=1, timezone="Europe/Berlni", by="day"), ["n_folds", "timezone"]),
        (lambda: SessionFolds(FROM, timezone="Europe/Berlin"), ["timezone"]),
        (lambda: SessionFolds(FROM, timezone="Factory", by="day"), ["timezone"]),  # a name that polars does not know
        (lambda: PurgedKFold(FROM, purge_bars=2**63 - 1, embargo_bars=10**20), ["purge_bars", "embargo_bars"]),
    ],
)
def test_wrong_keys_are_refused_all_at_once(build: Callable[[], Any], fields: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build()
    assert [problem.split(":")[0] for problem in caught.value.problems] == fields
