"""Windows to look at: those whose label is in doubt, and those that the chosen model is most wrong about."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from moola import drawing
from moola.evaluation.estimates import Estimate
from moola.evaluation.metrics import PROBABILITY_FLOOR
from moola.evaluation.ranking import average_precision
from moola.evaluation.report_windows import DoubtfulLabel, DoubtfulLabels, PlantedFound, WrongWindow, WrongWindows
from moola.evaluation.score_interval import effective_cases, estimate, share_estimate
from moola.layout import read_json
from moola.pipelines.dataset import Dataset
from moola.pipelines.judged import EvaluationConfig, resamples
from moola.pipelines.report_sections.material import Material
from moola.pipelines.scores import display_name

SHOWN_WINDOWS = 12
FEWEST_LABELS = 3
"""So many labels are shown where fewer are in doubt."""


def wrong_windows(material: Material) -> WrongWindows | None:
    """Windows of the sealed test to which the chosen model gives the least; None without a test or a choice.

    Sorted by the mean over seeds of -log p(truth), so that the probability shown is a geometric mean.
    """
    model, data = material.scores.chosen, material.data
    if model is None or material.headline != "test" or not material.predictions.has(model, "test"):
        return None
    said, truth = material.said(model, "test")
    of_truth = np.log(said[:, np.arange(len(truth)), truth].clip(PROBABILITY_FLOOR, 1.0)).mean(axis=0)
    answers = said.mean(axis=0).argmax(axis=1)
    wrong = np.flatnonzero(answers != truth)
    worst = _apart(data, wrong[np.argsort(of_truth[wrong], kind="stable")])
    windows = tuple(
        WrongWindow(
            **_shown(data, row),
            truth=row["true_label"],
            predicted=data.classes[answers[place]],
            p_truth=math.exp(float(of_truth[place])),
        )
        for place, row in zip(worst, data.test[worst].iter_rows(named=True), strict=True)
    )
    return WrongWindows(display_name(model), len(truth), windows)


def _apart(data: Dataset, places: np.ndarray) -> list[int]:
    """The first rows of the sealed test, each in turn unless it overlaps one before it: neighbours look the same."""
    kept: list[int] = []
    series, starts = data.test["series"].to_list(), data.windows.starts[data.test["row"].to_numpy()]
    for place in places.tolist():
        near = (one for one in kept if series[one] == series[place])
        if all(abs(starts[one] - starts[place]) >= data.windows.length for one in near):
            kept.append(place)
        if len(kept) == SHOWN_WINDOWS:
            break
    return kept


def doubtful_labels(material: Material, issues: pl.DataFrame) -> DoubtfulLabels:
    """The windows whose labels have the lowest quality, and whose consensus says so."""
    data = material.data
    known = bool(data.labels["planted"].any())
    planted = dict(zip(data.labels["window_id"], data.labels["planted"], strict=True))
    table = in_doubt(issues).join(data.table, on="window_id", how="left", maintain_order="left")
    windows = tuple(
        DoubtfulLabel(
            **_shown(data, row),
            given=row["given_label"],
            predicted=row["pred_label"],
            quality=row["label_quality"],
            planted=planted[row["window_id"]] if known else None,
        )
        for row in table.iter_rows(named=True)
    )
    judges = read_json(material.inputs["label_issues"].path("consensus.json"))["models"]
    return DoubtfulLabels(tuple(display_name(model) for model in judges), windows)


def in_doubt(issues: pl.DataFrame) -> pl.DataFrame:
    """Labels to show, the lowest quality first: flagged ones; where these are hardly any, the lowest few.

    Args:
        issues: the table of `moola.schemas.label_issues`.
    """
    ranked = issues.sort("label_quality", "window_id")
    found = ranked.filter("is_label_issue")
    return (found if len(found) >= FEWEST_LABELS else ranked.head(FEWEST_LABELS)).head(SHOWN_WINDOWS)


def _shown(data: Dataset, row: dict[str, Any]) -> dict[str, Any]:
    """Id, times, bars, channels and spans of a window; volume is left out, its scale hides nothing and takes room."""
    bars = data.windows.gather(data.store.values, np.array([row["row"]]), data.windows.length)[0]
    channels = [i for i, name in enumerate(data.store.channels) if name != "volume"]
    times = ("first bar", "last bar")
    if not data.store.independent:
        times = (f"{row['first_time']:%Y-%m-%d}", f"{row['last_time']:%Y-%m-%d}")
    return {
        "window_id": row["window_id"],
        "start": times[0],
        "end": times[1],
        "bars": bars[:, channels],
        "channels": tuple(data.store.channels[i] for i in channels),
        "spans": spans(data),
    }


def spans(data: Dataset) -> tuple[drawing.Span, ...]:
    """Stretches of a window to shade: what comes before the zone, the zone, and what no model sees."""
    first, end = data.windows.zone
    found: list[drawing.Span] = []
    if first > 0:
        found.append(drawing.Span(0, first, "context", "context"))
    if (first, end) != (0, data.windows.length):
        found.append(drawing.Span(first, end, "zone", "zone"))
    if end < data.windows.length:
        found.append(drawing.Span(end, data.windows.length, "after", "after"))
    return tuple(found)


def planted_found(data: Dataset, issues: pl.DataFrame, review: pl.DataFrame, queue: int) -> PlantedFound | None:
    """How many of the labels that were flipped on purpose were found, and how early; None where none were.

    A flip that no fold held out was judged by nobody and does not count.

    Args:
        data: windows and labels.
        issues: ``label_issues.csv``.
        review: ``review_queue.csv``, of the same windows.
        queue: how many windows are a reviewer's first batch.
    """
    windows = review.join(data.labels, on="window_id", how="left", maintain_order="left")
    planted = windows["planted"].to_numpy()
    if not planted.any():
        return None
    n_planted, flagged = int(planted.sum()), int(issues["is_label_issue"].sum())
    found = len(windows.filter("planted", "is_label_issue"))
    return PlantedFound(
        n_planted,
        flagged,
        found,
        share_estimate(found, flagged),
        share_estimate(found, n_planted),
        _how_early(planted, resamples(data, windows, EvaluationConfig())),
        len(review),
        int(planted[:queue].sum()),
        queue,
    )


def _how_early(planted: np.ndarray, weights: np.ndarray) -> Estimate:
    """Average precision of a queue.

    Args:
        planted: bool [n], from its first window to its last.
        weights: resamples of them [n_resamples, n].
    """
    scores = -np.arange(len(planted), dtype=np.float64)
    point = average_precision(scores, planted, np.ones((1, len(planted))))
    resampled = average_precision(scores, planted, weights)[:, None]
    return estimate(point, resampled, len(planted), (0.0, 1.0), effective_cases(weights))
