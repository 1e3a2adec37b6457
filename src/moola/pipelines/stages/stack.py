"""Stacking (Wolpert 1992): a meta model on the base models' out-of-fold predictions, itself judged out of fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.config import RunConfig
from moola.evaluation.alarms import constant_predictor
from moola.evaluation.metrics import compute_metrics
from moola.layout import replace_atomically, write_json
from moola.models.meta import META_MODELS, MetaModel, SimplexMean
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import PREDICTION_FILES, Predictions
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.units import TEST_FOLD, Unit, predictions_frame

NAME = "stack"


@dataclass(frozen=True)
class Stack(Stage):
    """One prediction made of those of all bases that earned a place.

    For the sealed test the meta model learns from out-of-fold predictions. For each fold it learns from predictions of
    bases that knew nothing of that fold (`moola.pipelines.units.nested_plan`), and chooses its bases on them too, so
    that its out-of-fold figure is as honest as theirs. Learned from plain out-of-fold predictions of the other folds it
    is not: those bases had trained on the fold's labels, which on pure noise lifts a stack above its bases.

    Bases are taken once per seed; those without seeds are repeated.

    Attributes:
        meta: what combines them.
    """

    meta: MetaModel = field(default_factory=SimplexMean)
    name: ClassVar[str] = "stack"
    provides: ClassVar[str] = "stack"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof")
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"oof": PREDICTION_FILES}
    room: ClassVar[str] = "artifacts/models/ensemble"
    publishes: ClassVar[tuple[str, ...]] = ("stack.parquet",)
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"sklearn": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``stage.stack``: kind and keys of the meta model."""
        section = config.stage.get("stack") or {"kind": "simplex_mean"}
        return cls(META_MODELS.build_section(section, "stage.stack", key="kind"))

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``stack.parquet`` (predictions) and ``stack.json`` (what went in, what stayed out and why)."""
        from moola import schemas
        from moola.schemas import check

        data = Dataset.open(inputs)
        predictions = Predictions.open(inputs["oof"])
        asked = {number: data.labels["window_id"][fold.held_out.tolist()] for number, fold in enumerate(data.folds)}
        lessons = {number: learn_from(predictions, number, data) for number in asked}
        if not all(lesson.can_stack for lesson in lessons.values()):
            asked, lessons = {}, {}  # a figure over some of the folds could be compared with no other
        if len(data.test):
            lessons[TEST_FOLD] = learn_from(predictions, TEST_FOLD, data)
            asked |= {TEST_FOLD: data.test["window_id"]} if lessons[TEST_FOLD].can_stack else {}
        frames = [
            self._stack(seed, lessons[fold], ids, predictions, data)
            for fold, ids in asked.items()
            for seed in predictions.seeds
        ]
        table = pl.concat([predictions.table.clear(), *frames])
        table = check(table, schemas.predictions(data.classes), "the stacked predictions", "this is a defect")
        with replace_atomically(workspace.folder / "stack.parquet") as handle:
            table.write_parquet(handle)
        told = [
            {"fold": fold, "bases": lesson.bases, "left_out": lesson.left_out, "stacked": fold in asked}
            for fold, lesson in lessons.items()
        ]
        write_json(workspace.folder / "stack.json", {"lessons": told, "stacked": bool(frames)})

    def _stack(
        self, seed: int, lesson: Lesson, ids: pl.Series, predictions: Predictions, data: Dataset
    ) -> pl.DataFrame:
        """What the meta model of one seed says of one fold or of the sealed test."""
        learned = predictions.to_learn(lesson.bases, lesson.fold, seed, lesson.windows["window_id"])
        meta = self.meta.fit(learned, data.class_numbers(lesson.windows["label"]), seed)
        probabilities = meta(predictions.to_judge(lesson.bases, lesson.fold, seed, ids))
        return predictions_frame(Unit(NAME, seed, ()), lesson.fold, ids, probabilities, data.classes)


@dataclass(frozen=True)
class Lesson:
    """What a stack that is judged on one fold learns from.

    Attributes:
        fold: its number; `TEST_FOLD` for the sealed test.
        windows: labelled windows.
        bases: models that earned a place on them.
        left_out: why each of the others did not.
    """

    fold: int
    windows: pl.DataFrame
    bases: list[str]
    left_out: dict[str, str]

    @property
    def can_stack(self) -> bool:
        """Whether there is anything to combine."""
        return len(self.bases) > 1


def learn_from(predictions: Predictions, fold: int, data: Dataset) -> Lesson:
    """The windows that a stack may learn from, and the models that are worth it, judged on those windows alone.

    A model stays out where it is a control, has collapsed, or is not better than its control: than whatever knows
    nothing of the windows, and, where it starts from an encoder, than the probe of a random one.
    """
    windows = predictions.known_to(fold, data.labels)
    if not len(windows):
        return Lesson(fold, windows, [], {})
    labels = data.class_numbers(windows["label"])
    said = {
        model: np.stack(
            [predictions.to_learn([model], fold, seed, windows["window_id"])[0] for seed in predictions.seeds]
        )
        for model in predictions.models
    }
    bases, left_out = screen(said, predictions, labels)
    for model in list(bases):
        controls = [name for name in predictions.models if predictions.is_control_of(name, model)]
        better = {name: _balanced_accuracy(said[name], labels) for name in controls}
        own = _balanced_accuracy(said[model], labels)
        if beaten_by := [name for name, value in better.items() if own <= value]:
            bases.remove(model)
            left_out[model] = f"not better than {', '.join(beaten_by)}"
    return Lesson(fold, windows, bases, left_out)


def choose_bases(predictions: Predictions, data: Dataset) -> tuple[list[str], dict[str, str]]:
    """Models that are neither controls nor collapsed out of fold, and why each of the others is left out."""
    judged = predictions.judged(data.labels)
    said = {model: predictions.of_model(model, "oof", judged["window_id"]) for model in predictions.models}
    return screen(said, predictions, data.class_numbers(judged["label"]))


def screen(
    said: Mapping[str, np.ndarray], predictions: Predictions, labels: np.ndarray
) -> tuple[list[str], dict[str, str]]:
    """Models that are neither controls nor collapsed, and why each of the others is left out.

    Args:
        said: model -> probabilities [n_seeds, n, n_classes].
        predictions: for the roles.
        labels: as given, int64 [n].
    """
    bases: list[str] = []
    left_out: dict[str, str] = {}
    for model, probabilities in said.items():
        if predictions.role(model) == "control":
            left_out[model] = "control"
        elif constant_predictor(model, probabilities, labels, "oof"):
            left_out[model] = "collapsed"
        else:
            bases.append(model)
    return bases, left_out


def _balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(compute_metrics(probabilities, labels, names=("balanced_accuracy",))["balanced_accuracy"].mean())
