"""Stacking (Wolpert 1992): a meta model on the base models' out-of-fold predictions, judged on the sealed test."""

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

    There is no out-of-fold figure of the stack. Its meta model would be fitted on predictions of base models that had
    trained on the labels of the fold it is judged on, and on noise that alone lifts it above its bases; an honest one
    needs every base model refitted inside every fold. Base models are taken once per seed; those without seeds are
    repeated. Controls and collapsed models are left out.

    Attributes:
        c: inverse strength of the penalty.
    """

    c: float = 0.1
    name: ClassVar[str] = "stack"
    provides: ClassVar[str] = "stack"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof")
    room: ClassVar[str] = "artifacts/models/ensemble"
    needs_labels: ClassVar[bool] = True
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
        from moola.schemas import check

        data = Dataset.open(inputs)
        predictions = Predictions.open(inputs["oof"])
        bases, left_out = choose_bases(predictions, data)
        stacked = len(bases) > 1 and len(data.test) > 0
        frames = [self._stack(seed, bases, predictions, data) for seed in predictions.seeds] if stacked else []
        table = pl.concat(frames) if frames else pl.read_parquet(inputs["oof"].path("oof.parquet")).clear()
        table = check(table, schemas.predictions(data.classes), "the stacked predictions", "this is a defect")
        with replace_atomically(workspace.folder / "stack.parquet") as handle:
            table.write_parquet(handle)
        write_json(workspace.folder / "stack.json", {"bases": bases, "left_out": left_out, "stacked": stacked})

    def _stack(self, seed: int, bases: list[str], predictions: Predictions, data: Dataset) -> pl.DataFrame:
        """Predictions of the sealed test by a meta model fitted on all out-of-fold rows of one seed."""
        from moola.models.classical import linear_probe

        judged = predictions.judged(data.labels)
        features = meta_features(predictions.of_seed(bases, "oof", seed, judged["window_id"]))
        meta = linear_probe(self.c).fit(features, data.class_numbers(judged["label"]))
        ids = data.test["window_id"]
        test = meta_features(predictions.of_seed(bases, "test", seed, ids))
        probabilities = np.zeros((len(test), len(data.classes)))
        probabilities[:, meta.classes_] = meta.predict_proba(test)
        unit = Unit(NAME, seed, TEST_FOLD, np.arange(len(features)))
        return predictions_frame(unit, ids, probabilities, data.classes)


def choose_bases(predictions: Predictions, data: Dataset) -> tuple[list[str], dict[str, str]]:
    """Models to stack, and why each of the others stays out; judged on out-of-fold predictions alone."""
    bases: list[str] = []
    left_out: dict[str, str] = {}
    judged = predictions.judged(data.labels)
    labels = data.class_numbers(judged["label"])
    for model in predictions.models:
        probabilities = predictions.of_model(model, "oof", judged["window_id"])
        if predictions.role(model) == "control":
            left_out[model] = "control"
        elif constant_predictor(model, probabilities, labels, "oof"):
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
