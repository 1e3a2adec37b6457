"""What models said of each window, however many folds held it out."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.errors import DataError, StorageError
from moola.pipelines.predictions import Predictions
from moola.pipelines.stages.oof import nested_frame
from moola.schemas import check
from moola.schemas.predictions import oof, predictions

CLASSES = ("down", "up")
LABELS = pl.DataFrame({"window_id": ["d", "a", "b", "c"], "label": ["up", "down", "up", "up"]})


def row(window: str, up: float, fold: int, seed: int = 0, **changes: Any) -> dict[str, Any]:
    good = {"window_id": window, "model": "m", "seed": seed, "split": "test" if fold < 0 else "oof", "fold": fold}
    return {**good, "prob_down": 1 - up, "prob_up": up, **changes}


def table(*rows: dict[str, Any]) -> Predictions:
    table = pl.DataFrame(rows)
    kinds = {"m": {"role": "model", "deterministic": False, "encoder": False}}
    return Predictions(table, kinds, CLASSES, nested_frame(table.clear(), 0))


MANY = table(
    row("a", 0.25, 0), row("a", 0.75, 1), row("b", 0.5, 0), row("b", 1.0, 2),
    row("a", 0.0, 0, seed=1), row("a", 0.5, 1, seed=1), row("b", 0.25, 0, seed=1), row("b", 0.25, 2, seed=1),
    row("t", 0.125, -1), row("t", 0.625, -1, seed=1),
)  # fmt: skip


def test_a_window_that_several_folds_held_out_has_their_mean_for_each_seed() -> None:
    found = MANY.of_model("m", "oof", pl.Series(["b", "a"]))
    assert found[..., 1].tolist() == [[0.75, 0.5], [0.25, 0.25]]
    assert np.allclose(found.sum(axis=-1), 1)
    assert MANY.of_seed(["m", "m"], "oof", 1, pl.Series(["b", "a"]))[..., 1].tolist() == [[0.25, 0.25]] * 2
    assert MANY.of_model("m", "test", pl.Series(["t"]))[..., 1].tolist() == [[0.125], [0.625]]


def test_only_windows_that_were_held_out_are_judged_in_the_order_of_the_labels() -> None:
    assert MANY.judged(LABELS)["window_id"].to_list() == ["a", "b"]


def test_a_window_without_a_prediction_is_an_error_and_never_nan() -> None:
    with pytest.raises(StorageError, match="2 of 4 windows have no prediction of m") as caught:
        MANY.of_model("m", "oof", LABELS["window_id"])
    assert caught.value.why == "the first of them: d, c"


def test_a_window_may_be_held_out_by_several_folds_and_by_none_twice() -> None:
    check(MANY.table, predictions(CLASSES), "the table", "")
    with pytest.raises(DataError, match="rows are unique"):
        check(table(row("a", 0.5, 0), row("a", 0.25, 0)).table, predictions(CLASSES), "the table", "")


@pytest.mark.parametrize("wrong", [{"split": "oof", "fold": -1}, {"split": "test", "fold": 0}])
def test_the_fold_says_whether_a_window_was_sealed(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="the fold is -1 for the sealed test and for nothing else"):
        check(table(row("a", 0.5, 0), row("b", 0.5, 0) | wrong).table, predictions(CLASSES), "the table", "")


def test_rows_of_the_sealed_test_are_not_out_of_fold() -> None:
    check(MANY.table.filter(pl.col("split") == "oof"), oof(CLASSES), "the table", "")
    with pytest.raises(DataError, match=r"column 'split': isin\(\['oof'\]\)"):
        check(MANY.table, oof(CLASSES), "the table", "")
