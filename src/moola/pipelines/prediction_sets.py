"""Prediction sets of every model on the sealed test, and what they covered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from moola.errors import DataError
from moola.evaluation.conformal import prediction_sets, score_sets
from moola.pipelines.judged import Judged
from moola.pipelines.predictions import Predictions
from moola.pipelines.scores import SplitName, without_nan

KINDS = {"marginal": False, "by_class": True}


def score_prediction_sets(
    predictions: Predictions, judged: Mapping[SplitName, Judged], coverage: float
) -> dict[str, Any]:
    """Sets from out-of-fold predictions and the labels as given, scored against the truth of the sealed test.

    Probabilities are means over seeds. Labels that were given wrong make sets larger, and their coverage higher, than
    was asked for.

    Returns:
        The content of ``conformal.json``::

            {"coverage": ..., "models": {model: {"marginal": scores, "by_class": scores}}}

        with the fields of `moola.evaluation.conformal.SetScores`, or {"why": ...} where no set could be made; by class,
        the coverage is held in each class by itself. No models where nothing is sealed.
    """
    told: dict[str, Any] = {}
    if "test" in judged:
        both = [
            model
            for model in judged["test"].said
            if model in judged["oof"].said and predictions.role(model) != "control"
        ]
        told = {
            model: {kind: _scored(model, judged, coverage, by_class) for kind, by_class in KINDS.items()}
            for model in both
        }
    return {"coverage": coverage, "models": told}


def _scored(model: str, judged: Mapping[SplitName, Judged], coverage: float, by_class: bool) -> dict[str, Any]:
    oof, test = judged["oof"], judged["test"]
    learned, new = (part.said[model].mean(axis=0) for part in (oof, test))
    try:
        sets = prediction_sets(learned, oof.given, new, coverage, by_class)
    except DataError as error:  # too few labels for that coverage
        return {"why": f"{error.what}: {error.why}"}
    return without_nan(dataclasses.asdict(score_sets(sets, test.truth, test.weights, coverage)))
