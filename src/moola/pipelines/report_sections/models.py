"""What the chosen model takes for what, how far probabilities can be believed, and what fewer labels would give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from moola import drawing
from moola.evaluation.confusion import confusion_matrix, per_class
from moola.evaluation.estimates import Estimate
from moola.evaluation.metrics import METRICS, reliability
from moola.evaluation.report_content import Calibration, ClassRow, Confusion, CurvePanel
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.report_sections.material import SPLITS, Material
from moola.pipelines.scoring import HEADLINE, display_name


def confusion(material: Material) -> Confusion | None:
    """Of the chosen model on the sealed test, or out of fold where nothing is sealed; None where none was chosen."""
    split, model = material.headline, material.chosen
    if model is None or not material.predictions.has(model, split):
        return None
    said, truth = material.said(model, split)
    counts = confusion_matrix(said, truth)[0].mean(axis=0)
    figures = per_class(said, truth)
    rows = tuple(
        ClassRow(
            name,
            int((truth == place).sum()),
            *(
                _point(values[0, :, place].mean(), len(truth), len(said))
                for values in (figures.precision, figures.recall, figures.f1)
            ),
        )
        for place, name in enumerate(material.data.classes)
    )
    return Confusion(display_name(model), SPLITS[split], counts, rows)


def _point(value: float, n: int, seeds: int) -> Estimate:
    return Estimate(float(value), math.nan, math.nan, n, seeds)


def calibration(material: Material) -> tuple[Calibration, ...]:
    """Reliability of every model that is no control."""
    split = material.headline
    found: list[Calibration] = []
    for model in material.predictions.models:
        if material.predictions.role(model) == "control" or not material.predictions.has(model, split):
            continue
        bins = reliability(*material.said(model, split))
        ece = material.scores.figures[split][model]["ece"]
        found.append(Calibration(display_name(model), bins.confidence, bins.accuracy, bins.count, ece))
    return tuple(found)


def label_efficiency(inputs: Mapping[str, Artifact]) -> CurvePanel | None:
    """The headline figure on the sealed test over the number of labels; None where nothing was measured."""
    if "label_efficiency.json" not in inputs["evaluation"].manifest["files"]:
        return None
    points = read_json(inputs["evaluation"].path("label_efficiency.json"))
    models = list(dict.fromkeys(point["model"] for point in points))
    if not models:
        return None
    curves = (_curve(display_name(m), [point for point in points if point["model"] == m]) for m in models)
    return CurvePanel(
        f"{METRICS[HEADLINE].label}, {SPLITS['test']}",
        "labels",
        METRICS[HEADLINE].label,
        tuple(curves),
        caption="Every seed draws its own share of the labels. Lines are 95 % intervals, over windows and seeds.",
    )


def _curve(name: str, points: list[dict[str, Any]]) -> drawing.Curve:
    ordered = sorted(points, key=lambda point: point["n_labels"])
    columns = ([math.nan if point[end] is None else point[end] for point in ordered] for end in ("low", "high"))
    low, high = columns
    return drawing.Curve(
        name, [point["n_labels"] for point in ordered], [point["value"] for point in ordered], low=low, high=high
    )
