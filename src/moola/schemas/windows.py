"""Windows: one row a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from moola.schemas.bars import TIMESTAMP

if TYPE_CHECKING:
    import pandera.polars as pa


def windows() -> pa.DataFrameSchema:
    """One row a window: its name, its series, its first bar, and what it spans.

    ``start`` is the number of the first bar in the store, ``step`` its place on the calendar of all distinct times (the
    number of the bar where cases are independent). ``last_time`` is that of the last bar of the window's horizon.
    ``expansion_start`` and ``expansion_end`` are there where somebody marked spans: first and last bar of each, within
    the window.
    """
    import pandera.polars as pa

    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String, unique=True),
            "series": pa.Column(pl.String),
            "start": pa.Column(pl.Int64, pa.Check.ge(0)),
            "step": pa.Column(pl.Int64, pa.Check.ge(0)),
            "first_time": pa.Column(TIMESTAMP),
            "last_time": pa.Column(TIMESTAMP),
            "true_label": pa.Column(pl.String, nullable=True),
            "expansion_start": pa.Column(pl.Int64, pa.Check.ge(0), nullable=True, required=False),
            "expansion_end": pa.Column(pl.Int64, pa.Check.ge(1), nullable=True, required=False),
        },
        strict=True,
    )
