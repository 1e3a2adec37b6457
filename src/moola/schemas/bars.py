"""Bars: one row a bar."""

from __future__ import annotations

from collections.abc import Sequence

import pandera.polars as pa
import polars as pl

TIMESTAMP = pl.Datetime("us", "UTC")
OHLC = ("open", "high", "low", "close")


def bars(channels: Sequence[str]) -> pa.DataFrameSchema:
    """One row a bar: series, timestamp (UTC, microseconds), one float column a channel; OHLC order where it applies."""
    columns = {
        "series": pa.Column(pl.String),
        "timestamp": pa.Column(TIMESTAMP),
        **{name: pa.Column(pl.Float64, _finite(), nullable=False) for name in channels},
    }
    candles = set(OHLC) <= set(channels)
    return pa.DataFrameSchema(columns, checks=_candle_checks() if candles else [], strict=True, ordered=True)


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
