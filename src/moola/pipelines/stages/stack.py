"""Stacking (Wolpert 1992): a meta model on the base models' out-of-fold predictions, itself judged out of fold."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.config import ConfigProblems, RunConfig, structure
from moola.errors import did_you_mean
from moola.evaluation.alarms import constant_predictor
from moola.evaluation.metrics import compute_metrics
from moola.layout import replace_atomically, write_json
from moola.models import MODELS
from moola.models.meta import META_MODELS, MetaModel, SimplexMean
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import PREDICTION_FILES, Predictions
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.units import TEST_FOLD, Unit, predictions_frame


@dataclass(frozen=True)
class Recipe:
    """One stack.

    Attributes:
        meta: what combines the bases.
        without: names of models that are none of its bases, whatever they are worth.
    """

    meta: MetaModel = field(default_factory=SimplexMean)
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stack(Stage):
    """Stacks: each makes one prediction of those of all its bases that earned a place.

    For the sealed test the meta model learns from out-of-fold predictions. For each fold it learns from predictions of
    bases that knew nothing of that fold (`moola.pipelines.units.nested_plan`), and chooses its bases on them too, so
    that its out-of-fold figure is as honest as theirs. Learned from plain out-of-fold predictions of the other folds it
    is not: those bases had trained on the fold's labels, which on pure noise lifts a stack above its bases.

    Bases are taken once per seed; those without seeds are repeated.

    Attributes:
        stacks: name -> how it is made.
    """

    stacks: dict[str, Recipe] = field(default_factory=lambda: {"stack": Recipe()})
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
        """``stage.stack``: name -> kind and keys of the meta model, and ``without``, names or kinds of models.

        Raises:
            ConfigError: every problem of every stack in one go.
        """
        problems = ConfigProblems()
        section = config.stage.get("stack", {})
        kinds = {name: keys.get("kind", "") for name, keys in config.model.items() if isinstance(keys, Mapping)}
        recipes = {
            name: problems.attempt(lambda name=name, values=values: _recipe(name, values, kinds))
            for name, values in section.items()
        }
        problems += [
            f"model.{name}: this name belongs to a stack; choose another" for name in section if name in config.model
        ]
        if problems:
            raise problems.error()
        return cls({name: recipe for name, recipe in recipes.items() if recipe is not None})

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``stack.parquet`` (predictions) and ``stack.json``.

        ``stack.json``: stack -> what went into it and what stayed out and why, fold by fold, and whether it was made.
        """
        from moola import schemas
        from moola.schemas import check

        data = Dataset.open(inputs)
        predictions = Predictions.open(inputs["oof"])
        folds = [*range(len(data.folds)), *([TEST_FOLD] if len(data.test) else [])]
        lessons = {fold: learn_from(predictions, fold, data) for fold in folds}
        made = {
            name: Made.by(recipe, {fold: lesson.without(recipe.without) for fold, lesson in lessons.items()})
            for name, recipe in self.stacks.items()
        }
        frames = [
            stack.predict(Unit(name, seed), fold, predictions, data)
            for name, stack in made.items()
            for fold in stack.judged
            for seed in predictions.seeds
        ]
        table = pl.concat([predictions.table.clear(), *frames])
        table = check(table, schemas.predictions(data.classes), "the stacked predictions", "this is a defect")
        with replace_atomically(workspace.folder / "stack.parquet") as handle:
            table.write_parquet(handle)
        write_json(workspace.folder / "stack.json", {name: stack.to_json() for name, stack in made.items()})


def _recipe(name: str, values: Mapping[str, Any], kinds: Mapping[str, str]) -> Recipe:
    """A stack from its keys.

    Args:
        name: of the stack.
        values: its keys.
        kinds: model of the run -> kind.

    Raises:
        ConfigError: every problem of them.
    """
    problems = ConfigProblems()
    path = f"stage.stack.{name}"
    own = {key: value for key, value in values.items() if key != "without"}
    meta = problems.attempt(lambda: META_MODELS.build_section(own, path, key="kind"))
    section = problems.attempt(lambda: structure(_Without, {"without": values.get("without", ())}, path))
    unwanted = set(section.without) if section else set()
    # Kinds are names that always exist, so one list serves runs with other models, too.
    known = {*kinds, *MODELS.names()}
    problems += [
        f"{path}.without: there is no model or kind '{one}'; {did_you_mean(one, known)}"
        for one in sorted(unwanted - known)
    ]
    if meta is None or problems:
        raise problems.error()
    return Recipe(meta, tuple(model for model, kind in kinds.items() if {model, kind} & unwanted))


@dataclass(frozen=True)
class _Without:
    without: tuple[str, ...] = ()


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

    def without(self, models: Collection[str]) -> Lesson:
        """The same for a stack that has no use for some models."""
        bases = [name for name in self.bases if name not in models]
        unwanted = {name: "not among the bases of this stack" for name in self.bases if name in models}
        return dataclasses.replace(self, bases=bases, left_out={**self.left_out, **unwanted})


@dataclass(frozen=True)
class Made:
    """A stack with what it learns for each fold.

    Attributes:
        meta: what combines the bases.
        lessons: number of a fold, or `TEST_FOLD` -> what it learns from.
        judged: those of them that it predicts.
    """

    meta: MetaModel
    lessons: Mapping[int, Lesson]
    judged: tuple[int, ...]

    @classmethod
    def by(cls, recipe: Recipe, lessons: Mapping[int, Lesson]) -> Self:
        """A figure over some of the folds could be compared with no other: so all of them are predicted, or none."""
        folds = [fold for fold in lessons if fold != TEST_FOLD]
        judged = folds if all(lessons[fold].can_stack for fold in folds) else []
        sealed = [TEST_FOLD] if TEST_FOLD in lessons and lessons[TEST_FOLD].can_stack else []
        return cls(recipe.meta, lessons, (*judged, *sealed))

    def predict(self, unit: Unit, fold: int, predictions: Predictions, data: Dataset) -> pl.DataFrame:
        """What the meta model of one seed says of one fold or of the sealed test."""
        lesson = self.lessons[fold]
        learned = predictions.to_learn(lesson.bases, fold, unit.seed, lesson.windows["window_id"])
        meta = self.meta.fit(learned, data.class_numbers(lesson.windows["label"]), unit.seed)
        rows = data.test if fold == TEST_FOLD else data.labels[data.folds[fold].held_out.tolist()]
        said = meta(predictions.to_judge(lesson.bases, fold, unit.seed, rows["window_id"]))
        return predictions_frame(unit, fold, rows["window_id"], said, data.classes)

    def to_json(self) -> dict[str, Any]:
        """What ``stack.json`` says of it."""
        told = [
            {"fold": fold, "bases": lesson.bases, "left_out": lesson.left_out, "stacked": fold in self.judged}
            for fold, lesson in self.lessons.items()
        ]
        return {"lessons": told, "stacked": bool(self.judged)}


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
