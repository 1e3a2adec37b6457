"""Hints name the column that is meant, in a form that can be pasted; they never change what is read."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import polars as pl
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from moola.data.sources.file_hints import DATES, SymbolWatch, likely, likely_format, near, setting
from moola.errors import DataError
from moola.schemas import TIMESTAMP


@pytest.mark.parametrize("written", ["<CLOSE>", "Close", "CLOSE", " close ", "[close]"])
def test_brackets_and_case_do_not_hide_a_name(written: str) -> None:
    assert near("close", ["open", written, "closed"]) == f"did you mean '{written}'?"


def test_the_likeliest_word_comes_first_whatever_the_order_of_the_columns() -> None:
    assert likely(["Day", "<DATE>"], DATES) == "<DATE>"
    assert likely(["open", "close"], DATES) is None


@pytest.mark.parametrize("name", ["Time", "<DATE>", "Gmt time", "adj-close", "1d", "close (USD)", "a,b"])
def test_a_setting_is_read_back_as_the_name_it_was_made_of(name: str) -> None:
    override = OverridesParser.create().parse_override(setting("data.time", name).strip("'"))
    value = override.value()
    assert (value if isinstance(value, str) else value.text) == name  # type: ignore[union-attr]


@given(
    moment=st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2100, 1, 1)),
    form=st.sampled_from(["%Y.%m.%d %H:%M", "%Y.%m.%d %H:%M:%S", "%Y%m%d %H%M%S", "%Y/%m/%d", "%Y.%m.%d"]),
)
def test_the_format_of_a_time_is_found_from_the_time(moment: datetime.datetime, form: str) -> None:
    assert likely_format(moment.strftime(form)) == form


@pytest.mark.parametrize("text", ["01.02.2024", "2024.01-02", "noon", "2024.01.02 9:30", ""])
def test_no_format_is_guessed_where_the_year_does_not_come_first(text: str) -> None:
    assert likely_format(text) is None


def looked_at(rows: Sequence[tuple[str | None, int | None]], cuts: list[int]) -> str | None:
    """What is told of rows (symbol, time) that come in pieces; None for nothing."""
    watch = SymbolWatch("x.csv", "symbol")
    try:
        for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            names, times = [name for name, _ in rows[start:stop]], [time for _, time in rows[start:stop]]
            watch.look(pl.Series(names, dtype=pl.String), pl.Series(times, dtype=pl.Int64).cast(TIMESTAMP))
    except DataError as error:
        return f"{error.what} -> {error.way_out}"
    return None


@given(cut=st.integers(0, 40))
def test_one_symbol_after_another_is_told_wherever_the_file_is_cut(cut: int) -> None:
    rows = [(name, time) for name in ("es", "nq") for time in range(20)]
    told = looked_at(rows, [cut])
    assert told is not None and "('es', 'nq')" in told and told.endswith("-> data.symbol=symbol")


@given(cuts=st.lists(st.integers(0, 40), max_size=4).map(sorted))
def test_time_that_goes_forward_is_no_fault_whatever_the_symbols(cuts: list[int]) -> None:
    rows = [("es" if time < 0 else None if time % 7 == 0 else "nq", time) for time in range(-20, 20)]
    assert looked_at(rows, cuts) is None


@given(cuts=st.lists(st.integers(0, 40), max_size=4).map(sorted))
def test_time_that_goes_back_in_one_symbol_is_left_to_the_audit(cuts: list[int]) -> None:
    assert looked_at([("es", time % 20 if time % 5 else None) for time in range(40)], cuts) is None
