"""Say what the bars, windows and labels are, on one page."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from moola import drawing
from moola.config import RunConfig, build_all, structure
from moola.data.bar_store import BarStore
from moola.data.calendars import SessionCalendar
from moola.data.description import Intake, describe_data
from moola.data.splits import SPLITTERS, Splitter, fingerprint_of
from moola.drawing.spans import SpanKind
from moola.errors import DataError
from moola.layout import read_json, write_json, write_text
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import open_windows
from moola.pipelines.stage import Stage, Workspace

_MOST_LINES = 12
"""Labels of a span, or reasons, that the terminal shows; the page has more."""


@dataclass(frozen=True)
class Describe(Stage):
    """Counts, spans, gaps, labels and near duplicates, with a picture."""

    splitter: Splitter
    calendar: SessionCalendar | None = None
    name: ClassVar[str] = "describe"
    provides: ClassVar[str] = "description"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows")
    room: ClassVar[str] = "artifacts/metadata"
    publishes: ClassVar[tuple[str, ...]] = ("description.html", "description.json")
    packages: ClassVar[Mapping[str, str]] = {"polars": "data", "pandera": "data", "jinja2": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``split``, for what trains and what is sealed, and ``data.calendar``, for sessions."""
        sessions = config.data.get("calendar")
        return cls(
            *build_all(
                lambda: SPLITTERS.build_section(config.split, "split"),
                lambda: structure(SessionCalendar, sessions, "data.calendar") if sessions is not None else None,
            )
        )

    def outside(self) -> str:
        """A saved split lies outside moola."""
        return fingerprint_of(self.splitter)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``description.json`` and ``description.html``."""
        from moola.data.pages import draw_series, render_description

        store = BarStore.open(inputs["bars"].folder)
        windows, table, _ = open_windows(inputs["windows"])
        facts = {"channels": ", ".join(store.channels), "digest of the bars": store.digest}
        if self.calendar is not None:
            facts["sessions"] = _spoken(self.calendar)
        spans, no_split = None, ""
        try:
            spans = pl.Series("span", self.splitter.spans(store, windows.spans(store)), dtype=pl.String)
        except DataError as error:  # data that no split fits can still be described, and the page says so
            no_split = ": ".join(filter(None, [error.what, error.why]))
        described = describe_data(store, windows, table["true_label"], spans, self.calendar, _intake(inputs["bars"]))
        table = table.with_columns(span=spans) if spans is not None else table
        pictures = draw_series(store, _shades(table) if spans is not None and not store.independent else ())
        write_json(workspace.folder / "description.json", {**dataclasses.asdict(described), "no_split": no_split})
        page = render_description(described, pictures, table, facts, no_split)
        write_text(workspace.folder / "description.html", page)


def description_lines(folder: Path) -> str:
    """What ``description.json`` in a run folder says, as a few lines."""
    found = read_json(folder / "description.json")
    alike = found["duplicates"]
    lines = [*_intake_lines(found["intake"]), _size_line(found)]
    for span, counts in sorted(found["labels"].items(), reverse=True):
        named = [f"{label} {n:,}" for label, n in counts.items()] if set(counts) != {"unlabeled"} else ["no label"]
        more = [f"and {len(named) - _MOST_LINES:,} more labels"] if len(named) > _MOST_LINES else []
        lines.append(f"{span}: {sum(counts.values()):,} windows; " + ", ".join([*named[:_MOST_LINES], *more]))
    if not found["independent"]:
        gaps, missing = (sum(row[key] for row in found["series"]) for key in ("gaps", "missing_bars"))
        lines.append(f"{gaps:,} gaps, which {missing:,} bars would fill")
    if found["sessions"] is not None:
        held = found["sessions"]
        left_out = found["intake"]["outside_sessions"] if found["intake"] is not None else 0
        outside = f"{left_out:,} rows in none, left out" if left_out else f"{held['outside']:,} bars in none"
        lines.append(
            f"{held['sessions']:,} sessions of {held['bars'][0]:,} to {held['bars'][2]:,} bars; {held['gaps']:,} gaps "
            f"inside sessions; {outside}"
        )
    if alike["found"]:
        lines.append(f"{alike['found']:,} of {alike['looked_at']:,} windows look like one elsewhere")
    if found["no_split"]:
        lines.append(f"no split: {found['no_split']}")
    return "\n".join(lines)


def _intake_lines(rows: Mapping[str, Any] | None) -> list[str]:
    """What became of the rows of the source: a line of counts, a line a reason, a line a note."""
    if rows is None:
        return []
    left_out = [
        *([f"{rows['rows_left_out']:,} bad left out"] if rows["rows_left_out"] else []),
        *([f"{rows['outside_sessions']:,} outside sessions left out"] if rows["outside_sessions"] else []),
    ]
    counts = [f"{rows['rows_read']:,} rows read", *(left_out or ["none left out"]), f"{rows['bars']:,} bars made"]
    return [
        ", ".join(counts),
        *(f"left out: {message} ({n:,})" for message, n in rows["reasons"][:_MOST_LINES]),
        *(f"note: {note}" for note in rows["notes"]),
    ]


def _size_line(found: Mapping[str, Any]) -> str:
    what = "cases" if found["independent"] else "series"
    disjoint = found["disjoint_windows"]
    share = (
        "no two of which share a bar" if disjoint == found["windows"] else f"at most {disjoint:,} of which share no bar"
    )
    return f"{found['bars']:,} bars, {len(found['series']):,} {what}, {found['windows']:,} windows, {share}"


def _intake(bars: Artifact) -> Intake | None:
    """What became of the rows of the source; None where another stage than `ingest` made the bars."""
    if "ingest.json" not in bars.manifest["files"]:
        return None
    summary = read_json(bars.path("ingest.json"))
    return Intake(
        rows_read=summary["rows_read"],
        rows_left_out=summary["rows_quarantined"],
        reasons=tuple((one["message"], one["rows"]) for one in summary["findings"] if one["severity"] == "error"),
        outside_sessions=summary["outside_sessions"],
        notes=tuple(summary["notes"]),
        bars=summary["bars"],
    )


def _spoken(calendar: SessionCalendar) -> str:
    return f"{calendar.open} to {calendar.close} {calendar.timezone}, opening {' '.join(calendar.days)}"


def _shades(table: pl.DataFrame) -> list[drawing.TimeSpan]:
    """From the first bar to the last of the windows that train, and of those that are sealed.

    Nothing where the two share time, as they may where whole series are held out.
    """
    kinds: dict[str, tuple[str, SpanKind]] = {
        "train": ("training span", "zone"),
        "test": ("sealed test", "after"),
    }
    edges = table.filter(pl.col("span").is_in(list(kinds))).group_by("span")
    rows = edges.agg(pl.col("first_time").min(), pl.col("last_time").max()).sort("first_time").rows()
    if any(later[1] <= earlier[2] for earlier, later in itertools.pairwise(rows)):
        return []
    return [drawing.TimeSpan(first.timestamp(), last.timestamp(), *kinds[span]) for span, first, last in rows]
