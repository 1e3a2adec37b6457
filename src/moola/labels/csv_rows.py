"""Rows of CSV files that say what was decided about windows, as events."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.data.sources.problems import Problems
from moola.data.sources.text_files import read_lines
from moola.errors import DataError
from moola.labels.csv_header import is_header
from moola.labels.events import LabelEvent
from moola.labels.exchange import content_id


@dataclass(frozen=True)
class DecisionRow:
    """One row of a file.

    Attributes:
        place: ``"line 7"``.
        cells: column -> text, None where it is empty.
        source: ``import:FILE``.
    """

    place: str
    cells: Mapping[str, str | None]
    source: str

    def event(self, problems: Problems, *also: Any, **fields: Any) -> LabelEvent | None:
        """The event that the row stands for; None where it makes none, which is told.

        Its id is made of what the row says, so that a file that grew and is imported again adds its new rows alone.

        Args:
            problems: where it is told that the row makes no event.
            also: what the row says and no field holds.
            fields: of the event.
        """
        told = {"window_id": self.cells["window_id"] or "", **fields}
        # What is empty says nothing: a field that a later moola fills in from a new column changes no id.
        said = {name: value for name, value in told.items() if value not in (None, "")}
        try:
            return LabelEvent(**told, event_id=content_id([said, *also]), source=self.source)
        except DataError as error:
            problems.count(
                "rows that decide nothing", f"{self.place}: {'; '.join(error.why.splitlines())}", "mend them"
            )
            return None


def read_rows(path: Path, needed: Sequence[str], problems: Problems) -> Iterator[DecisionRow]:
    """Rows under a header; empty lines are left out.

    Args:
        path: UTF-8 CSV with commas.
        needed: columns without which it cannot be read; ``window_id`` must be filled in each row.
        problems: where everything goes that hinders reading.
    """
    lines = read_lines(path, problems)
    if problems:
        return
    reader = csv.reader((f"{line}\n" for line in lines), strict=True)
    try:
        first = next((cells for cells in reader if any(cell.strip() for cell in cells)), [])
        header = [cell.strip() for cell in first]
        line = reader.line_num + 1
        for cells in reader if is_header(header, needed, header, problems) else ():
            if len(cells) == len(header):
                texts = {name: cell.strip() or None for name, cell in zip(header, cells, strict=True)}
                yield DecisionRow(f"line {line}", texts, f"import:{path.name}")
            elif any(cell.strip() for cell in cells):
                told = f"line {line} has {len(cells)}, the header {len(header)}"
                problems.count("lines with another number of cells than the header", told, "mend these lines")
            line = reader.line_num + 1  # a quoted cell may hold line breaks: the next row begins after them
    except csv.Error as error:
        problems.say(f"line {reader.line_num} is no CSV ({error})", "mend the quotes of this line")


def optional_number(cells: Mapping[str, str | None], name: str, place: str, problems: Problems) -> int | None:
    """A whole number, ``35.0`` taken for 35; None where the cell is empty or holds none, which is told."""
    text = cells.get(name)
    if text is None:
        return None
    try:
        number = float(text)
        if number != int(number):
            raise ValueError(text)
    except (ValueError, OverflowError):
        problems.count(f"{name} that are no whole numbers", f"{place}: '{text}'", "give whole numbers")
        return None
    return int(number)
