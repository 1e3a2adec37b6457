"""Annotations: pointers are whole bars of the zone, start before end, both or neither."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import DataError
from moola.schemas import check
from moola.schemas.annotations import annotations, pointer_rules, whole_numbers

CLASSES, ZONE = ("consolidation", "retracement"), (30, 75)
TYPES = {"expansion_start": pl.Int64, "expansion_end": pl.Int64, "annotator": pl.String}
TYPES |= {"quality": pl.String, "note": pl.String}


def table(**changes: Any) -> pl.DataFrame:
    row = {"window_id": "102_exp_1", "label": "retracement", "expansion_start": 30, "expansion_end": 74}
    row |= {"annotator": "ann", "quality": "A", "note": "a clear one"}
    return pl.DataFrame([{**row, **changes}], schema_overrides=TYPES)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"expansion_start": None, "expansion_end": None},
        {"annotator": None, "quality": None, "note": None},
        {"expansion_start": 73},
    ],
)
def test_a_good_annotation_is_given_back_as_it_is(changes: dict[str, Any]) -> None:
    good = table(**changes)
    assert check(good, annotations(CLASSES, ZONE), "the table", "").equals(good)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"expansion_start": 29}, "lies outside the zone [30, 74]"),
        ({"expansion_end": 75}, "lies outside the zone [30, 74]"),
        ({"expansion_start": 74}, "whose expansion_start is not before expansion_end"),
        ({"expansion_start": 50, "expansion_end": 40}, "whose expansion_start is not before expansion_end"),
        ({"expansion_start": None}, "one of expansion_start and expansion_end"),
        ({"label": "reversal"}, "column 'label'"),
        ({"label": None}, "column 'label'"),
        ({"quality": "E"}, "column 'quality'"),
        ({"window_id": None}, "column 'window_id'"),
        ({"more": 1}, "column 'more': is not expected here"),
    ],
)
def test_each_broken_rule_is_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError) as caught:
        check(table(**changes), annotations(CLASSES, ZONE), "the table", "")
    assert told in caught.value.why


def test_pointers_with_a_fraction_are_refused() -> None:
    fractions = table().with_columns(pl.col("expansion_start").cast(pl.Float64))
    with pytest.raises(DataError, match="column 'expansion_start': dtype"):
        check(fractions, annotations(CLASSES, ZONE), "the table", "")


BAR = st.one_of(st.none(), st.integers(-2, 12))


@given(start=BAR, end=BAR, first=st.integers(0, 4), n_bars=st.integers(1, 6))
def test_the_rules_allow_exactly_the_spans_inside_the_zone(
    start: int | None, end: int | None, first: int, n_bars: int
) -> None:
    zone = (first, first + n_bars)
    row = pl.DataFrame({"expansion_start": [start], "expansion_end": [end]}, schema=dict(list(TYPES.items())[:2]))
    kept = all(row.select(rule.holds).item() for rule in pointer_rules(zone))
    inside = range(*zone)
    allowed = start is end is None or (start in inside and end in inside and (start or 0) < (end or 0))
    assert kept == allowed


def test_whole_numbers_are_read_from_text_and_nothing_else_is() -> None:
    texts = ["35", "35.0", "-1", "3e1", "35.5", "x", "", "inf", "nan", "1e300", None]
    found = pl.DataFrame({"at": texts}).select(whole_numbers("at"))["at"]
    assert found.to_list() == [35, 35, -1, 30, *[None] * 7]
