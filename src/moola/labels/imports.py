"""Which file of decisions is which, and what the windows of a run add to them."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.errors import DataError
from moola.labels.blacklist import read_blacklist
from moola.labels.corrections_csv import NEEDED, read_corrections
from moola.labels.csv_header import separator_of
from moola.labels.events import LabelEvent, LabelLog, window_digest
from moola.labels.exchange import content_id
from moola.labels.folding import in_effect

EXCHANGES: Mapping[str, str] = {
    "cleanlab": "moola.labels.exchange.cleanlab_csv",
    "label_studio": "moola.labels.exchange.label_studio",
    "candlesticks": "moola.labels.exchange.batch_json",
}
"""Formats of other tools, and the modules whose ``read`` makes events of a file."""
FORMATS = ("corrections", "blacklist", "events", *EXCHANGES)


def read_decisions(
    path: Path, kind: str, annotator: str, store: BarStore | None = None, zone: tuple[int, int] | None = None
) -> list[LabelEvent]:
    """The events of a file of a known format.

    Args:
        path: the file.
        kind: one of `FORMATS`; ``events`` is another log, which is merged event by event.
        annotator: who decided, where the file does not say.
        store: the bars that a blacklist counts in.
        zone: of the windows, for a batch that does not tell its own; None: not known.

    Raises:
        DataError: the file cannot be read as such; every problem in one go.
        StorageError: a log is not what was written.
    """
    if kind == "corrections":
        return read_corrections(path, annotator)
    if kind == "blacklist":
        return read_blacklist(path, annotator, store)
    if kind == "events":
        if not path.is_file():
            raise DataError(f"there is no log of decisions {path}", "", "give an existing file")
        return list(LabelLog(path).read().events)
    fields = {"zone": zone} if kind == "candlesticks" and zone is not None else {}
    return importlib.import_module(EXCHANGES[kind]).read(path, **fields)


def recognise(path: Path) -> str:
    """The format of a file, by its columns or its first object: one of `FORMATS`.

    Raises:
        DataError: it is none of them.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", str(error), "give an existing file in UTF-8") from error
    kind = _of_columns(text) or _of_json(text)
    if kind is None:
        way_out = f"say what it is: --as {' or '.join(FORMATS)}"
        raise DataError(f"{path} is no file of decisions that moola knows", _what_it_is(text), way_out)
    return kind


def _header(text: str) -> list[str]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return [name.strip() for name in next(csv.reader([first]), [])]


def _of_columns(text: str) -> str | None:
    names = set(_header(text))
    known = (
        kind for kind, (needed, some) in _COLUMNS.items() if names >= set(needed) and (not some or names & set(some))
    )
    return next(known, None)


def _what_it_is(text: str) -> str:
    """What was found in a file that is no decisions, and what would be some."""
    header = _header(text)
    if not text.strip():
        return "it is empty"
    if text.lstrip()[0] in "[{":
        return "its keys are those of no JSON that moola knows"
    separator = separator_of(header)
    if separator is not None:
        return f"its cells are separated by {separator!r}: separate them by commas"
    known = [
        f"- {kind}: {', '.join(needed)}" + (f" and one of {', '.join(some)}" if some else "")
        for kind, (needed, some) in _COLUMNS.items()
    ]
    return "\n".join([f"its columns are {', '.join(header)}; it would be, with the columns", *known])


_COLUMNS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "corrections": (NEEDED, ()),
    "cleanlab": (("window_id", "is_label_issue"), ()),
    "blacklist": (("window_id",), ("raw_start_idx", "blacklisted_date", "first_time")),
}
"""Formats of CSV files: columns that they need, and others of which they need one."""


def _of_json(text: str) -> str | None:
    from moola.labels.exchange.batch_json import LISTS

    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    try:
        line = json.loads(text.splitlines()[0]) if text else None
    except ValueError:
        line = None
    if isinstance(line, dict) and {"event_id", "decision"} <= line.keys():
        return "events"
    if isinstance(whole, dict):  # a batch may stand under a key
        whole = next((whole[key] for key in LISTS if key in whole), [whole])
    first = whole[0] if isinstance(whole, list) and whole and isinstance(whole[0], dict) else {}
    if "data" in first:
        return "label_studio"
    return "candlesticks" if {"window_id", "expansions"} <= first.keys() else None


def located(
    events: Sequence[LabelEvent], store: BarStore, windows: WindowIndex, table: pl.DataFrame, given: Mapping[str, str]
) -> list[LabelEvent]:
    """The events with what a run knows of their windows: series, digest and time of the bars, and the given label.

    What an event says itself stays. Who relabels a window to the label it has accepts it. Events of windows that the
    run does not have stay as they are.

    Args:
        events: of a file.
        store: the bars.
        windows: where windows start.
        table: of the windows, with ``row`` and ``series``.
        given: window -> label that it has.
    """
    named = {event.window_id for event in events}
    rows = {row["window_id"]: row for row in table.filter(pl.col("window_id").is_in(list(named))).iter_rows(named=True)}
    found: list[LabelEvent] = []
    for event in events:
        row = rows.get(event.window_id)
        if row is None or event.decision == "undo":
            found.append(event)
            continue
        bars = windows.gather(store.values, np.array([row["row"]]), windows.length)[0]
        known = {
            "window_digest": event.window_digest or window_digest(bars),
            "given": event.given or given.get(event.window_id),
            "series": event.series or row["series"],
        }
        if not event.first_time and not store.independent:
            known |= {name: row[name].isoformat() for name in ("first_time", "last_time")}
        accepts = event.decision == "relabel" and event.label == known["given"]
        found.append(dataclasses.replace(event, **known, decision="accept" if accepts else event.decision))
    return found


def completing(events: Sequence[LabelEvent], log: Sequence[LabelEvent]) -> list[LabelEvent]:
    """The events to append so that those that a log has already say there, too, which bars they are about.

    Such an event comes a second time, under another id and with the time of the first, so that what this person decided
    since then still holds; an undo takes the first one back. Where somebody took the first one back it stays so.

    Args:
        events: of a file, `located` or not.
        log: all events of the log.
    """
    known = {event.event_id: event for event in in_effect(log)}
    found: list[LabelEvent] = []
    for event in events:
        old = known.get(event.event_id)
        if old is None or not any(getattr(event, name) and not getattr(old, name) for name in _PLACE):
            found.append(event)
            continue
        undo = LabelEvent(
            decision="undo",
            window_id=old.window_id,
            annotator=old.annotator,
            undoes=old.event_id,
            source=event.source,
            event_id=content_id([old.event_id, "undone"]),
        )
        found += [dataclasses.replace(event, event_id=content_id([old.event_id, "located"]), at=old.at), undo]
    return found


_PLACE = ("window_digest", "first_time", "series")
"""Fields that say which bars an event is about."""
