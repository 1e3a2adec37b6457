"""Stacking (Wolpert 1992): a meta model on the base models' out-of-fold predictions, itself judged out of fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.config import RunConfig, reject, structure
from moola.evaluation.alarms import constant_predictor
from moola.layout import replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import Predictions
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.stages.oof import TEST_FOLD, Unit, predictions_frame

NAME = "stack"


@dataclass(frozen=True)
class Stack(Stage):
    """Logistic regression on all base probabilities and three measures of their disagreement.

    The meta model of a fold is fitted on the out-of-fold rows of that fold's purged training windows. Base models are
    taken once per seed; those without seeds are repeated. Controls and collapsed models are left out.

    Attributes:
        c: inverse strength of the penalty.
    """

    c: float = 0.1
    name: ClassVar[str] = "stack"
    provides: ClassVar[str] = "stack"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof")
    room: ClassVar[str] = "artifacts/models/ensemble"
    packages: ClassVar[Mapping[str, str]] = {"sklearn": "evidence"}

    def __post_init__(self) -> None:
        reject((not 0 < self.c < float("inf"), f"c: {self.c} must be positive and finite"))

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``stage.stack``."""
        return structure(cls, config.stage.get("stack", {}), "stage.stack")

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``stack.parquet`` (predictions) and ``stack.json`` (what went in, what stayed out and why)."""
        from moola import schemas
        from moola.schemas.tables import check

        data = Dataset.open(inputs)
        predictions = Predictions.open(inputs["oof"])
        bases, left_out = choose_bases(predictions, data)
        frames: list[pl.DataFrame] = []
        if len(bases) > 1:
            for seed in predictions.seeds:
                frames += self._stack_seed(seed, bases, predictions, data)
        table = pl.concat(frames) if frames else pl.read_parquet(inputs["oof"].path("oof.parquet")).clear()
        table = check(table, schemas.predictions(data.classes), "the stacked predictions", "this is a defect")
        with replace_atomically(workspace.folder / "stack.parquet") as handle:
            table.write_parquet(handle)
        write_json(workspace.folder / "stack.json", {"bases": bases, "left_out": left_out, "stacked": bool(frames)})

    def _stack_seed(self, seed: int, bases: list[str], predictions: Predictions, data: Dataset) -> list[pl.DataFrame]:
        from moola.models.classical import linear_probe

        features = meta_features(predictions.of_seed(bases, "oof", seed, data.labels["window_id"]))
        given = data.class_numbers(data.labels["label"])
        frames: list[pl.DataFrame] = []
        for number, fold in enumerate(data.folds):
            meta = linear_probe(self.c).fit(features[fold.train], given[fold.train])
            ids = data.labels["window_id"][fold.held_out.tolist()]
            found = _spread(meta, features[fold.held_out], len(data.classes))
            frames.append(predictions_frame(Unit(NAME, seed, number, fold.train), ids, found, data.classes))
        if len(data.test):
            meta = linear_probe(self.c).fit(features, given)
            ids = data.test["window_id"]
            test = meta_features(predictions.of_seed(bases, "test", seed, ids))
            found = _spread(meta, test, len(data.classes))
            frames.append(
                predictions_frame(Unit(NAME, seed, TEST_FOLD, np.arange(len(given))), ids, found, data.classes)
            )
        return frames


def choose_bases(predictions: Predictions, data: Dataset) -> tuple[list[str], dict[str, str]]:
    """Models to stack, and why each of the others stays out; judged on out-of-fold predictions alone."""
    bases: list[str] = []
    left_out: dict[str, str] = {}
    for model in predictions.models:
        probabilities = predictions.of_model(model, "oof", data.labels["window_id"])
        if predictions.role(model) == "control":
            left_out[model] = "control"
        elif constant_predictor(model, probabilities, data.class_numbers(data.labels["label"]), "out of fold"):
            left_out[model] = "collapsed"
        else:
            bases.append(model)
    return bases, left_out


def meta_features(probabilities: np.ndarray) -> np.ndarray:
    """Base probabilities and their disagreement.

    Args:
        probabilities: float [n_models, n_windows, n_classes].

    Returns:
        float [n_windows, n_models * n_classes + 3]: all probabilities, then the standard deviation over models of the
        largest probability, the entropy of the mean, and the largest confidence of any model.
    """
    confidence = probabilities.max(axis=2)
    mean = probabilities.mean(axis=0).clip(1e-12, 1.0)
    disagreement = [confidence.std(axis=0), -(mean * np.log(mean)).sum(axis=1), confidence.max(axis=0)]
    flat = probabilities.transpose(1, 0, 2).reshape(probabilities.shape[1], -1)
    return np.column_stack([flat, *disagreement])


def _spread(meta: Any, features: np.ndarray, n_classes: int) -> np.ndarray:
    probabilities = np.zeros((len(features), n_classes))
    probabilities[:, meta.classes_] = meta.predict_proba(features)
    return probabilities
