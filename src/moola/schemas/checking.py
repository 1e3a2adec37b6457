"""Checking a table against its schema, with every offence in one error."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moola.errors import DataError

if TYPE_CHECKING:
    import pandera.polars as pa
    import polars as pl
    from pandera.errors import SchemaErrors

_SHOWN = 5


def check(frame: pl.DataFrame, schema: pa.DataFrameSchema, what: str, way_out: str) -> pl.DataFrame:
    """The frame itself when it fits the schema.

    Raises:
        DataError: every broken rule with the number of rows that break it and the first of them.
    """
    from pandera.errors import SchemaErrors

    try:
        return schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        raise DataError(f"{what} cannot be used", "\n".join(_spoken(errors)), way_out) from errors


_WORDS = {
    "not_nullable": "is not empty",
    "column_in_schema": "is not expected here",
    "column_in_dataframe": "is missing",
    "multiple_fields_uniqueness": "rows are unique",
    "field_uniqueness": "values are unique",
}


def _spoken(errors: SchemaErrors) -> list[str]:
    """One line for each broken rule, with how many rows break it and the first of them."""
    lines: list[str] = []
    cases = cast("pl.DataFrame", errors.failure_cases)
    for (column, rule), rows in cases.group_by(["column", "check"], maintain_order=True):
        first = str(rows["failure_case"][0])
        if "Error(" in first:  # a check that could not run because of a problem that another line names
            continue
        at = rows["index"].drop_nulls().to_list()
        name = column or (first if not at and str(rule).startswith("column_in") else None)
        subject = f"column '{name}': " if name else ""
        shown = f" ({len(at)} rows; the first: {', '.join(map(str, at[:_SHOWN]))})" if at else ""
        found = f", found {first}" if str(rule).startswith("dtype") else ""
        lines.append(f"- {subject}{_WORDS.get(str(rule), str(rule))}{found}{shown}")
    return lines
