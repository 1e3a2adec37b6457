"""The pages of the data commands: what the bars are, what is wrong with them, what has changed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from moola import drawing
from moola.data.bar_store import BarStore
from moola.data.description import Description, Gap
from moola.data.drift import DriftConfig, FeatureDrift
from moola.data.ingestion import ValidationReport
from moola.drawing.page import render_page

SHOWN_SERIES = 50
"""Series that get a line in a table; thousands of cases are summed up."""
_SHOWN_CASES = 10
_SHOWN_GAPS = 10
_SPANS = ("train", "test", "excluded", "all")
_PICTURED = 4
_MOMENTS = 500
_PAUSE_STEPS = 8
_MICROSECONDS_PER_SECOND = 1_000_000
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def elapsed(seconds: float) -> str:
    """Time between bars in its two largest units: ``0.25 s``, ``1 min``, ``2 h 5 min``, ``7 d``."""
    for (large, size), (small, part) in itertools.pairwise(_UNITS):
        if seconds >= size:
            whole, rest = divmod(round(seconds / part), size // part)
            return f"{whole} {large}" + (f" {rest} {small}" if rest else "")
    return f"{seconds:.3g} s"


def moment(time: str | None, daily: bool) -> str:
    """An ISO 8601 time in UTC as people read it: ``2024-01-05 10:31``, or the date where bars are `daily`."""
    if time is None:
        return "–"
    return time[:10] if daily else time[:19].replace("T", " ").removesuffix(":00")


def is_daily(times: Sequence[str | None]) -> bool:
    """True where every ISO 8601 time there is stands at midnight."""
    return all(time is None or time[11:19] == "00:00:00" for time in times)


def render_validation(report: ValidationReport, source: str) -> str:
    """The page of ``moola data validate``; `source` says where the rows come from."""
    rows = report.series.head(SHOWN_SERIES)
    rows = rows.with_columns(pl.col("first_time", "last_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return render_page(
        "moola.data:validation.html.j2",
        report=report,
        rows=rows.to_dicts(),
        daily=is_daily([*rows["first_time"], *rows["last_time"]]),
        source=source,
        elapsed=elapsed,
        moment=moment,
    )


def render_description(
    described: Description,
    pictures: Sequence[str],
    table: pl.DataFrame,
    facts: Mapping[str, str],
    no_split: str = "",
) -> str:
    """The page of ``moola data describe``.

    Args:
        described: what was found.
        pictures: SVG of some series.
        table: the windows table, with ``span`` where windows are split: names for the pairs of near duplicates.
        facts: what the page is about, as label and words.
        no_split: why no split fits; empty where one does.
    """
    pairs = [(pair, *(_named(table, row) for row in (pair.first, pair.second))) for pair in described.duplicates.pairs]
    lengths = [row.bars for row in described.series]
    return render_page(
        "moola.data:description.html.j2",
        described=described,
        pictures=pictures,
        lengths=(min(lengths), int(np.median(lengths)), max(lengths)),
        daily=is_daily([time for row in described.series for time in (row.first_time, row.last_time)]),
        gaps=_together(described.gaps),
        gaps_in_sessions=_together(described.sessions.longest_gaps) if described.sessions is not None else [],
        spans=_spans(described),
        labels=_label_rows(described),
        pairs=pairs,
        facts=facts,
        no_split=no_split,
        shown=_SHOWN_CASES if described.independent else SHOWN_SERIES,
        elapsed=elapsed,
        moment=moment,
    )


def render_drift(
    rows: Sequence[FeatureDrift], config: DriftConfig, reference: str, current: str, facts: Mapping[str, str]
) -> str:
    """The page of ``moola data drift``; `reference` and `current` name the two sets."""
    return render_page(
        "moola.data:drift.html.j2", rows=rows, config=config, reference=reference, current=current, facts=facts
    )


def draw_series(store: BarStore, spans: Sequence[drawing.TimeSpan] = ()) -> list[str]:
    """Pictures of the first series: the close (or the first channel) over time, or over steps for cases.

    A moment of the calendar shows the lowest and the highest value in it; one without bars stays open.
    """
    column = store.channels.index("close") if "close" in store.channels else 0
    if store.independent:
        return [_draw_cases(store, column)]
    traces: list[drawing.Trace] = []
    for number in range(min(_PICTURED, len(store.series))):
        rows = slice(int(store.offsets[number]), int(store.offsets[number + 1]))
        values = np.asarray(store.values[rows, column], dtype=np.float64)
        name = f"{store.series[number]}: {store.channels[column]}"
        traces.append(_trace(name, np.asarray(store.timestamps[rows]) / _MICROSECONDS_PER_SECOND, values))
    return [drawing.draw_timeline(traces, title="The series over time", spans=spans)]


def _named(table: pl.DataFrame, row: int) -> tuple[str, str]:
    """Name and span of a window."""
    return table["window_id"][row], table["span"][row] if "span" in table.columns else ""


def _together(gaps: Sequence[Gap]) -> list[tuple[str, Gap]]:
    """The longest gaps, those that several series share as one: names and gap."""
    shared: dict[tuple[str, str], list[Gap]] = {}
    for gap in gaps:
        shared.setdefault((gap.after, gap.before), []).append(gap)
    return [(", ".join(gap.series for gap in same), same[0]) for same in shared.values()][:_SHOWN_GAPS]


def _spans(described: Description) -> list[str]:
    return [span for span in _SPANS if span in described.labels]


def _label_rows(described: Description) -> list[tuple[str, list[tuple[int, float | None]]]]:
    """A row a label: its windows in each span, and their share of those of the span that have a label."""
    columns = [described.labels[span] for span in _spans(described)]
    names = sorted({name for counts in columns for name in counts}, key=lambda name: (name == "unlabeled", name))
    labelled = [sum(n for name, n in counts.items() if name != "unlabeled") for counts in columns]
    return [
        (
            name,
            [
                (counts.get(name, 0), counts.get(name, 0) / total if total and name != "unlabeled" else None)
                for counts, total in zip(columns, labelled, strict=True)
            ],
        )
        for name in names
    ]


def _trace(name: str, seconds: np.ndarray, values: np.ndarray) -> drawing.Trace:
    """Every bar of a short series; of a long one lowest and highest value in equal stretches of time.

    The line of a short series is open where it pauses for more than 8 median steps, that of a long one where a stretch
    holds no bar.
    """
    if len(values) <= 4 * _MOMENTS:
        steps = np.diff(seconds)
        pauses = np.flatnonzero(steps > _PAUSE_STEPS * np.median(steps)) + 1 if len(steps) else np.empty(0, np.int64)
        seconds, values = (np.insert(part, pauses, np.nan) for part in (seconds, values))
        return drawing.Trace(name, seconds, values, values)
    edges = np.linspace(seconds[0], seconds[-1], _MOMENTS + 1)
    first = np.searchsorted(seconds, edges[:-1], side="left")
    past = np.searchsorted(seconds, np.append(edges[1:-1], np.inf), side="left")
    low, high = np.full(_MOMENTS, np.nan), np.full(_MOMENTS, np.nan)
    held = np.flatnonzero(past > first)  # an empty stretch ends where the next begins, so those that hold bars touch
    low[held] = np.minimum.reduceat(values, first[held])
    high[held] = np.maximum.reduceat(values, first[held])
    return drawing.Trace(name, (edges[:-1] + edges[1:]) / 2, low, high)


def _draw_cases(store: BarStore, column: int) -> str:
    curves: list[drawing.Curve] = []
    for number in range(min(_PICTURED, len(store.series))):
        values = store.values[int(store.offsets[number]) : int(store.offsets[number + 1]), column]
        label = store.series_label[number]
        name = store.series[number] + (f" ({label})" if label is not None else "")
        curves.append(drawing.Curve(name, np.arange(len(values)), values))
    return drawing.draw_curves(curves, title="The first cases", x_label="step", width=1036)
