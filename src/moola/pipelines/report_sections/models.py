"""What the chosen model takes for what, how far probabilities can be believed, and what fewer labels would give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from moola import drawing
from moola.evaluation.metrics import METRICS, reliability
from moola.evaluation.report_content import (
    Calibration,
    ClassRow,
    Confusion,
    CurvePanel,
    Pointers,
    PredictionSets,
    Reliability,
    SetRow,
)
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.report_sections.material import Material
from moola.pipelines.results import SPLITS
from moola.pipelines.scores import HEADLINE, display_name, read_estimate


def confusion(material: Material) -> Confusion | None:
    """Of the chosen model on the sealed test, or out of fold where nothing is sealed; None where none was chosen."""
    split, model = material.headline, material.scores.chosen
    told = _told(material.inputs, "per_class.json")
    if model is None or told is None or model not in told["splits"][split]:
        return None
    found = told["splits"][split][model]
    rows = tuple(
        ClassRow(name, one["n"], *(read_estimate(one[figure]) for figure in ("precision", "recall", "f1")))
        for name, one in found["figures"].items()
    )
    return Confusion(display_name(model), SPLITS[split], found["confusion"], rows)


def calibration(material: Material) -> tuple[Calibration, ...]:
    """Reliability of every model that is no control, before and after calibration."""
    split = material.headline
    told = _told(material.inputs, "calibration.json") or {"models": {}}
    found: list[Calibration] = []
    for model in material.predictions.models:
        if material.predictions.role(model) == "control" or not material.predictions.has(model, split):
            continue
        mended = told["models"].get(model, {}).get(split)
        if mended is not None:
            before, after = _reliability(mended["before"]), _reliability(mended["after"])
            found.append(Calibration(display_name(model), before, after, read_estimate(mended["change"]["ece"])))
        else:
            bins = reliability(*material.said(model, split))
            ece = material.scores.figures[split][model]["ece"]
            before = Reliability(bins.confidence, bins.accuracy, bins.count, ece)
            found.append(Calibration(display_name(model), before))
    return tuple(found)


def _reliability(told: Mapping[str, Any]) -> Reliability:
    bins = told["reliability"]
    confidence, accuracy = (_known(bins[name]) for name in ("confidence", "accuracy"))
    return Reliability(confidence, accuracy, bins["count"], read_estimate(told["figures"]["ece"]))


def _known(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def prediction_sets(inputs: Mapping[str, Artifact]) -> PredictionSets | None:
    """Sets at a stated coverage, of every model on the sealed test; None where nothing is sealed."""
    told = _told(inputs, "conformal.json")
    if not told or not told["models"]:
        return None
    rows = (
        _set_row(display_name(model), kind.replace("_", " "), one)
        for model, kinds in told["models"].items()
        for kind, one in kinds.items()
    )
    return PredictionSets(told["coverage"], tuple(rows))


def _set_row(model: str, kind: str, told: Mapping[str, Any]) -> SetRow:
    if "why" in told:
        return SetRow(model, kind, None, None, told["why"])
    return SetRow(model, kind, read_estimate(told["coverage"]), read_estimate(told["mean_size"]))


def pointers(inputs: Mapping[str, Artifact]) -> Pointers | None:
    """Figures of the first and last marked bar; None where nobody marked any."""
    told = _told(inputs, "pointers.json")
    if told is None:
        return None
    return Pointers(display_name(told["model"]), {name: read_estimate(one) for name, one in told["figures"].items()})


def _told(inputs: Mapping[str, Artifact], name: str) -> Any:
    """What a file of the evaluation holds; None where it was not written."""
    evaluation = inputs["evaluation"]
    return read_json(evaluation.path(name)) if name in evaluation.manifest["files"] else None


def label_efficiency(inputs: Mapping[str, Artifact]) -> CurvePanel | None:
    """The headline figure on the sealed test over the number of labels; None where nothing was measured."""
    points = _told(inputs, "label_efficiency.json") or []
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
    low, high = (_known([point[end] for point in ordered]) for end in ("low", "high"))
    return drawing.Curve(
        name, [point["n_labels"] for point in ordered], [point["value"] for point in ordered], low=low, high=high
    )
