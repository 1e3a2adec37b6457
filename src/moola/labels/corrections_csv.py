"""Corrections as a table: window_id, corrected_label, corrected_start, corrected_end, skip."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from moola.data.sources.problems import Problems, refuse
from moola.labels.csv_rows import DecisionRow, optional_number, read_rows
from moola.labels.events import LabelEvent
from moola.labels.exchange import content_id

NEEDED = ("window_id", "corrected_label")
_YES = ("1", "1.0", "true", "yes", "x")
_NO = ("0", "0.0", "false", "no")


def read_corrections(path: Path, annotator: str) -> list[LabelEvent]:
    """Events from a table of corrections; rows with neither a label nor ``skip`` decide nothing and are left out.

    Args:
        path: CSV with ``window_id`` and ``corrected_label``, and perhaps ``corrected_start``, ``corrected_end`` (first
            and last marked bar within the window), ``skip`` (true: leave the window out of training), ``given_label``,
            ``annotator``, ``note``.
        annotator: who decided, where a row does not say.

    Raises:
        DataError: every row that cannot be read, in one go.
    """
    problems = Problems()
    events = [_event(row, annotator, problems) for row in read_rows(path, NEEDED, problems)]
    refuse(f"the corrections in {path} cannot be read", problems)
    return list(_counted(event for event in events if event is not None))


def _counted(events: Iterable[LabelEvent]) -> Iterator[LabelEvent]:
    """A row that comes again decides again, for another may stand between: its id says how often it came before."""
    before: Counter[str] = Counter()
    for event in events:
        n = before[event.event_id]
        before[event.event_id] += 1
        yield dataclasses.replace(event, event_id=content_id([event.event_id, n])) if n else event


def _event(row: DecisionRow, annotator: str, problems: Problems) -> LabelEvent | None:
    cells = row.cells
    label, given = cells.get("corrected_label"), cells.get("given_label")
    common: dict[str, Any] = {
        "annotator": cells.get("annotator") or annotator,
        "note": cells.get("note") or "",
        "given": given,
    }
    if _is_skipped(cells, row.place, problems):
        return row.event(problems, decision="skip", **common)
    if label is None:
        return None
    return row.event(
        problems,
        decision="accept" if label == given else "relabel",
        label=label,
        start=optional_number(cells, "corrected_start", row.place, problems),
        end=optional_number(cells, "corrected_end", row.place, problems),
        **common,
    )


def _is_skipped(cells: Mapping[str, str | None], place: str, problems: Problems) -> bool:
    text = (cells.get("skip") or "no").lower()
    if text not in (*_YES, *_NO):
        problems.count("cells of skip that are neither true nor false", f"{place}: '{text}'", "write true or false")
    return text in _YES
