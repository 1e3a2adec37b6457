"""Splits: which span of time a window belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pandera.polars as pa

SPANS = ("train", "test", "excluded")


def splits() -> pa.DataFrameSchema:
    """One row a window: which span of time it belongs to."""
    import pandera.polars as pa

    return pa.DataFrameSchema(
        {"window_id": pa.Column(pl.String, unique=True), "span": pa.Column(pl.String, pa.Check.isin(SPANS))},
        strict=True,
    )
