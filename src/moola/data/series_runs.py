"""Rows of several series in one frame: where each begins, and how to bring them together."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

_GROUP = "__group"


def runs_of(series: pl.Series) -> list[tuple[str, int, int]]:
    """Name, first row and past-the-end row of each run of equal neighbours."""
    if series.is_empty():
        return []
    if _is_constant(series):
        return [(series[0], 0, len(series))]
    starts = (series != series.shift(1)).fill_null(True).arg_true()
    return list(zip(series.gather(starts), starts, [*starts[1:], len(series)], strict=True))


def by_series(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of each series together, in the order in which series first appear; nothing is copied if they are."""
    names = [name for name, _, _ in runs_of(rows["series"])]
    if len(names) == 1 and not rows["series"].flags["SORTED_ASC"]:
        return rows.with_columns(rows["series"].set_sorted())  # so that nobody has to compare them again
    known = list(dict.fromkeys(names))
    if len(known) == len(names):
        return rows
    group = rows["series"].cast(pl.Enum(known)).to_physical().alias(_GROUP)
    return rows.with_columns(group).sort(_GROUP, maintain_order=True).drop(_GROUP)


def pieces(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The same rows cut where their memory is, so that columns become arrays without a copy."""
    start = 0
    for length in rows["timestamp"].chunk_lengths():
        yield rows[start : start + length]
        start += length


def _is_constant(series: pl.Series) -> bool:
    if series.flags["SORTED_ASC"]:
        return series[0] == series[-1]
    return not (series != series[0]).any()
