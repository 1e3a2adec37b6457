"""Predictions of every model, out of fold and on the sealed test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pandera.polars as pa

_TEST_FOLD = -1


def predictions(classes: Sequence[str]) -> pa.DataFrameSchema:
    """One row a window, model, seed and fold; ``fold`` is -1 for the sealed test; ``prob_*`` in class order, sum 1."""
    return _predictions(classes, ("oof", "test"), _TEST_FOLD)


def oof(classes: Sequence[str]) -> pa.DataFrameSchema:
    """The rows of `predictions` that some fold made of windows it held out."""
    return _predictions(classes, ("oof",), 0)


def nested(classes: Sequence[str]) -> pa.DataFrameSchema:
    """What models that know nothing of the fold ``outer`` say of the windows of another fold, ``fold``."""
    import pandera.polars as pa

    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String),
            "model": pa.Column(pl.String),
            "seed": pa.Column(pl.Int64),
            "outer": pa.Column(pl.Int64, pa.Check.ge(0)),
            "fold": pa.Column(pl.Int64, pa.Check.ge(0)),
            **_probabilities(classes),
        },
        checks=[
            _sums_to_one(classes),
            pa.Check(_differ, error="an outer fold is never the fold it is asked about"),
        ],
        unique=["window_id", "model", "seed", "outer", "fold"],
        strict=True,
    )


def _predictions(classes: Sequence[str], splits: Sequence[str], lowest_fold: int) -> pa.DataFrameSchema:
    import pandera.polars as pa

    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String),
            "model": pa.Column(pl.String),
            "seed": pa.Column(pl.Int64),
            "split": pa.Column(pl.String, pa.Check.isin(list(splits))),
            "fold": pa.Column(pl.Int64, pa.Check.ge(lowest_fold)),
            **_probabilities(classes),
        },
        checks=[
            _sums_to_one(classes),
            pa.Check(_fold_fits_split, error=f"the fold is {_TEST_FOLD} for the sealed test and for nothing else"),
        ],
        unique=["window_id", "model", "seed", "split", "fold"],
        strict=True,
    )


def _probabilities(classes: Sequence[str]) -> dict[str, pa.Column]:
    import pandera.polars as pa

    return {f"prob_{name}": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)) for name in classes}


def _sums_to_one(classes: Sequence[str]) -> pa.Check:
    import pandera.polars as pa

    names = [f"prob_{name}" for name in classes]

    def sums_to_one(data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select((pl.sum_horizontal(names) - 1.0).abs() < 1e-4)

    return pa.Check(sums_to_one, error="the class probabilities of a row sum to 1")


def _fold_fits_split(data: pa.PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select((pl.col("split") == "test") == (pl.col("fold") == _TEST_FOLD))


def _differ(data: pa.PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select(pl.col("outer") != pl.col("fold"))
