"""A split that leaks is refused, whoever made it."""

from __future__ import annotations

import numpy as np
import pytest

from moola.data.splits import Fold, purged_folds
from moola.errors import DataError
from moola.pipelines.stages.splits import check_folds, check_gaps

EVERY = np.arange(40)


def test_purged_folds_pass() -> None:
    check_folds(purged_folds(EVERY * 3, 10, 4, 5), len(EVERY))


@pytest.mark.parametrize(
    ("folds", "says"),
    [
        ([Fold(EVERY, EVERY)], "fold 0 trains on 40 of the windows it holds out"),
        ([Fold(EVERY[20:], EVERY[:20])], "20 windows are never held out"),
        ([Fold(EVERY[:0], EVERY), Fold(EVERY[20:], EVERY[:20])], "20 more than once"),
    ],
)
def test_folds_that_are_no_partition_are_refused(folds: list[Fold], says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_folds(folds, len(EVERY))


@pytest.mark.parametrize(
    "proof", [{"train_test_gap_bars": -3, "fold_gap_bars": [0]}, {"train_test_gap_bars": 0, "fold_gap_bars": [4, -3]}]
)
def test_windows_that_overlap_what_trains_are_refused(proof: dict) -> None:
    with pytest.raises(DataError, match="3 bars are shared"):
        check_gaps(proof)


def test_gaps_of_independent_cases_are_unknown_and_pass() -> None:
    check_gaps({"train_test_gap_bars": None, "fold_gap_bars": [None, None]})
