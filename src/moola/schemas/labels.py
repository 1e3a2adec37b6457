"""Labels given to the models, and the labels that look wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pandera.polars as pa


def labels(classes: Sequence[str]) -> pa.DataFrameSchema:
    """One row a labelled window: the label given to the models, the truth where it is known, whether it was flipped.

    ``fold`` is the fold that holds the window out; -1: never held out. ``expansion_start`` and ``expansion_end`` are
    there where a review marked bars anew; null: they stay as the windows table has them.
    """
    import pandera.polars as pa

    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String, unique=True),
            "label": pa.Column(pl.String, pa.Check.isin(list(classes))),
            "true_label": pa.Column(pl.String, pa.Check.isin(list(classes)), nullable=True),
            "planted": pa.Column(pl.Boolean),
            "fold": pa.Column(pl.Int64, pa.Check.ge(-1)),
            "expansion_start": pa.Column(pl.Int64, pa.Check.ge(0), nullable=True, required=False),
            "expansion_end": pa.Column(pl.Int64, pa.Check.ge(1), nullable=True, required=False),
        },
        strict=True,
    )


def label_issues(classes: Sequence[str]) -> pa.DataFrameSchema:
    """One row a labelled window, the most doubtful first."""
    import pandera.polars as pa

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


def review_queue(classes: Sequence[str]) -> pa.DataFrameSchema:
    """One row a labelled window, in the order of review; ``agreement`` is the share of judges for ``pred_label``."""
    import pandera.polars as pa

    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String, unique=True),
            "rank": pa.Column(pl.Int64, pa.Check.ge(1), unique=True),
            "priority": pa.Column(pl.Int64, pa.Check.in_range(0, 3)),
            "reason": pa.Column(pl.String),
            "given_label": pa.Column(pl.String, pa.Check.isin(list(classes))),
            "pred_label": pa.Column(pl.String, pa.Check.isin(list(classes))),
            "label_quality": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)),
            "is_label_issue": pa.Column(pl.Boolean),
            "agreement": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)),
            "near_duplicate_of": pa.Column(pl.String, nullable=True),
        },
        strict=True,
    )


def model_opinions(classes: Sequence[str]) -> pa.DataFrameSchema:
    """What each model that judged the labels says of each window, out of fold, the mean of its seeds."""
    import pandera.polars as pa

    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String),
            "model": pa.Column(pl.String),
            **{f"prob_{name}": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)) for name in classes},
        },
        unique=["window_id", "model"],
        strict=True,
    )
