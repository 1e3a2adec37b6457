"""Predictions of every model, out of fold and on the sealed test."""

from __future__ import annotations

from collections.abc import Sequence

import pandera.polars as pa
import polars as pl

_TEST_FOLD = -1


def predictions(classes: Sequence[str]) -> pa.DataFrameSchema:
    """One row a window, model, seed and fold; ``fold`` is -1 for the sealed test; ``prob_*`` in class order, sum 1."""
    return _predictions(classes, ("oof", "test"), _TEST_FOLD)


def oof(classes: Sequence[str]) -> pa.DataFrameSchema:
    """The rows of `predictions` that some fold made of windows it held out."""
    return _predictions(classes, ("oof",), 0)


def _predictions(classes: Sequence[str], splits: Sequence[str], lowest_fold: int) -> pa.DataFrameSchema:
    names = [f"prob_{name}" for name in classes]

    def sums_to_one(data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select((pl.sum_horizontal(names) - 1.0).abs() < 1e-4)

    def fold_fits_split(data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select((pl.col("split") == "test") == (pl.col("fold") == _TEST_FOLD))

    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String),
            "model": pa.Column(pl.String),
            "seed": pa.Column(pl.Int64),
            "split": pa.Column(pl.String, pa.Check.isin(list(splits))),
            "fold": pa.Column(pl.Int64, pa.Check.ge(lowest_fold)),
            **{name: pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)) for name in names},
        },
        checks=[
            pa.Check(sums_to_one, error="the class probabilities of a row sum to 1"),
            pa.Check(fold_fits_split, error=f"the fold is {_TEST_FOLD} for the sealed test and for nothing else"),
        ],
        unique=["window_id", "model", "seed", "split", "fold"],
        strict=True,
    )
