"""The report of one run: what it holds, and one HTML file that needs nothing else to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from moola import drawing
from moola.drawing.intervals import Kind
from moola.drawing.page import render_page
from moola.errors import MoolaError
from moola.evaluation.comparison import excludes_zero
from moola.evaluation.estimates import Alarm, Estimate


@dataclass(frozen=True)
class Split:
    """A group of leaderboard columns: its name ("Sealed test") and a mark such as "transductive", or ""."""

    name: str
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """A column within each split that has such figures: its name and which end is good."""

    name: str
    higher_is_better: bool = True


@dataclass(frozen=True)
class ModelRow:
    """A line of the leaderboard.

    Attributes:
        model: registry name, the one that `Alarm.model` uses.
        name: display name.
        kind: model, baseline, control or stack.
        cells: (split name, metric name) -> figure; a missing cell is a dash.
    """

    model: str
    name: str
    kind: Kind
    cells: Mapping[tuple[str, str], Estimate]


@dataclass(frozen=True)
class Leaderboard:
    """All models on all splits.

    Attributes:
        splits: column groups, in order.
        metrics: columns of each group, in order.
        rows: in the order shown.
        headline: (split name, metric name) of the dot plot.
        reference: vertical line of the dot plot, e.g. the majority class, or None.
    """

    splits: tuple[Split, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[ModelRow, ...]
    headline: tuple[str, str]
    reference: drawing.Reference | None = None


@dataclass(frozen=True)
class Comparison:
    """Two models (display names) on the same windows: `difference` is a minus b, `sentence` its words."""

    a: str
    b: str
    split: str
    metric: str
    difference: Estimate
    sentence: str

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return excludes_zero(self.difference)


@dataclass(frozen=True)
class CurvePanel:
    """A plot of curves: heading, axis names, curves, lines to beat and a sentence beneath (or "")."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[drawing.Curve, ...]
    references: tuple[drawing.Reference, ...] = ()
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Embeddings of windows on their first two principal components.

    Attributes:
        title: what they are embeddings of.
        points: [N, 2].
        groups: int [N], a place in `names` each.
        names: of the classes.
        shares: of the variance, one for each component.
    """

    title: str
    points: ArrayLike
    groups: ArrayLike
    names: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Pretraining:
    """How the encoder learned.

    Attributes:
        loss: training and validation loss per seed.
        rebuilding: error on hidden inputs per seed, trivial predictors as references; None if none are rebuilt.
        probe: figures of the probes per epoch, pretrained against random init; None if none was run.
        mask_ratio: the realised ratio in words, or "" for an objective without masks.
        embeddings: of labelled windows, before and after.
    """

    loss: CurvePanel
    rebuilding: CurvePanel | None
    probe: CurvePanel | None
    mask_ratio: str
    embeddings: tuple[Embedding, ...] = ()


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A window, what was hidden of it and what the model put there.

    Attributes:
        window_id: its id.
        bars: [T, C] in the units of the data.
        channels: C names; open, high, low and close become candles, others lines.
        reconstructed: [T, C] in the same units; shown in masked bars only.
        mask: bool [T], True where the model saw nothing.
        caption: a sentence beneath, or "".
    """

    window_id: str
    bars: ArrayLike
    channels: tuple[str, ...]
    reconstructed: ArrayLike
    mask: ArrayLike
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Reliability bins of one model: confidence [B], accuracy [B] (0 to 1), count [B] windows; ECE."""

    model: str
    confidence: ArrayLike
    accuracy: ArrayLike
    count: ArrayLike
    ece: Estimate


@dataclass(frozen=True, eq=False)
class DoubtfulLabel:
    """A label that the models doubt.

    Attributes:
        window_id: its id.
        start: time of the first bar, as shown.
        end: time of the last bar, as shown.
        bars: [T, C] in the units of the data.
        channels: C names.
        spans: stretches to shade: context, zone, after.
        given: the label as it stands.
        predicted: the label the models would give.
        quality: cleanlab's label quality, 0 (doubtful) to 1.
        planted: whether the label was flipped on purpose; None when nobody knows.
    """

    window_id: str
    start: str
    end: str
    bars: ArrayLike
    channels: tuple[str, ...]
    spans: tuple[drawing.Span, ...]
    given: str
    predicted: str
    quality: float
    planted: bool | None = None


@dataclass(frozen=True)
class PlantedFound:
    """Flips with a known truth: how many were planted, flagged, found among the flagged, and found early.

    `found_in_queue` counts planted flips among the first `queue` windows of the review queue.
    """

    planted: int
    flagged: int
    found: int
    precision: Estimate
    recall: Estimate
    found_in_queue: int
    queue: int = 35


@dataclass(frozen=True)
class StageRow:
    """One stage: content key, the artifact's digest, seconds it took when it was made."""

    stage: str
    key: str
    digest: str
    seconds: float


@dataclass(frozen=True)
class Lineage:
    """Where figures come from: stages, versions (package -> version), seeds, commands that repeat them."""

    stages: tuple[StageRow, ...]
    versions: Mapping[str, str]
    seeds: tuple[int, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything the page says, in its order; a None section says that its stage was switched off.

    Attributes:
        title: heading of the page.
        run_id: the run's id.
        experiment: the experiment's name.
        created: when the page was made, as shown.
        moola_version: of the package.
        git_commit: of the project, or "" outside of a repository.
        git_dirty: whether files differed from that commit.
        alarms: what fired.
        checks: how many checks were made.
        verdict: exactly three sentences.
        statements: what this run is, one plain sentence each.
        absent: Report field (or "probe") -> the line shown for its None, where "not run: <stage> was
            switched off" would not be true.
    """

    title: str
    run_id: str
    experiment: str
    created: str
    moola_version: str
    git_commit: str
    git_dirty: bool
    alarms: tuple[Alarm, ...]
    checks: int
    verdict: tuple[str, str, str]
    statements: tuple[str, ...]
    leaderboard: Leaderboard | None
    comparisons: tuple[Comparison, ...] | None
    pretraining: Pretraining | None
    reconstructions: tuple[Reconstruction, ...] | None
    calibration: tuple[Calibration, ...] | None
    doubtful: tuple[DoubtfulLabel, ...] | None
    planted: PlantedFound | None
    lineage: Lineage
    absent: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.verdict) != 3:
            raise MoolaError("a verdict has three sentences", f"this one has {len(self.verdict)}")


def render_report(report: Report) -> str:
    """The report as one HTML document: styles and pictures inside, no script, nothing to load.

    Raises:
        DataError: an array has a shape that cannot be drawn.
    """
    alarmed = {alarm.model for alarm in report.alarms if alarm.severity == "alarm"}
    return render_page(
        "moola.evaluation:report.html.j2",
        report=report,
        alarmed=alarmed,
        names={row.model: row.name for row in report.leaderboard.rows} if report.leaderboard else {},
        best=_best_cells(report.leaderboard, alarmed) if report.leaderboard else {},
        dots=_dots,
        counts=_counts,
        metrics_of=_metrics_of,
        has_candles=lambda channels: set(drawing.OHLC) <= set(channels),
        reconstruction=draw_reconstruction,
        embedding=draw_embedding,
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


def _dots(board: Leaderboard, alarmed: set[str]) -> str:
    nothing = Estimate(math.nan, math.nan, math.nan, 0, 0)
    rows: list[drawing.IntervalRow] = []
    for row in board.rows:
        cell = row.cells.get(board.headline, nothing)
        rows.append(drawing.IntervalRow(row.name, cell.value, cell.low, cell.high, row.kind, row.model in alarmed))
    split, metric = board.headline
    title = f"{metric} of each model, {split}, with 95 % intervals"
    return drawing.draw_intervals(rows, title=title, x_label=metric, reference=board.reference)


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
    """Embeddings as points, coloured by class, as SVG.

    Raises:
        DataError: the arrays do not belong together.
    """
    first, second = (
        f"component {number}, {share:.0%} of the variance" for number, share in enumerate(shown.shares[:2], start=1)
    )
    title = f"Embeddings of windows, {shown.title}"
    return drawing.draw_scatter(shown.points, shown.groups, shown.names, title=title, x_label=first, y_label=second)
