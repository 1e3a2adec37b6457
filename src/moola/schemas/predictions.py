"""Predictions of every model, out of fold and on the sealed test."""

from __future__ import annotations

from collections.abc import Sequence

import pandera.polars as pa
import polars as pl


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
