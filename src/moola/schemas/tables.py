"""The tables: bars, windows, labels, splits, predictions (out of fold and test) and label issues.

Each function returns a strict schema; `check` collects every offence before it raises. pandera looks at a LazyFrame's
names but not at its values, so only collected frames are accepted.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from moola.errors import DataError

TIMESTAMP = pl.Datetime("us", "UTC")
OHLC = ("open", "high", "low", "close")
SPANS = ("train", "test", "excluded")
_SHOWN = 5


def bars(channels: Sequence[str]) -> pa.DataFrameSchema:
    """One row a bar: series, timestamp (UTC, microseconds), one float column a channel; OHLC order where it applies."""
    columns = {
        "series": pa.Column(pl.String),
        "timestamp": pa.Column(TIMESTAMP),
        **{name: pa.Column(pl.Float64, _finite(), nullable=False) for name in channels},
    }
    candles = set(OHLC) <= set(channels)
    return pa.DataFrameSchema(columns, checks=_candle_checks() if candles else [], strict=True, ordered=True)


def windows() -> pa.DataFrameSchema:
    """One row a window: its name, series, first bar (global index), and the times of its first and last bar."""
    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String, unique=True),
            "series": pa.Column(pl.String),
            "start": pa.Column(pl.Int64, pa.Check.ge(0)),
            "step": pa.Column(pl.Int64, pa.Check.ge(0)),
            "first_time": pa.Column(TIMESTAMP),
            "last_time": pa.Column(TIMESTAMP),
            "true_label": pa.Column(pl.String, nullable=True),
        },
        strict=True,
    )


def labels(classes: Sequence[str]) -> pa.DataFrameSchema:
    """One row a labelled window: the label given to the models, the truth where it is known, whether it was flipped."""
    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String, unique=True),
            "label": pa.Column(pl.String, pa.Check.isin(list(classes))),
            "true_label": pa.Column(pl.String, pa.Check.isin(list(classes)), nullable=True),
            "planted": pa.Column(pl.Boolean),
            "fold": pa.Column(pl.Int64, pa.Check.ge(0)),
        },
        strict=True,
    )


def splits() -> pa.DataFrameSchema:
    """One row a window: which span of time it belongs to."""
    return pa.DataFrameSchema(
        {"window_id": pa.Column(pl.String, unique=True), "span": pa.Column(pl.String, pa.Check.isin(SPANS))},
        strict=True,
    )


def predictions(classes: Sequence[str]) -> pa.DataFrameSchema:
    """One row a window, model and seed; ``fold`` is -1 for the sealed test; ``prob_*`` in class order, summing to 1."""
    names = [f"prob_{name}" for name in classes]

    def sums_to_one(data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select((pl.sum_horizontal(names) - 1.0).abs() < 1e-4)

    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String),
            "model": pa.Column(pl.String),
            "seed": pa.Column(pl.Int64),
            "split": pa.Column(pl.String, pa.Check.isin(["oof", "test"])),
            "fold": pa.Column(pl.Int64, pa.Check.ge(-1)),
            **{name: pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)) for name in names},
        },
        checks=[pa.Check(sums_to_one, error="the class probabilities of a row sum to 1")],
        unique=["window_id", "model", "seed", "split"],
        strict=True,
    )


def label_issues(classes: Sequence[str]) -> pa.DataFrameSchema:
    """One row a labelled window, the most doubtful first."""
    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String, unique=True),
            "given_label": pa.Column(pl.String, pa.Check.isin(list(classes))),
            "pred_label": pa.Column(pl.String, pa.Check.isin(list(classes))),
            **{f"prob_{name}": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)) for name in classes},
            "label_quality": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)),
            "is_label_issue": pa.Column(pl.Boolean),
        },
        strict=True,
    )


def check(frame: pl.DataFrame, schema: pa.DataFrameSchema, what: str, way_out: str) -> pl.DataFrame:
    """The frame itself when it fits the schema.

    Raises:
        DataError: every broken rule with the number of rows that break it and the first of them.
    """
    try:
        return schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        raise DataError(f"{what} cannot be used", "\n".join(_spoken(errors)), way_out) from errors


_WORDS = {
    "not_nullable": "is not empty",
    "column_in_schema": "is not expected here",
    "column_in_dataframe": "is missing",
    "multiple_fields_uniqueness": "rows are unique",
    "field_uniqueness": "values are unique",
}


def _spoken(errors: SchemaErrors) -> list[str]:
    """One line for each broken rule, with how many rows break it and the first of them."""
    lines: list[str] = []
    cases = typing.cast("pl.DataFrame", errors.failure_cases)
    for (column, rule), rows in cases.group_by(["column", "check"], maintain_order=True):
        first = str(rows["failure_case"][0])
        if "Error(" in first:  # a check that could not run because of a problem that another line names
            continue
        at = rows["index"].drop_nulls().to_list()
        name = column or (first if not at and str(rule).startswith("column_in") else None)
        subject = f"column '{name}': " if name else ""
        shown = f" ({len(at)} rows; the first: {', '.join(map(str, at[:_SHOWN]))})" if at else ""
        found = f", found {first}" if str(rule).startswith("dtype") else ""
        lines.append(f"- {subject}{_WORDS.get(str(rule), str(rule))}{found}{shown}")
    return lines


def _finite() -> pa.Check:
    def finite(data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col(data.key or "*").is_finite())

    return pa.Check(finite, error="is a finite number")


def _candle_checks() -> list[pa.Check]:
    def rule(expression: pl.Expr, message: str) -> pa.Check:
        def test(data: pa.PolarsData) -> pl.LazyFrame:
            return data.lazyframe.select(expression)

        return pa.Check(test, error=message)

    high, low = pl.col("high"), pl.col("low")
    return [
        rule(high >= pl.max_horizontal("open", "close"), "high is at least open and close"),
        rule(low <= pl.min_horizontal("open", "close"), "low is at most open and close"),
        rule(pl.min_horizontal(*OHLC) > 0, "prices are above 0"),
    ]
