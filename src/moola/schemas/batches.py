"""Windows that are handed out to be annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from moola.schemas.bars import TIMESTAMP

if TYPE_CHECKING:
    import pandera.polars as pa


def annotation_batch() -> pa.DataFrameSchema:
    """One row a window, in the order in which to look at them.

    ``row`` is its number in the windows table of the run that drew it; ``raw_start_idx`` and ``raw_end_idx`` are its
    first and last bar, counted in its series, and ``window_digest`` that of its bars
    (`moola.labels.events.window_digest`). ``uncertainty`` (0 sure to 1) is null where no model was asked; ``distance``
    is that from the nearest window which was labelled or chosen before it, 1 minus the cosine.
    """
    import pandera.polars as pa

    return pa.DataFrameSchema(
        {
            "order": pa.Column(pl.Int64, pa.Check.ge(1), unique=True),
            "window_id": pa.Column(pl.String, unique=True),
            "row": pa.Column(pl.Int64, pa.Check.ge(0), unique=True),
            "series": pa.Column(pl.String),
            "raw_start_idx": pa.Column(pl.Int64, pa.Check.ge(0)),
            "raw_end_idx": pa.Column(pl.Int64, pa.Check.ge(0)),
            "first_time": pa.Column(TIMESTAMP),
            "last_time": pa.Column(TIMESTAMP),
            "session": pa.Column(pl.String, pa.Check.isin(["early", "middle", "late"])),
            "volatility": pa.Column(pl.String, pa.Check.isin(["calm", "usual", "wild"])),
            "uncertainty": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0), nullable=True),
            "distance": pa.Column(pl.Float64, pa.Check.in_range(0.0, 2.0)),
            "window_digest": pa.Column(pl.String),
        },
        strict=True,
    )
