"""Probabilities of every model before and after calibration, fitted where the model and the judge both know nothing.

What is judged on a fold is calibrated on predictions of models that knew nothing of that fold
(`moola.pipelines.predictions.Predictions.to_learn`); what is judged on the sealed test, on plain out-of-fold
predictions. Labels are those that were given: a user has no others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from moola.evaluation.calibration import Calibrator, Kind, fit_calibrator
from moola.evaluation.calibration_error import brier_decomposition, reliability
from moola.evaluation.comparison import compare, estimates
from moola.pipelines.dataset import Dataset
from moola.pipelines.judged import Judged
from moola.pipelines.predictions import Predictions
from moola.pipelines.scores import SplitName, without_nan, written_estimate
from moola.pipelines.units import TEST_FOLD, Unit, predictions_frame

METRICS = ("ece", "log_loss", "brier")


@dataclass(frozen=True)
class Calibrated:
    """One fit and what it made of the predictions it was meant for."""

    fold: int
    seed: int
    calibrator: Calibrator
    frame: pl.DataFrame


def calibrate(
    data: Dataset, predictions: Predictions, judged: Mapping[SplitName, Judged], kind: Kind
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Calibrate every model that is no control, wherever there is something honest to learn it from.

    Out of fold that takes nested predictions for every fold; without them (combinatorial folds, the first fold of
    walk-forward, a stack, ``stage.oof.nested=false``) only what is said of the sealed test is calibrated.

    Returns:
        Rows of `moola.schemas.predictions`, calibrated; and the content of ``calibration.json``::

            {"kind": ..., "models": {model: {split: {
                "before", "after": {"figures": {metric: estimate}, "reliability": {"confidence", "accuracy", "count"},
                                    "brier_parts": {"reliability", "resolution", "uncertainty", "within_bins"}},
                "change": {metric: estimate},       # after minus before, paired: below 0 is better
                "calibrators": [{"fold", "seed", ...}]}}}}
    """
    frames = [predictions.table.clear()]
    told: dict[str, Any] = {}
    for model in predictions.models:
        if predictions.role(model) == "control":
            continue
        for split, part in judged.items():
            fits = list(_fits(model, split, data, predictions, kind)) if model in part.said else []
            if not fits:
                continue
            table = pl.concat([one.frame for one in fits])
            frames.append(table)
            ids = part.windows["window_id"]
            after = dataclasses.replace(predictions, table=table).of_model(model, split, ids)
            written = [{"fold": one.fold, "seed": one.seed, **one.calibrator.to_json()} for one in fits]
            told.setdefault(model, {})[split] = {**_figures(part, part.said[model], after), "calibrators": written}
    return pl.concat(frames), {"kind": kind, "models": told}


def _fits(model: str, split: SplitName, data: Dataset, predictions: Predictions, kind: Kind) -> Iterator[Calibrated]:
    """A fit for each fold (or for the sealed test) and seed; none where some fold has nothing to learn from."""
    if not predictions.has(model, "oof"):
        return
    asked = {TEST_FOLD: data.test["window_id"]}
    if split == "oof":
        asked = {k: data.labels["window_id"][fold.held_out.tolist()] for k, fold in enumerate(data.folds)}
        nested = predictions.inner.filter(pl.col("model") == model)["outer"].unique()
        if not set(asked) <= set(nested):  # a figure over some of the folds could be compared with no other
            return
    for fold, ids in asked.items():
        windows = predictions.known_to(fold, data.labels)
        labels = data.class_numbers(windows["label"])
        for seed in predictions.seeds_of(model):
            learned = predictions.to_learn([model], fold, seed, windows["window_id"])[0]
            calibrator = fit_calibrator(kind, learned, labels)
            said = calibrator.apply(predictions.to_judge([model], fold, seed, ids)[0])
            yield Calibrated(
                fold, seed, calibrator, predictions_frame(Unit(model, seed), fold, ids, said, data.classes)
            )


def _figures(part: Judged, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    change = {name: written_estimate(compare(after, before, part.truth, part.weights, name)) for name in METRICS}
    return {"before": _of(part, before), "after": _of(part, after), "change": change}


def _of(part: Judged, said: np.ndarray) -> dict[str, Any]:
    """Figures, reliability diagram and parts of the Brier score, means over seeds."""
    bins, brier = reliability(said, part.truth), brier_decomposition(said, part.truth)
    figures = estimates(said, part.truth, part.weights, METRICS)
    return {
        "figures": {name: written_estimate(found) for name, found in figures.items()},
        "reliability": without_nan({name: values.tolist() for name, values in vars(bins).items()}),
        "brier_parts": {name: float(values.mean()) for name, values in vars(brier).items()},
    }
