"""A list of runs for a terminal, for programs and for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from moola.dashboard.run_folder import Figure, RunEntry
from moola.dashboard.run_keys import Key
from moola.dashboard.run_query import RunList, judged_on
from moola.drawing.numbers import duration, figure, interval
from moola.errors import printable
from moola.pipelines.scores import CHOICE

DEFAULT_COLUMNS = ("status", "headline", "model", "alarms", "seeds", "seconds", "started", "cost")
"""What is told of each run where nobody asks for anything."""
_SHORTEST_NAME = 18
IN_UTC = ("started", "finished")
"""Fields that are told without their zone, which is in the head of their column."""
_SHORT_HEADS = {"headline": "balanced accuracy", **{key: f"{key}, UTC" for key in IN_UTC}}


def cell(key: Key, folder: str) -> str:
    """A value of a run as people read it; "" for none."""
    value = key.values.get(folder)
    if value is None:
        return ""
    if isinstance(value, Figure):
        value_, low, high = (math.nan if part is None else part for part in value[:3])
        return f"{figure(value_)} {interval(low, high)}"
    if key.kind == "field":
        if key.asked == "seconds":
            return duration(value)
        if key.asked == "cost":
            return f"${value:.2f}"
        if key.asked in IN_UTC:
            return value[:16].replace("T", " ")
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), keep="")


def run_table(runs: RunList, width: int | None, asked: Sequence[str], limit: int) -> str:
    """The list for a terminal.

    Args:
        runs: what was found.
        width: of the terminal in letters; None: as wide as it comes.
        asked: columns that stay however narrow it is.
        limit: most runs; 0: all.
    """
    shown = runs.entries[:limit] if limit else runs.entries
    columns = [key for key in runs.columns if key.asked in asked or any(entry.folder in key.values for entry in shown)]
    heads = ["name", *(_SHORT_HEADS.get(key.asked, key.asked) for key in columns)]
    lines = [[printable(entry.folder, keep=""), *(cell(key, entry.folder) for key in columns)] for entry in shown]
    kept, left_out = _fitted(heads, lines, width, [key.asked in asked for key in columns])
    rows = [[line[place] for place in kept] for line in (heads, *lines)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(kept))]
    if width is not None:
        room = width - sum(widths[1:]) - 2 * (len(widths) - 1)
        widths[0] = min(widths[0], max(room, _SHORTEST_NAME))
    text = [
        "  ".join([shortened(row[0], widths[0]).ljust(widths[0]), *map(str.ljust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
    more = len(runs.entries) - len(shown)
    text += [f"... and {more:,} more: --limit 0 shows all"] if more else []
    text += [f"left out, as the terminal is narrow: {', '.join(left_out)}"] if left_out else []
    return "\n".join([*text, *_heads_in_full(columns, kept)])


def _fitted(
    heads: Sequence[str], lines: Sequence[Sequence[str]], width: int | None, wanted: Sequence[bool]
) -> tuple[list[int], list[str]]:
    """Columns that fit, by place, and the heads of those that do not; the last ones go first."""
    kept = list(range(len(heads)))
    if width is None:
        return kept, []
    sizes = [max([len(head), *(len(line[place]) for line in lines)]) for place, head in enumerate(heads)]
    sizes[0] = min(sizes[0], _SHORTEST_NAME)
    for place in reversed(range(1, len(heads))):
        if sum(sizes[one] + 2 for one in kept) - 2 <= width:
            break
        if not wanted[place - 1] and heads[place] != _SHORT_HEADS["headline"]:
            kept.remove(place)
    return kept, [heads[place] for place in range(len(heads)) if place not in kept]


def _heads_in_full(columns: Sequence[Key], kept: Sequence[int]) -> list[str]:
    """What the figures are, below the table, where a head has no room for it."""
    figures = [key for place, key in enumerate(columns, 1) if place in kept and key.kind == "figure"]
    return [f"{_SHORT_HEADS.get(key.asked, key.asked)}: {key.label}{_of_chosen(key)}" for key in figures]


def _of_chosen(key: Key) -> str:
    return "" if ":" in key.label else f", of the model that each run chose, {CHOICE}"


def shortened(name: str, room: int) -> str:
    """A name with both of its ends, which tell runs apart."""
    if len(name) <= room:
        return name
    tail = min(7, room - 2)
    return f"{name[: room - 1 - tail]}…{name[-tail:]}"


def run_json(runs: RunList) -> str:
    """The list for programs: an object a run, null for what is not known."""
    told = [
        {**_facts(entry), **{key.asked: _told(key, entry.folder) for key in runs.columns}} for entry in runs.entries
    ]
    return json.dumps(told, indent=2, ensure_ascii=False)


def _facts(entry: RunEntry) -> dict[str, Any]:
    facts = entry._asdict()
    del facts["judged"], facts["on_pod"]
    facts = {name: None if value == "" else value for name, value in facts.items()}
    return {"name": facts.pop("folder"), **facts}


def _told(key: Key, folder: str) -> Any:
    found = key.values.get(folder)
    if not isinstance(found, Figure):
        return found
    return {**found._asdict(), "split": "test" if key.split == "test" else "oof", "judged_on": judged_on(key)}


def run_csv(runs: RunList) -> str:
    """The list for spreadsheets: the ends of an interval have columns of their own."""
    heads = ["name"]
    for key in runs.columns:
        heads += [key.asked, *([f"{key.asked}/low", f"{key.asked}/high"] if key.kind == "figure" else [])]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for entry in runs.entries:
        row: list[Any] = [entry.folder]
        for key in runs.columns:
            found = key.values.get(entry.folder)
            if key.kind == "figure":
                row += found[:3] if isinstance(found, Figure) else [None] * 3
            else:
                row.append(found if found is None or isinstance(found, (str, int, float)) else json.dumps(found))
        writer.writerow(row)
    return out.getvalue()
