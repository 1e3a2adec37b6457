"""Every picture of a report, drawn once: for its page, and for files of their own."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from moola import drawing
from moola.evaluation.estimates import Estimate
from moola.evaluation.report_content import (
    Calibration,
    CurvePanel,
    Embedding,
    Leaderboard,
    Pretraining,
    Report,
)
from moola.evaluation.report_windows import Reconstruction, ShownWindow


@dataclass(frozen=True)
class Picture:
    """A drawn picture.

    Attributes:
        name: of its file, without an ending.
        heading: above it.
        markup: SVG elements for a page, one or two.
    """

    name: str
    heading: str
    markup: str

    def svg(self) -> str:
        """The picture as an SVG document with its heading and styles."""
        return drawing.svg_file([(self.heading, self.markup)], title=self.heading)


def draw_pictures(report: Report) -> dict[str, Picture]:
    """Name -> picture, in the order of the page.

    Raises:
        DataError: an array has a shape that cannot be drawn.
    """
    return {picture.name: picture for picture in _drawn(report)}


def _drawn(report: Report) -> Iterator[Picture]:
    if report.leaderboard is not None:
        split, metric = report.leaderboard.headline
        dots = draw_leaderboard(report.leaderboard, alarmed_models(report))
        yield Picture("leaderboard", f"{metric}, {split}", dots)
    yield from _of_models(report)
    if report.label_efficiency is not None:
        yield Picture("label-efficiency", report.label_efficiency.title, draw_panel(report.label_efficiency, width=700))
    if report.pretraining is not None:
        yield from _of_pretraining(report.pretraining)
    for i, shown in enumerate(report.reconstructions or (), start=1):
        yield Picture(f"reconstruction-{i:02d}", f"Reconstruction, {shown.window_id}", draw_reconstruction(shown))
    yield from _of_windows("wrong", report.wrong.windows if report.wrong else ())
    yield from _of_windows("doubtful", report.doubtful.windows if report.doubtful else ())


def _of_models(report: Report) -> Iterator[Picture]:
    if report.confusion is not None:
        shown = report.confusion
        title = f"What {shown.model} takes for what, {shown.split}"
        names = [row.name for row in shown.rows]
        yield Picture("confusion", title, drawing.draw_confusion(shown.counts, names, title=title))
    for i, shown in enumerate(report.calibration or (), start=1):
        yield Picture(f"calibration-{i:02d}", f"Reliability of {shown.model}", draw_calibration(shown))


def _of_pretraining(shown: Pretraining) -> Iterator[Picture]:
    for name in ("loss", "rebuilding", "probe"):
        panel: CurvePanel | None = getattr(shown, name)
        if panel is not None:
            yield Picture(name, panel.title, draw_panel(panel))
    for i, embedding in enumerate(shown.embeddings, start=1):
        yield Picture(f"embedding-{i:02d}", f"Embeddings, {embedding.title}", draw_embedding(embedding))


def _of_windows(name: str, windows: Sequence[ShownWindow]) -> Iterator[Picture]:
    for i, shown in enumerate(windows, start=1):
        title = f"Window {shown.window_id}"
        drawn = drawing.draw_window(shown.bars, shown.channels, title=title, spans=shown.spans, width=320)
        yield Picture(f"{name}-{i:02d}", f"{title}, {shown.start} to {shown.end}", drawn)


def alarmed_models(report: Report) -> set[str]:
    """Models whose figures are no evidence."""
    return {alarm.model for alarm in report.alarms if alarm.severity == "alarm"}


def draw_leaderboard(board: Leaderboard, alarmed: Collection[str]) -> str:
    """The headline figure of every model with its interval, as SVG."""
    nothing = Estimate(math.nan, math.nan, math.nan, 0, 0)
    rows: list[drawing.IntervalRow] = []
    for row in board.rows:
        cell = row.cells.get(board.headline, nothing)
        rows.append(drawing.IntervalRow(row.name, cell.value, cell.low, cell.high, row.kind, row.model in alarmed))
    split, metric = board.headline
    title = f"{metric} of each model, {split}, with 95 % intervals"
    return drawing.draw_intervals(rows, title=title, x_label=metric, reference=board.reference)


def draw_calibration(shown: Calibration) -> str:
    """Reliability before and, where there is one, after calibration, as SVG."""
    before, after = shown.before, shown.after
    return drawing.draw_reliability(
        before.confidence,
        before.accuracy,
        before.count,
        after=None if after is None else (after.confidence, after.accuracy, after.count),
        title=f"Reliability of {shown.model}",
        width=300,
    )


def draw_panel(panel: CurvePanel, width: float = 510) -> str:
    """Curves with the lines they must beat, as SVG."""
    return drawing.draw_curves(
        panel.curves,
        title=panel.title,
        x_label=panel.x_label,
        y_label=panel.y_label,
        references=panel.references,
        width=width,
    )


def draw_reconstruction(shown: Reconstruction) -> str:
    """A window with its hidden bars marked and what the model put there, as SVG; one or two pictures.

    Raises:
        DataError: the arrays do not belong together.
    """
    mask = np.asarray(shown.mask, dtype=bool)
    filled = np.asarray(shown.reconstructed, dtype=np.float64)
    # A mask of another length is refused where it is drawn, with a sentence that says so.
    overlay = np.where(mask[:, None], filled, np.nan) if mask.shape == filled.shape[:1] else filled
    title = f"Window {shown.window_id}: original and reconstruction"
    return drawing.draw_window(shown.bars, shown.channels, title=title, highlight=mask, overlay=overlay, width=510)


def draw_embedding(shown: Embedding) -> str:
    """Embeddings as points, coloured by class or by step, as SVG.

    Raises:
        DataError: the arrays do not belong together.
    """
    axes = [f"component {number}, {share:.0%} of the variance" for number, share in enumerate(shown.shares, start=1)]
    first, second = axes[:2] if axes else ("", "")
    title = f"Embeddings of windows, {shown.title}"
    return drawing.draw_scatter(
        shown.points, shown.groups, shown.names, title=title, x_label=first, y_label=second, ordered=shown.ordered
    )
