"""Judging rows one by one: cells that could not be read, cells that are empty, values that cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from moola.data.findings import REASONS, Places, Tally, describe_rows
from moola.schemas.bars import BarRule, bar_rules

_ROW = "__row"
_CELL = "__cell"


class RowRules:
    """Sorts rows into sound ones and broken ones, and counts what is wrong with these.

    Args:
        channels: value columns, in order.
        places: where rows stood.
        tally: takes the counts.
    """

    def __init__(self, channels: Sequence[str], places: Places, tally: Tally) -> None:
        self._channels, self._places, self._tally = tuple(channels), places, tally
        self._rules = {
            pl.Float32: bar_rules(channels),
            pl.Float64: (*bar_rules(channels), *(_fits_float32(name) for name in channels)),
        }

    def judge(self, frame: pl.DataFrame, unread: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Sound rows, and broken ones (None where there are none) with the column `REASONS`.

        Args:
            frame: ``series``, ``timestamp``, channels of one float type, `ORIGIN`.
            unread: see `moola.data.sources.UNREAD`.
        """
        rules = self._rules[type(frame.schema[self._channels[0]])]
        holds = frame.select(rule.holds.all().alias(rule.name) for rule in rules).row(0)
        if all(holds) and not any(column.null_count() for column in frame) and unread.is_empty():
            return frame, None
        broken = (rule for rule, is_kept in zip(rules, holds, strict=True) if not is_kept)
        faults = pl.concat(
            [*self._unread(frame, unread), *self._empty(frame, unread), *(self._rule(frame, rule) for rule in broken)]
        )
        reasons = faults.group_by(_ROW, maintain_order=True).agg(pl.col(REASONS).str.join("; ")).sort(_ROW)
        rows = frame[reasons[_ROW]].with_columns(reasons[REASONS])
        is_sound = pl.repeat(True, len(frame), eager=True).scatter(reasons[_ROW], False)
        return frame.filter(is_sound), rows

    def _unread(self, frame: pl.DataFrame, unread: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """One table a column and kind of cell that could not be read."""
        for (column, reason), cells in unread.group_by("column", "reason", maintain_order=True):
            rows = cells["row"]
            shown = frame[rows].with_columns(cells["value"].fill_null("").alias(_CELL))  # a file may call it timestamp
            said = f"{column}: {reason}"
            self._count("unread", said, shown, {_CELL: str(column)})
            text = pl.format("{} ('{}')", pl.lit(said), pl.col("value").fill_null(""))
            yield cells.select(pl.col("row").cast(pl.UInt32).alias(_ROW), text.alias(REASONS))

    def _empty(self, frame: pl.DataFrame, unread: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """One table a column with empty cells, in rows of which no unread cell is known."""
        known = unread["row"].unique().implode()
        for name in ("series", "timestamp", *self._channels):
            if frame[name].null_count():
                rows = frame.select(pl.col(name).is_null().arg_true().alias(_ROW)).filter(~pl.col(_ROW).is_in(known))
                yield self._note(frame, rows[_ROW], "empty", f"{name}: is empty", {})

    def _rule(self, frame: pl.DataFrame, rule: BarRule) -> pl.DataFrame:
        rows = frame.select((~rule.holds).arg_true().alias(_ROW))[_ROW]
        shown = {name: name for name in self._channels if name in rule.holds.meta.root_names()}
        return self._note(frame, rows, rule.name, rule.fault, shown)

    def _note(
        self, frame: pl.DataFrame, rows: pl.Series, reason: str, message: str, shown: Mapping[str, str]
    ) -> pl.DataFrame:
        """Count rows with a fault, and say it of each."""
        self._count(reason, message, frame[rows], shown)
        return pl.DataFrame({_ROW: rows.cast(pl.UInt32)}).with_columns(pl.lit(message).alias(REASONS))

    def _count(self, reason: str, message: str, rows: pl.DataFrame, shown: Mapping[str, str]) -> None:
        self._tally.add(reason, message, "error", len(rows), describe_rows(self._places, rows, shown))


def _fits_float32(name: str) -> BarRule:
    """The store holds float32: a number must not become infinite or 0 in it."""
    wide, narrow = pl.col(name), pl.col(name).cast(pl.Float32)
    fits = ((narrow.abs() < math.inf) | (wide.abs() == math.inf) | wide.is_nan()) & ((narrow != 0) | (wide == 0))
    return BarRule(f"not_float32_{name}", "is too large or too close to 0 for a 32-bit float", fits, name)
