"""The report of one run as one HTML file that needs nothing else to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from moola import drawing
from moola.drawing.page import render_page
from moola.evaluation.report_content import Leaderboard, Metric, Report
from moola.evaluation.report_pictures import Picture, alarmed_models, draw_pictures


def render_report(report: Report, pictures: Mapping[str, Picture] | None = None) -> str:
    """The report as one HTML document: styles and pictures inside, no script, nothing to load.

    Args:
        report: what it says.
        pictures: of this report, where they were drawn already.

    Raises:
        DataError: an array has a shape that cannot be drawn.
    """
    alarmed = alarmed_models(report)
    return render_page(
        "moola.evaluation:report.html.j2",
        report=report,
        pictures=draw_pictures(report) if pictures is None else pictures,
        alarmed=alarmed,
        names={row.model: row.name for row in report.leaderboard.rows} if report.leaderboard else {},
        best=_best_cells(report.leaderboard, alarmed) if report.leaderboard else {},
        counts=_counts,
        metrics_of=_metrics_of,
        has_candles=lambda channels: set(drawing.OHLC) <= set(channels),
    )


def _best_cells(board: Leaderboard, alarmed: set[str]) -> dict[tuple[str, str], float]:
    """The best value of each column; controls and models whose figures are no evidence do not compete."""
    best: dict[tuple[str, str], float] = {}
    for split in board.splits:
        for metric in board.metrics:
            column = (split.name, metric.name)
            rivals = [row for row in board.rows if row.kind != "control" and row.model not in alarmed]
            values = [row.cells[column].value for row in rivals if column in row.cells]
            finite = [value for value in values if math.isfinite(value)]
            if finite:
                best[column] = max(finite) if metric.higher_is_better else min(finite)
    return best


def _metrics_of(board: Leaderboard, split: str) -> list[Metric]:
    """The metrics that some model has a figure for in this split; the others get no column."""
    return [metric for metric in board.metrics if any((split, metric.name) in row.cells for row in board.rows)]


def _counts(board: Leaderboard, split: str) -> str:
    """How many windows a split's figures rest on; a range where models differ."""
    found = [cell.n for row in board.rows for (name, _), cell in row.cells.items() if name == split]
    if not found:
        return "–"
    return f"{min(found):,}" if min(found) == max(found) else f"{min(found):,} to {max(found):,}"
