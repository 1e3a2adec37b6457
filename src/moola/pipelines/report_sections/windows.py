"""Windows to look at: those whose label is in doubt, and those that the chosen model is most wrong about."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from moola import drawing
from moola.evaluation.estimates import Estimate
from moola.evaluation.intervals import wilson_interval
from moola.evaluation.metrics import PROBABILITY_FLOOR
from moola.evaluation.report_windows import DoubtfulLabel, DoubtfulLabels, PlantedFound, WrongWindow, WrongWindows
from moola.layout import read_json
from moola.pipelines.dataset import Dataset
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
    """Labels to show, the lowest quality first: flagged ones and such below one half; else the lowest few.

    Args:
        issues: the table of `moola.schemas.label_issues`.
    """
    ranked = issues.sort("label_quality", "window_id")
    found = ranked.filter(pl.col("is_label_issue") | (pl.col("label_quality") < 0.5))
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


def planted_found(data: Dataset, issues: pl.DataFrame, queue: int) -> PlantedFound | None:
    """How many of the labels that were flipped on purpose were found; None where none were."""
    flipped = set(data.labels.filter(pl.col("planted"))["window_id"])
    if not flipped:
        return None
    flagged = issues.filter(pl.col("is_label_issue"))["window_id"].to_list()
    found = len(flipped & set(flagged))
    early = len(flipped & set(issues.head(queue)["window_id"]))
    return PlantedFound(
        len(flipped), len(flagged), found, _share(found, len(flagged)), _share(found, len(flipped)), early, queue
    )


def _share(hits: int, n: int) -> Estimate:
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, 1)
    low, high = wilson_interval(hits, n)
    return Estimate(hits / n, low, high, n, 1)
