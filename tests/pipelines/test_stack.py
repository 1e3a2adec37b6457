"""A stack learns from what knew nothing of the fold it is judged on, and takes no base that is worth nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.data.splits import Fold
from moola.layout import read_json
from moola.models.controls import Majority
from moola.models.meta import LogisticMeta
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import Predictions
from moola.pipelines.stages.oof import nested_frame
from moola.pipelines.stages.stack import Lesson, Made, Recipe, learn_from
from moola.pipelines.units import Unit, nested_plan, nested_rows, plan_units, predictions_frame

CLASSES = ("a", "b")
N, K = 150, 5


def nearest(train: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Share of class b among the 15 nearest of two noise inputs."""
    order = np.argsort(((asked[:, None] - train[None]) ** 2).sum(axis=-1), axis=1)[:, :15]
    return (labels[order].sum(axis=1) + 1) / 17


def frequency(train: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Share of class b, whatever is asked."""
    return np.full(len(asked), labels.mean())


def out_of_fold(seed: int) -> tuple[np.ndarray, list[Fold], Predictions]:
    """Noise inputs, labels that come in runs of ten, and what two bases say, fitted by the plan of the stage."""
    rng = np.random.default_rng(seed)
    inputs, labels = rng.normal(size=(N, 2)), np.repeat(rng.integers(0, 2, N // 10), 10)
    rows = np.arange(N)
    folds = [Fold(np.setdiff1d(rows, block), block) for block in np.array_split(rows, K)]
    ids = pl.Series([f"w{row:03d}" for row in rows])
    bases = {"nearest": nearest, "frequency": frequency}
    plain, inner = [], []
    plan = nested_plan(folds, labels)
    for unit in plan_units(dict.fromkeys(bases, Majority()), (0,), folds, plan, sealed=False):
        train, asked = unit.train(folds, labels), unit.predicted(folds)
        up = bases[unit.model](inputs[train], labels[train], inputs[asked])
        said = np.stack([1 - up, up], axis=1)
        if len(unit.left_out) == 1:
            plain.append(predictions_frame(unit, unit.left_out[0], ids[asked.tolist()], said, CLASSES))
        for outer, number, some, places in nested_rows(folds, plan, unit):
            frame = predictions_frame(unit, number, ids[some.tolist()], said[places], CLASSES)
            inner.append(nested_frame(frame, outer))
    kinds = {name: {"role": "model", "deterministic": True, "encoder": False} for name in bases}
    return labels, folds, Predictions(pl.concat(plain), kinds, CLASSES, pl.concat(inner))


def stacked_accuracies(seed: int) -> list[float]:
    """Balanced accuracy out of fold of a stack on noise: as the stage learns it, and learned from plain predictions."""
    labels, folds, predictions = out_of_fold(seed)
    models, meta = predictions.models, LogisticMeta(c=10.0)
    table = pl.DataFrame({"window_id": [f"w{row:03d}" for row in range(N)], "label": np.array(CLASSES)[labels]})
    data: Any = SimpleNamespace(
        labels=table,
        folds=folds,
        classes=CLASSES,
        class_numbers=lambda names: (np.array(names.to_list()) == CLASSES[1]).astype(np.int64),
    )
    right = np.zeros((2, N), dtype=bool)
    for number, fold in enumerate(folds):
        known, ids = table[fold.train.tolist()], table["window_id"][fold.held_out.tolist()]
        made = Made.by(Recipe(meta), {number: Lesson(number, known, models, {})})
        nested = made.predict(Unit("stack", 0), number, predictions, data)
        plain = meta.fit(predictions.of_seed(models, "oof", 0, known["window_id"]), labels[fold.train], 0)
        unnested = plain(predictions.to_judge(models, number, 0, ids))[:, 1]
        for answers, said in zip(right, (nested["prob_b"].to_numpy(), unnested), strict=True):
            answers[fold.held_out] = (said > 0.5) == labels[fold.held_out]
    return [float(np.mean([answers[labels == label].mean() for label in (0, 1)])) for answers in right]


def test_on_noise_a_nested_stack_is_not_better_than_chance_and_one_that_is_not_nested_is() -> None:
    found = np.array([stacked_accuracies(seed) for seed in range(8)])
    means, errors = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert means[0] < 0.5 + 2 * errors[0]
    assert means[1] > 0.5 + 3 * errors[1], "nothing would be gained by nesting"


@pytest.fixture(scope="module")
def finished(
    planted_run: Callable[..., Mapping[str, Artifact]], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Artifact]:
    """Two models that know something, one of which alone has a base that is worth nothing beside it."""
    rng = np.random.default_rng(5)
    labels = [str(name) for name in rng.choice(["down", "up"], 324)]
    signs = np.where(np.array(labels) == "up", 1.0, -1.0)
    closes = rng.normal(size=(324, 8))
    closes[:, 1] += 1.2 * signs
    closes[:, 7] += 1.2 * signs
    return planted_run(tmp_path_factory.mktemp("stacked"), closes, labels, sentinels=False)


def test_bases_that_know_something_are_stacked_and_judged_out_of_fold(finished: Mapping[str, Artifact]) -> None:
    told = read_json(finished["stack"].path("stack.json"))["stack"]
    assert told["stacked"] and [lesson["fold"] for lesson in told["lessons"]] == [0, 1, 2, 3, 4, -1]
    for lesson in told["lessons"]:
        assert set(lesson["bases"]) <= {"finetuned", "scratch", "logistic_regression"} and len(lesson["bases"]) > 1
        assert lesson["left_out"]["majority"] == "control"
    predictions = Predictions.open(finished["oof"], finished["stack"])
    judged = predictions.judged(Dataset.open(finished).labels)
    assert predictions.has("stack", "oof") and predictions.has("stack", "test")
    assert predictions.of_model("stack", "oof", judged["window_id"]).shape == (1, 174, 2)


def test_a_base_that_is_not_better_than_its_control_stays_out(finished: Mapping[str, Artifact]) -> None:
    data, predictions = Dataset.open(finished), Predictions.open(finished["oof"])
    own = predictions.table.filter(pl.col("model") == "scratch")
    wrong = own.with_columns(prob_down="prob_up", prob_up="prob_down")
    for made, why in ((wrong, "not better than majority"), (own.with_columns(prob_down=0.3, prob_up=0.7), "collapsed")):
        table = pl.concat([predictions.table.filter(pl.col("model") != "scratch"), made])
        lesson = learn_from(Predictions(table, predictions.kinds, predictions.classes, predictions.inner), -1, data)
        assert lesson.left_out["scratch"] == why and "finetuned" in lesson.bases


def test_a_stack_may_be_the_best_model_by_its_own_figure_out_of_fold(
    finished: Mapping[str, Artifact], summary_of: Callable[[Any], Any]
) -> None:
    found = summary_of(finished)
    oof = found.scores.figures["oof"]
    best = max(("finetuned", "scratch", "stack"), key=lambda model: oof[model]["balanced_accuracy"].value)
    assert found.verdict[1].startswith({"stack": "Stack", "finetuned": "Fine-tuned", "scratch": "Same"}[best])
    assert [one.stack for one in found.scores.stacks] == ["Stack"]


def test_with_one_base_there_is_no_stack(
    planted_run: Callable[..., Mapping[str, Artifact]],
    planted_models: Callable[[], dict[str, Any]],
    noise: Callable[[int], Any],
    tmp_path: Path,
    summary_of: Callable[[Any], Any],
) -> None:
    alone = {name: model for name, model in planted_models().items() if name in ("finetuned", "majority")}
    artifacts = planted_run(tmp_path, *noise(4), models=alone, sentinels=False)
    assert not read_json(artifacts["stack"].path("stack.json"))["stack"]["stacked"]
    assert not summary_of(artifacts).scores.stacks
