"""Each table is accepted when it is right, and told what is wrong when it is not."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest

from moola import schemas
from moola.errors import DataError
from moola.schemas import OHLC, TIMESTAMP, check

CLASSES = ("flat", "turn")
NOON = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC)


def frame(rows: list[dict[str, Any]], **types: Any) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema_overrides={"timestamp": TIMESTAMP, "first_time": TIMESTAMP, "last_time": TIMESTAMP}
    )


def bar(**changes: Any) -> dict[str, Any]:
    good = {"series": "a", "timestamp": NOON, "open": 2.0, "high": 3.0, "low": 1.0, "close": 2.5}
    return {**good, **changes}


def window(**changes: Any) -> dict[str, Any]:
    good = {"window_id": "a_0", "series": "a", "start": 0, "step": 0, "first_time": NOON, "last_time": NOON}
    return {**good, "true_label": "flat", **changes}


def label(**changes: Any) -> dict[str, Any]:
    return {"window_id": "a_0", "label": "flat", "true_label": "turn", "planted": True, "fold": 0, **changes}


def split(**changes: Any) -> dict[str, Any]:
    return {"window_id": "a_0", "span": "train", **changes}


def prediction(**changes: Any) -> dict[str, Any]:
    good = {"window_id": "a_0", "model": "m", "seed": 0, "split": "oof", "fold": 0}
    return {**good, "prob_flat": 0.25, "prob_turn": 0.75, **changes}


def issue(**changes: Any) -> dict[str, Any]:
    good = {"window_id": "a_0", "given_label": "flat", "pred_label": "turn", "prob_flat": 0.25, "prob_turn": 0.75}
    return {**good, "label_quality": 0.25, "is_label_issue": True, **changes}


def queued(**changes: Any) -> dict[str, Any]:
    good = {
        "window_id": "a_0",
        "rank": 1 + (changes.get("window_id", "a_0") != "a_0"),
        "priority": 3,
        "reason": "issue",
    }
    said = {"given_label": "flat", "pred_label": "turn", "label_quality": 0.25, "is_label_issue": True}
    return {**good, **said, "agreement": 1.0, "near_duplicate_of": "c_0", **changes}


def opinion(**changes: Any) -> dict[str, Any]:
    return {"window_id": "a_0", "model": "m", "prob_flat": 0.25, "prob_turn": 0.75, **changes}


TABLES: dict[str, tuple[pa.DataFrameSchema, Callable[..., dict[str, Any]]]] = {
    "bars": (schemas.bars(OHLC), bar),
    "windows": (schemas.windows(), window),
    "labels": (schemas.labels(CLASSES), label),
    "splits": (schemas.splits(), split),
    "predictions": (schemas.predictions(CLASSES), prediction),
    "label_issues": (schemas.label_issues(CLASSES), issue),
    "review_queue": (schemas.review_queue(CLASSES), queued),
    "model_opinions": (schemas.model_opinions(CLASSES), opinion),
}


def offences(table: str, *rows: dict[str, Any]) -> list[str]:
    schema, _ = TABLES[table]
    with pytest.raises(DataError, match="the table cannot be used") as caught:
        check(frame(list(rows)), schema, "the table", "mend it")
    assert caught.value.way_out == "mend it"
    return caught.value.why.splitlines()


@pytest.mark.parametrize("table", TABLES)
def test_a_good_table_is_given_back_as_it_is(table: str) -> None:
    schema, row = TABLES[table]
    key = "window_id" if table != "bars" else "series"
    good = frame([row(), row(**{key: "b_0"})])
    assert check(good, schema, "the table", "").equals(good)


@pytest.mark.parametrize("table", TABLES)
def test_a_column_too_few_and_one_too_many_are_both_named(table: str) -> None:
    _, row = TABLES[table]
    values = row()
    lost = list(values)[-1]
    del values[lost]
    told = offences(table, {**values, "extra": 1})
    assert f"- column '{lost}': is missing" in told
    assert "- column 'extra': is not expected here" in told


@pytest.mark.parametrize("table", TABLES)
def test_a_column_of_another_type_is_named(table: str) -> None:
    _, row = TABLES[table]
    values = row()
    first = next(iter(values))
    assert offences(table, {**values, first: 1.5})[0].startswith(f"- column '{first}': dtype('String'), found Float64")


@pytest.mark.parametrize(
    ("table", "changes", "told"),
    [
        ("bars", {"open": math.nan}, "- column 'open': is not a finite number (1 rows; the first: 1)"),
        ("bars", {"high": math.inf}, "- column 'high': is not a finite number (1 rows; the first: 1)"),
        ("bars", {"close": None}, "- column 'close': is not empty (1 rows; the first: 1)"),
        ("bars", {"series": None}, "- column 'series': is not empty (1 rows; the first: 1)"),
        ("bars", {"timestamp": None}, "- column 'timestamp': is not empty (1 rows; the first: 1)"),
        ("bars", {"high": 2.4}, "- high is below open or close (1 rows; the first: 1)"),
        ("bars", {"low": 2.1}, "- low is above open or close (1 rows; the first: 1)"),
        ("bars", {"low": 0.0}, "- a price is 0 or less (1 rows; the first: 1)"),
        ("windows", {"window_id": "a_0"}, "- column 'window_id': values are unique"),
        ("windows", {"start": -1}, "- column 'start': greater_than_or_equal_to(0) (1 rows; the first: 1)"),
        ("windows", {"step": -1}, "- column 'step': greater_than_or_equal_to(0) (1 rows; the first: 1)"),
        ("labels", {"window_id": "a_0"}, "- column 'window_id': values are unique"),
        ("labels", {"label": "up"}, "- column 'label': isin(['flat', 'turn']) (1 rows; the first: 1)"),
        ("labels", {"true_label": "up"}, "- column 'true_label': isin(['flat', 'turn']) (1 rows; the first: 1)"),
        ("labels", {"fold": -2}, "- column 'fold': greater_than_or_equal_to(-1) (1 rows; the first: 1)"),
        ("labels", {"planted": None}, "- column 'planted': is not empty (1 rows; the first: 1)"),
        ("splits", {"window_id": "a_0"}, "- column 'window_id': values are unique"),
        ("splits", {"span": "valid"}, "- column 'span': isin(('train', 'test', 'excluded')) (1 rows; the first: 1)"),
        ("predictions", {"prob_flat": 0.5}, "- the class probabilities of a row sum to 1 (1 rows; the first: 1)"),
        ("predictions", {"prob_flat": -0.5, "prob_turn": 1.5}, "- column 'prob_flat': in_range(0.0, 1.0)"),
        ("predictions", {"window_id": "a_0"}, "- rows are unique"),
        ("predictions", {"split": "train"}, "- column 'split': isin(['oof', 'test']) (1 rows; the first: 1)"),
        ("predictions", {"fold": -2}, "- column 'fold': greater_than_or_equal_to(-1) (1 rows; the first: 1)"),
        ("label_issues", {"label_quality": 1.5}, "- column 'label_quality': in_range(0.0, 1.0)"),
        ("label_issues", {"given_label": "up"}, "- column 'given_label': isin(['flat', 'turn'])"),
        ("label_issues", {"pred_label": "up"}, "- column 'pred_label': isin(['flat', 'turn'])"),
        ("label_issues", {"window_id": "a_0"}, "- column 'window_id': values are unique"),
        ("review_queue", {"rank": 1}, "- column 'rank': values are unique"),
        ("review_queue", {"priority": 4}, "- column 'priority': in_range(0, 3)"),
        ("review_queue", {"agreement": 1.5}, "- column 'agreement': in_range(0.0, 1.0)"),
        ("model_opinions", {"window_id": "a_0"}, "- rows are unique"),
    ],
)
def test_each_broken_rule_is_told_with_its_first_rows(table: str, changes: dict[str, Any], told: str) -> None:
    _, row = TABLES[table]
    other = {"window_id": "b_0"} if table != "bars" else {}
    assert any(line.startswith(told) for line in offences(table, row(), row(**{**other, **changes})))


def test_all_broken_rules_are_told_at_once() -> None:
    told = offences("bars", bar(open=math.nan), bar(low=-1.0), bar(high=2.0), bar(close=None))
    assert {line.split(" (")[0] for line in told} >= {
        "- column 'open': is not a finite number",
        "- column 'close': is not empty",
        "- a price is 0 or less",
        "- high is below open or close",
    }


def test_many_broken_rows_are_counted_and_the_first_five_named() -> None:
    rows = [split(window_id=str(i), span="no") for i in range(9)]
    (line,) = offences("splits", *rows)
    assert line.endswith("(9 rows; the first: 0, 1, 2, 3, 4)")


def test_channels_that_are_no_candles_may_have_any_finite_value() -> None:
    rows = [{"series": "a", "timestamp": NOON, "high": -5.0, "low": 7.0}]
    check(frame(rows), schemas.bars(("high", "low")), "the table", "")


def test_bars_must_have_their_columns_in_order() -> None:
    good = frame([bar()])
    with pytest.raises(DataError, match="cannot be used"):
        check(good.select(sorted(good.columns)), schemas.bars(OHLC), "the table", "")


def test_naive_times_are_refused() -> None:
    naive = frame([bar()]).with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    with pytest.raises(DataError, match="column 'timestamp'"):
        check(naive, schemas.bars(OHLC), "the table", "")


def test_a_window_without_a_label_is_allowed_and_a_label_without_one_is_not() -> None:
    blank = frame([window(true_label=None)]).with_columns(pl.col("true_label").cast(pl.String))
    check(blank, schemas.windows(), "the table", "")
    unknown = frame([label(true_label=None)]).with_columns(pl.col("true_label").cast(pl.String))
    check(unknown, schemas.labels(CLASSES), "the table", "")


def test_the_same_window_may_be_predicted_by_another_model_seed_and_split() -> None:
    rows = [prediction(), prediction(model="n"), prediction(seed=1), prediction(split="test", fold=-1)]
    check(frame(rows), schemas.predictions(CLASSES), "the table", "")
