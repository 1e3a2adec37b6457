"""Rows that say something about windows, as people write them: read as text, judged all in one go."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from moola.data.sources.problems import Problems
from moola.errors import did_you_mean
from moola.schemas.annotations import QUALITIES, pointer_rules, whole_numbers

POINTERS = (("expansion_start", "expansion_end"), ("pointer_start", "pointer_end"))
"""Bars within the window, and the same counted from the first bar of the zone."""
JUDGED = ("window_id", "label", *(name for pair in POINTERS for name in pair), "quality", "window_quality")
"""Columns that `RowRules.judge` knows; every other one is somebody's note."""


@dataclass(frozen=True)
class RowRules:
    """What rows about windows have to keep to.

    Attributes:
        zone: first and past-the-end bar that a pointer may name.
        classes: labels there may be; None: any.
        labelled: whether every row needs a label.
    """

    zone: tuple[int, int]
    classes: tuple[str, ...] | None = None
    labelled: bool = True

    def judge(self, rows: pl.DataFrame, problems: Problems) -> None:
        """Tell everything that is wrong with the rows.

        Args:
            rows: String columns: ``place`` (``"line 7"``), ``window_id``, and those of `JUDGED` that there are; null
                where a cell is empty.
            problems: where to tell it.
        """
        needed = ("window_id", "label") if self.labelled else ("window_id",)
        empty = rows.filter(pl.any_horizontal(pl.col(name).is_null() for name in needed))
        for place in empty["place"]:
            problems.count(f"rows without a {' or '.join(needed)}", place, "fill them or remove these rows")
        twice = rows.drop_nulls("window_id").group_by("window_id", maintain_order=True).agg("place")
        for name, places in twice.filter(pl.col("place").list.len() > 1).iter_rows():
            problems.count("windows given more than once", f"{name} ({', '.join(places[:5])})", "keep one row a window")
        if "label" in rows.columns:
            self._judge_labels(rows.drop_nulls("label"), problems)
        self._judge_pointers(rows, problems)
        for name in ("quality", "window_quality"):
            bad = rows.filter(~pl.col(name).is_in(QUALITIES)) if name in rows.columns else rows.clear()
            for place, value in bad.select("place", name).iter_rows() if bad.height else ():
                problems.count(f"grades in {name} that are none of {', '.join(QUALITIES)}", f"{place}: '{value}'")

    def _judge_labels(self, rows: pl.DataFrame, problems: Problems) -> None:
        counts = rows.group_by("label", maintain_order=True).agg(pl.len(), pl.col("place").first())
        for label, n, place in counts.iter_rows():
            if self.classes is not None and label not in self.classes:
                kind = f"unknown labels (classes: {', '.join(self.classes)})"
                near = did_you_mean(label, self.classes)
                told = f"'{label}' in {place}{f' and {n - 1} more' if n > 1 else ''}"
                near = f"; {near}" if near.startswith("did") else ""
                problems.count(kind, told + near, "mend the labels, or name these classes too")
            elif n == 1:
                way_out = "label at least two windows of a class, or leave it out"
                problems.count("classes with one window only", f"'{label}' in {place}", way_out)

    def _judge_pointers(self, rows: pl.DataFrame, problems: Problems) -> None:
        given = [name for pair in POINTERS for name in pair if name in rows.columns]
        numbers = rows.with_columns(whole_numbers(name) for name in given)
        unread = rows.select((pl.col(name).is_not_null() & numbers[name].is_null()).alias(name) for name in given)
        for name in given:
            for place, value in rows.filter(unread[name]).select("place", name).iter_rows():
                problems.count(f"{name} that are no whole numbers", f"{place}: '{value}'", "give bars as whole numbers")
        zones = (self.zone, (0, self.zone[1] - self.zone[0]))
        for pair, zone in zip(POINTERS, zones, strict=True):
            present = [name for name in pair if name in given]
            if present:
                readable = numbers.filter(~unread.select(pl.any_horizontal(present)).to_series())
                absent = [pl.lit(None, pl.Int64).alias(name) for name in pair if name not in given]
                self._judge_pair(readable.with_columns(absent), pair, zone, problems)
        self._judge_agreement(numbers, given, problems)

    def _judge_pair(self, rows: pl.DataFrame, pair: tuple[str, str], zone: tuple[int, int], problems: Problems) -> None:
        for rule in pointer_rules(zone, *pair):
            for place, name, start, end in rows.filter(~rule.holds).select("place", "window_id", *pair).iter_rows():
                way_out = f"mark spans inside the zone, {pair[0]} before {pair[1]}"
                problems.count(rule.message, f"{place} ({name}): {_written(start)} to {_written(end)}", way_out)

    def _judge_agreement(self, numbers: pl.DataFrame, given: list[str], problems: Problems) -> None:
        for absolute, relative in zip(*POINTERS, strict=True):
            if absolute in given and relative in given:
                apart = pl.col(absolute) != pl.col(relative) + self.zone[0]
                for place, one, other in numbers.filter(apart).select("place", absolute, relative).iter_rows():
                    kind = f"windows whose {absolute} is not {relative} + {self.zone[0]}"
                    problems.count(kind, f"{place}: {one} and {other}", "keep one of the two columns")


def _written(bar: int | None) -> str:
    return "nothing" if bar is None else str(bar)
