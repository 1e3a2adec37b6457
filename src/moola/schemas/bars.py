"""Bars: one row a bar. The rules of their values stand here once, for the schema and for the audit of a stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pandera.polars as pa

TIMESTAMP = pl.Datetime("us", "UTC")
OHLC = ("open", "high", "low", "close")


@dataclass(frozen=True)
class BarRule:
    """What must be true of one row, whatever the other rows are.

    No rule may speak of a price in absolute terms: multiplying every price by a constant must change no answer
    (`moola.testing.check_bar_rules`).

    Attributes:
        name: short name of the fault, such as ``high_below_body``.
        message: the fault in words, as said of a row that has it, or of `column` where that is given.
        holds: true where the row is fine; may be null where a cell is.
        column: the one column it speaks of.
    """

    name: str
    message: str
    holds: pl.Expr
    column: str | None = None

    @property
    def fault(self) -> str:
        """The fault with its column."""
        return f"{self.column}: {self.message}" if self.column else self.message


def bar_rules(channels: Sequence[str]) -> tuple[BarRule, ...]:
    """Every channel is finite; candles (all four prices there) are in order and above 0; volume is not negative.

    A rule about order is silent on a value that is NaN, which another rule names.
    """
    rules = [
        BarRule(f"not_finite_{name}", "is not a finite number", pl.col(name).abs() < math.inf, name)
        for name in channels
    ]
    if set(OHLC) <= set(channels):
        rules += _candle_rules()
    if "volume" in channels:
        rules.append(BarRule("negative_volume", "is below 0", pl.col("volume") >= 0, "volume"))
    return tuple(rules)


def bars(channels: Sequence[str]) -> pa.DataFrameSchema:
    """One row a bar: series, timestamp (UTC, microseconds), one Float64 or Float32 column a channel; `bar_rules`.

    Every float column must be of the same type.
    """
    import pandera.polars as pa

    rules = bar_rules(channels)
    columns = {
        "series": pa.Column(pl.String),
        "timestamp": pa.Column(TIMESTAMP),
        **{name: _channel(name, rules) for name in channels},
    }
    return pa.DataFrameSchema(
        columns, checks=[_row_check(rule) for rule in rules if rule.column is None], strict=True, ordered=True
    )


def _candle_rules() -> list[BarRule]:
    opened, high, low, close = (pl.col(name) for name in OHLC)
    # To polars NaN is the largest number, so only what stands on the smaller side of a comparison has to be asked.
    above = ((high >= opened) | opened.is_nan()) & ((high >= close) | close.is_nan())
    below = ((low <= opened) & (low <= close)) | low.is_nan()
    positive = (opened > 0) & (high > 0) & (low > 0) & (close > 0)
    return [
        BarRule("high_below_body", "high is below open or close", above),
        BarRule("low_above_body", "low is above open or close", below),
        BarRule("price_not_positive", "a price is 0 or less", positive),
    ]


def _channel(name: str, rules: Sequence[BarRule]) -> pa.Column:
    import pandera.polars as pa

    def is_float(data: pa.PolarsData) -> bool:
        return _are_floats(data.lazyframe, [name])

    own = [_row_check(rule) for rule in rules if rule.column == name]
    return pa.Column(None, [pa.Check(is_float, error="is Float64 or Float32"), *own], nullable=False)


def _row_check(rule: BarRule) -> pa.Check:
    import pandera.polars as pa

    columns = rule.holds.meta.root_names()

    def test(data: pa.PolarsData) -> pl.LazyFrame | bool:
        # Values of another type are told of by the check of the type, and pandera cannot report both.
        return data.lazyframe.select(rule.holds) if _are_floats(data.lazyframe, columns) else True

    return pa.Check(test, error=rule.message)


def _are_floats(frame: pl.LazyFrame, columns: Sequence[str]) -> bool:
    schema = frame.collect_schema()
    return all(schema.get(name) in (pl.Float64, pl.Float32) for name in columns)
