"""Annotations: what a person says of a window, and the rules of the pointers into its zone.

The rules are kept here once, as polars expressions: the schema, the label file and the window table all use them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pandera.polars as pa

QUALITIES = ("A", "B", "C", "D")
"""Grades of a window, the best first; D with no span is a rejected window."""

ANNOTATION_COLUMNS = (
    "window_id",
    "label",
    "split",
    "expansion_start",
    "expansion_end",
    "pointer_start",
    "pointer_end",
    "window_quality",
    "quality",
    "annotator",
    "annotator_id",
    "annotation_version",
    "expansions",
    "note",
    "notes",
    "timestamp",
)
"""Columns that speak about a window; none of them is ever an input of a model."""


@dataclass(frozen=True)
class PointerRule:
    """One thing that pointers keep to.

    Attributes:
        message: the rule broken, in the plural, as it follows a number.
        holds: true where a row keeps to it, or where the rule does not apply.
    """

    message: str
    holds: pl.Expr


def pointer_rules(
    zone: tuple[int, int], start: str = "expansion_start", end: str = "expansion_end"
) -> tuple[PointerRule, ...]:
    """Rules of two integer columns: both or neither, inside the zone, start before end.

    Args:
        zone: first and past-the-end bar that a pointer may name, counted within the window: (30, 75) allows 30 to 74.
        start: name of the column with the first bar of the span.
        end: name of the column with its last bar.
    """
    first, last = pl.col(start), pl.col(end)
    apart = first.is_null() != last.is_null()
    outside = pl.any_horizontal((column < zone[0]) | (column >= zone[1]) for column in (first, last))
    span = f"[{zone[0]}, {zone[1] - 1}]"
    return (
        PointerRule(f"windows with one of {start} and {end}", ~apart),
        PointerRule(f"windows whose {start} or {end} lies outside the zone {span}", ~outside.fill_null(False)),
        PointerRule(f"windows whose {start} is not before {end}", ~(first >= last).fill_null(False)),
    )


def whole_numbers(column: str) -> pl.Expr:
    """Int64 of a String column, ``35.0`` taken for 35; null where it is empty and where it is no whole number."""
    number = pl.col(column).cast(pl.Float64, strict=False)
    whole = number.is_finite() & (number == number.round()) & (number.abs() < 2**53)
    return pl.when(whole).then(number).cast(pl.Int64).alias(column)


def annotations(classes: Sequence[str], zone: tuple[int, int]) -> "pa.DataFrameSchema":
    """One row a span that somebody marked; a window may have several, and several people may mark it.

    ``expansion_start`` and ``expansion_end`` are bars within the window, both inside `zone` ([first, past-the-end]),
    start before end; both are null where only the label is given.
    """
    import pandera.polars as pa

    def check_of(rule: PointerRule) -> pa.Check:
        def test(data: pa.PolarsData) -> pl.LazyFrame:
            return data.lazyframe.select(rule.holds)

        return pa.Check(test, error=f"no {rule.message}")

    return pa.DataFrameSchema(
        {
            "window_id": pa.Column(pl.String),
            "label": pa.Column(pl.String, pa.Check.isin(list(classes))),
            "expansion_start": pa.Column(pl.Int64, nullable=True),
            "expansion_end": pa.Column(pl.Int64, nullable=True),
            "annotator": pa.Column(pl.String, nullable=True),
            "quality": pa.Column(pl.String, pa.Check.isin(list(QUALITIES)), nullable=True),
            "note": pa.Column(pl.String, nullable=True),
        },
        checks=[check_of(rule) for rule in pointer_rules(zone)],
        strict=True,
    )
