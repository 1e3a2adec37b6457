"""Say what the bars, windows and labels are, on one page."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import polars as pl

from moola import drawing
from moola.config import RunConfig, build_all, structure
from moola.data.bar_store import BarStore
from moola.data.calendars import SessionCalendar
from moola.data.description import describe_data
from moola.data.splits import SPLITTERS, Splitter, fingerprint_of
from moola.drawing.spans import SpanKind
from moola.errors import DataError
from moola.layout import write_json, write_text
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import open_windows
from moola.pipelines.stage import Stage, Workspace


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
        described = describe_data(store, windows, table["true_label"], spans, self.calendar)
        table = table.with_columns(span=spans) if spans is not None else table
        pictures = draw_series(store, _shades(table) if spans is not None and not store.independent else ())
        write_json(workspace.folder / "description.json", {**dataclasses.asdict(described), "no_split": no_split})
        page = render_description(described, pictures, table, facts, no_split)
        write_text(workspace.folder / "description.html", page)


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
