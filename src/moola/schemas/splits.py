"""Splits: which span of time a window belongs to."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

SPANS = ("train", "test", "excluded")


def splits() -> pa.DataFrameSchema:
    """One row a window: which span of time it belongs to."""
    return pa.DataFrameSchema(
        {"window_id": pa.Column(pl.String, unique=True), "span": pa.Column(pl.String, pa.Check.isin(SPANS))},
        strict=True,
    )
