"""What a teacher's labels are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from moola.evaluation.estimates import Estimate
from moola.evaluation.metrics import METRICS
from moola.evaluation.report_content import PseudoLabelFold, PseudoLabels, PseudoLabelStudent
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.scores import display_name, read_estimate
from moola.pipelines.units import TEST_FOLD

_GATES = {
    "looked_at": "Looked at",
    "likely": "Likely",
    "consistent": "Views agree",
    "apart": "Apart in time",
    "passed": "Passed, balanced",
}
"""Counts of a fold in ``pseudo_labels.json``, in the order of the gates, in words."""


def pseudo_labels(inputs: Mapping[str, Artifact]) -> PseudoLabels | None:
    """None where no teacher labelled anything."""
    if "pseudo_labels" not in inputs:
        return None
    told = read_json(inputs["pseudo_labels"].path("pseudo_labels.json"))
    metric = METRICS[told["changed"][0]["metric"]].label
    students = tuple(map(_student, told["changed"]))
    return PseudoLabels(
        display_name(told["teacher"]), metric, tuple(_GATES.values()), tuple(map(_fold, told["folds"])), students
    )


def _fold(told: Mapping[str, Any]) -> PseudoLabelFold:
    name = "all labels" if told["fold"] == TEST_FOLD else f"without fold {told['fold']}"
    right = None
    if told.get("of"):
        right = Estimate(told["right"] / told["of"], told["low"], told["high"], told["of"], 1)
    return PseudoLabelFold(name, tuple(told[gate] for gate in _GATES), right)


def _student(told: Mapping[str, Any]) -> PseudoLabelStudent:
    without, taught, difference = (read_estimate(told[name]) for name in ("without", "with", "difference"))
    p_value = math.nan if told["p_value"] is None else float(told["p_value"])
    return PseudoLabelStudent(display_name(told["student"]), without, taught, difference, p_value)
