"""What the stage evaluate leaves: calibrated predictions, prediction sets, figures by class, tables, clear errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from moola.data.splits import Fold
from moola.errors import ConfigError, DataError, StorageError
from moola.evaluation.estimates import Estimate
from moola.evaluation.metrics import compute_metrics
from moola.labels import POINTER_COLUMNS
from moola.labels.events import LabelEvent, LabelLog
from moola.labels.queue import QUEUE_FILE, read_queue
from moola.layout import digest_file, read_json, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.calibrating import calibrate
from moola.pipelines.class_figures import class_figures
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.judged import EvaluationConfig, judged_splits
from moola.pipelines.leaderboard import latex_escaped, leaderboard, leaderboard_latex
from moola.pipelines.pointer_figures import pointer_figures
from moola.pipelines.prediction_sets import score_prediction_sets
from moola.pipelines.predictions import Predictions
from moola.pipelines.scores import Scores
from moola.pipelines.scoring import score
from moola.pipelines.stage import Workspace
from moola.pipelines.stages.evaluate import Evaluate
from moola.pipelines.stages.label_issues import LabelIssues
from moola.pipelines.units import TEST_FOLD, Unit, predictions_frame

CLASSES, N, N_TEST, FOLDS = ("down", "up"), 300, 400, 3
CONFIG = EvaluationConfig(n_resamples=200)


def sharpened(up: np.ndarray, power: float) -> np.ndarray:
    """Probabilities raised to a power and divided by their sum."""
    return up**power / (up**power + (1 - up) ** power)


class Planted:
    """Labels drawn with known probabilities; one model says them, one says them far too sure, one is a control."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n = N + N_TEST
        chance = rng.uniform(0.02, 0.98, n)
        truth = np.where(rng.random(n) < chance, "up", "down").tolist()
        ids = [f"w{row:03d}" for row in range(n)]
        table = pl.DataFrame({"window_id": ids, "label": truth, "true_label": truth, "step": np.arange(n)})
        blocks = np.array_split(np.arange(N), FOLDS)
        self.data: Any = SimpleNamespace(
            labels=table[:N].with_columns(planted=False),
            test=table[N:],
            folds=[Fold(np.setdiff1d(np.arange(N), block), block) for block in blocks],
            span=1,
            store=SimpleNamespace(independent=True),
            every_label_given=True,
            classes=CLASSES,
            class_numbers=lambda names: np.array([CLASSES.index(name) for name in names]),
        )
        says = {"honest": chance, "loud": sharpened(chance, 8), "majority": np.full(n, 0.5)}
        frames, inner = [], []
        for model, up in says.items():
            said, unit = np.stack([1 - up, up], axis=1), Unit(model, 0)
            frames.append(predictions_frame(unit, TEST_FOLD, table["window_id"][N:], said[N:], CLASSES))
            for number, block in enumerate(blocks):
                frame = predictions_frame(unit, number, table["window_id"][block.tolist()], said[block], CLASSES)
                frames.append(frame)
                others = (outer for outer in range(FOLDS) if outer != number)
                inner += [
                    frame.drop("split").insert_column(3, pl.Series("outer", [outer] * len(block))) for outer in others
                ]
        roles = {"honest": "model", "loud": "model", "majority": "control"}
        kinds = {m: {"role": role, "deterministic": True, "encoder": False} for m, role in roles.items()}
        self.predictions = Predictions(pl.concat(frames), kinds, CLASSES, pl.concat(inner))
        self.judged = judged_splits(self.data, self.predictions, CONFIG)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


# Calibration.


def test_scores_that_are_too_sure_are_alarmed_and_mended_and_honest_ones_are_left_alone(planted: Planted) -> None:
    alarms = score(planted.data, planted.predictions, planted.judged, 1).alarms.alarms
    assert [alarm.model for alarm in alarms if alarm.code == "overconfident"] == ["loud"]
    _, told = calibrate(planted.data, planted.predictions, planted.judged, "temperature")
    assert set(told["models"]) == {"honest", "loud"}
    for split in ("oof", "test"):
        honest, loud = (told["models"][model][split] for model in ("honest", "loud"))
        for metric in ("ece", "log_loss", "brier"):
            assert loud["change"][metric]["high"] < 0
            assert honest["change"][metric]["high"] > 0 > honest["change"][metric]["low"] - 0.02
            assert abs(loud["after"]["figures"][metric]["value"] - honest["after"]["figures"][metric]["value"]) < 0.02
        assert loud["after"]["brier_parts"]["reliability"] < loud["before"]["brier_parts"]["reliability"]
        assert sum(loud["after"]["reliability"]["count"]) == {"oof": N, "test": N_TEST}[split]
    temperatures = [one["parameters"]["temperature"][0] for one in loud["calibrators"]]
    assert 6 < temperatures[0] < 10 and loud["calibrators"][0]["fold"] == TEST_FOLD
    assert [one["fold"] for one in told["models"]["loud"]["oof"]["calibrators"]] == [0, 1, 2]


@pytest.mark.parametrize("kind", ["none", "isotonic", "beta"])
def test_every_kind_of_calibration_gives_probabilities_of_all_windows(planted: Planted, kind: Any) -> None:
    table, told = calibrate(planted.data, planted.predictions, planted.judged, kind)
    assert len(table) == 2 * (N + N_TEST) and told["kind"] == kind
    np.testing.assert_allclose(table["prob_up"] + table["prob_down"], 1.0)
    change = told["models"]["loud"]["test"]["change"]["log_loss"]
    assert (change["high"] < 0) == (kind != "none")


def test_labels_of_a_fold_have_no_say_in_its_calibration(planted: Planted) -> None:
    """What is judged out of fold is calibrated on nested predictions and on the labels of other folds alone."""
    data, block = planted.data, planted.data.folds[1].held_out
    flipped = np.array(data.labels["label"].to_list())
    flipped[block] = np.where(flipped[block] == "up", "down", "up")
    other = SimpleNamespace(**{**vars(data), "labels": data.labels.with_columns(label=pl.Series(flipped))})
    first, second = (
        calibrate(some, planted.predictions, planted.judged, "temperature")[0]
        for some in (data, other)  # type: ignore[arg-type]
    )
    same = {fold: first.filter(fold=fold).equals(second.filter(fold=fold)) for fold in (0, 1, 2, TEST_FOLD)}
    assert same == {0: False, 1: True, 2: False, TEST_FOLD: False}


def test_what_is_judged_out_of_fold_is_calibrated_on_nested_predictions(planted: Planted) -> None:
    said = sharpened(planted.predictions.inner["prob_up"].to_numpy(), 2)
    inner = planted.predictions.inner.with_columns(prob_up=pl.Series(said), prob_down=pl.Series(1 - said))
    other = dataclasses.replace(planted.predictions, inner=inner)
    first, second = (
        calibrate(planted.data, some, planted.judged, "temperature")[1]["models"]["honest"]
        for some in (planted.predictions, other)
    )
    temperatures = [
        [one["parameters"]["temperature"][0] for split in ("oof", "test") for one in told[split]["calibrators"]]
        for told in (first, second)
    ]
    np.testing.assert_allclose(temperatures[1], np.array(temperatures[0]) * [2, 2, 2, 1], rtol=1e-3)


def test_without_nested_predictions_only_the_sealed_test_is_calibrated(planted: Planted) -> None:
    for inner in (planted.predictions.inner.clear(), planted.predictions.inner.filter(pl.col("outer") > 0)):
        predictions = dataclasses.replace(planted.predictions, inner=inner)
        table, told = calibrate(planted.data, predictions, planted.judged, "temperature")
        assert set(table["split"]) == {"test"} and set(told["models"]["loud"]) == {"test"}


# Prediction sets, figures by class, pointers.


def test_prediction_sets_cover_what_they_say_and_too_few_labels_are_told(planted: Planted) -> None:
    told = score_prediction_sets(planted.predictions, planted.judged, 0.9)
    assert set(told["models"]) == {"honest", "loud"}
    for kinds in told["models"].values():
        for kind in ("marginal", "by_class"):
            found = kinds[kind]
            assert found["coverage"]["low"] - 0.02 < 0.9 < found["coverage"]["high"] + 0.02
            assert 1 < found["mean_size"]["value"] < 2
        assert min(kinds["by_class"]["by_class"]) > 0.85
    oof = planted.judged["oof"]
    few = dataclasses.replace(oof, given=oof.given[:6], said={m: p[:, :6] for m, p in oof.said.items()})
    told = score_prediction_sets(planted.predictions, {**planted.judged, "oof": few}, 0.9)
    assert "needs 9 labels, there are 6" in told["models"]["honest"]["marginal"]["why"]
    assert score_prediction_sets(planted.predictions, {"oof": oof}, 0.9) == {"coverage": 0.9, "models": {}}


def test_figures_by_class_are_those_of_the_confusion_matrix(planted: Planted) -> None:
    told = class_figures(planted.judged, CLASSES)
    found = told["splits"]["test"]["honest"]
    matrix = np.array(found["confusion"])
    assert matrix.sum() == N_TEST and told["classes"] == list(CLASSES)
    for number, name in enumerate(CLASSES):
        own = found["figures"][name]
        assert own["n"] == matrix[number].sum()
        assert own["recall"]["value"] == pytest.approx(matrix[number, number] / matrix[number].sum())
        assert own["precision"]["value"] == pytest.approx(matrix[number, number] / matrix[:, number].sum())
        assert own["f1"]["low"] < own["f1"]["value"] < own["f1"]["high"]
    never = told["splits"]["test"]["majority"]["figures"]["up"]
    assert never["precision"]["value"] is None and never["recall"]["value"] == 0


def pointers_of(planted: Planted, folder: Path, off: int) -> tuple[Any, Artifact]:
    """Data whose every second sealed window is marked, and what a classifier of two seeds says of them."""
    marks = [None if row % 2 else 10 + row % 7 for row in range(N_TEST)]
    test = planted.data.test.with_columns(
        pl.Series(POINTER_COLUMNS[0], marks, dtype=pl.Int64),
        pl.Series(POINTER_COLUMNS[1], [mark and mark + 9 for mark in marks], dtype=pl.Int64),
    )
    said = test.select("window_id", pl.col(POINTER_COLUMNS).fill_null(0) + off)
    seeds = [said.insert_column(1, pl.Series("seed", [seed] * N_TEST)) for seed in (0,)]
    seeds.append(seeds[0].with_columns(seed=pl.lit(1, dtype=pl.Int64)))
    pl.concat(seeds).write_parquet(folder / "pointers.parquet")
    classifier = Artifact("finetune", "0", "1", folder, {"files": {"pointers.parquet": ""}})
    changed = {"test": test, "table": test, "windows": SimpleNamespace(length=40)}
    return SimpleNamespace(**{**vars(planted.data), **changed}), classifier


@pytest.mark.parametrize(("off", "hit", "mae"), [(0, 1.0, 0.0), (2, 1.0, 2.0), (5, 0.0, 5.0)])
def test_pointers_are_scored_where_windows_are_marked(
    planted: Planted, tmp_path: Path, off: int, hit: float, mae: float
) -> None:
    data, classifier = pointers_of(planted, tmp_path, off)
    told = pointer_figures(data, planted.predictions, classifier, CONFIG)
    assert told is not None and told["model"] == "classifier"
    figures = told["figures"]
    assert (figures["hit"]["value"], figures["mae"]["value"]) == (hit, mae)
    assert figures["hit"]["n"] == N_TEST // 2 and figures["hit"]["seeds"] == 2
    assert pointer_figures(data, planted.predictions, None, CONFIG) is None
    unmarked = SimpleNamespace(**{**vars(data), "table": planted.data.test})
    assert pointer_figures(unmarked, planted.predictions, classifier, CONFIG) is None  # type: ignore[arg-type]


# The leaderboard, and the stage as a whole.


def test_the_leaderboard_is_a_table_for_programs_and_one_for_papers(planted: Planted) -> None:
    scores = score(planted.data, planted.predictions, planted.judged, 1)
    table = leaderboard(scores, planted.predictions)
    first = table.row(0, named=True)
    assert first["split"] == "test" and first["role"] == "model" and len(table) == 6
    found = scores.figures["test"][first["model"]]["balanced_accuracy"]
    assert (first["balanced_accuracy"], first["balanced_accuracy_low"]) == (found.value, found.low)
    assert table.filter(split="test")["balanced_accuracy"].is_sorted(descending=True)
    latex = leaderboard_latex(scores, planted.predictions)
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 + 6 and {line.count("&") for line in rows} == {4}
    assert "Majority class (control) & 0.500 [0.500, 0.500]" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == latex.count(r"\bottomrule") == 1
    assert latex_escaped(r"50_% of a\b & #1 {x} $~^") == (
        r"50\_\% of a\textbackslash{}b \& \#1 \{x\} \$\textasciitilde{}\textasciicircum{}"
    )


Artifacts = Mapping[str, Artifact]


@pytest.fixture(scope="module")
def finished(
    planted_run: Callable[..., Artifacts], noise: Callable[[int], Any], tmp_path_factory: pytest.TempPathFactory
) -> Artifacts:
    return planted_run(tmp_path_factory.mktemp("finished"), *noise(6), sentinels=False)


def test_the_stage_leaves_everything_that_it_announces(finished: Artifacts) -> None:
    evaluation = finished["evaluation"]
    assert set(Evaluate.publishes) <= set(evaluation.manifest["files"])
    assert "pointers.json" not in evaluation.manifest["files"]
    scores = Scores.from_json(read_json(evaluation.path("scores.json")))
    table = pl.read_csv(evaluation.path("leaderboard.csv"))
    assert set(table["model"]) == set(scores.figures["test"])
    calibrated = pl.read_parquet(evaluation.path("calibrated.parquet"))
    assert set(calibrated.filter(split="oof")["model"]) == {"finetuned", "scratch", "logistic_regression"}
    data, predictions = Dataset.open(finished), Predictions.open(finished["oof"], finished["stack"])
    said = dataclasses.replace(predictions, table=calibrated).of_model("finetuned", "test", data.test["window_id"])
    after = read_json(evaluation.path("calibration.json"))["models"]["finetuned"]["test"]["after"]["figures"]
    loss = compute_metrics(said, data.class_numbers(data.test["true_label"]), names=("log_loss",))["log_loss"][0, 0]
    assert after["log_loss"]["value"] == pytest.approx(loss)


# Bad input.


def changed(finished: Artifacts, folder: Path, table: pl.DataFrame, classes: tuple[str, ...] = CLASSES) -> Artifact:
    """The artifact ``oof`` with another table, changed behind the back of the store."""
    before = finished["oof"].folder
    write_json(folder / "models.json", {**read_json(before / "models.json"), "classes": list(classes)})
    table.write_parquet(folder / "oof.parquet")
    pl.read_parquet(before / "nested.parquet").write_parquet(folder / "nested.parquet")
    files = {path.name: digest_file(path) for path in folder.iterdir()}
    return Artifact("oof", "0", "1", folder, {"files": files})


TURNED = {"prob_down": "prob_up", "prob_up": "prob_down"}


def test_predictions_that_lack_a_model_or_stand_twice_or_in_another_order_are_refused_in_one_go(
    finished: Artifacts, tmp_path: Path
) -> None:
    table = pl.read_parquet(finished["oof"].path("oof.parquet"))
    assert len(Predictions.open(changed(finished, tmp_path, table)).models) == 4
    wrong = pl.concat([table.filter(pl.col("model") != "scratch"), table.head(2)]).rename(TURNED)
    with pytest.raises(StorageError, match="the predictions of stage 'oof' cannot be used") as caught:
        Predictions.open(changed(finished, tmp_path, wrong))
    assert "- scratch has no prediction" in caught.value.why
    assert "- its classes are prob_up, prob_down, in models.json they are prob_down, prob_up" in caught.value.why
    assert "- 4 rows stand there more than once, of the windows bars_" in caught.value.why
    assert caught.value.way_out == "predict again with --force=oof"


def test_predictions_of_classes_in_another_order_than_the_labels_are_refused(
    finished: Artifacts, tmp_path: Path
) -> None:
    table = pl.read_parquet(finished["oof"].path("oof.parquet")).rename(TURNED)
    turned = Predictions.open(changed(finished, tmp_path, table, ("up", "down")))
    with pytest.raises(StorageError, match="of other classes than the labels") as caught:
        judged_splits(Dataset.open(finished), turned, CONFIG)
    assert "predictions: up, down; labels: down, up" in caught.value.why


def test_label_issues_of_collapsed_models_are_refused_with_the_reason_of_each(
    finished: Artifacts, tmp_path: Path
) -> None:
    table = pl.read_parquet(finished["oof"].path("oof.parquet"))
    constant = table.with_columns(prob_down=pl.lit(0.4), prob_up=pl.lit(0.6))
    inputs = {**finished, "oof": changed(finished, tmp_path, constant)}
    with pytest.raises(DataError, match="no model is left that could judge the labels") as caught:
        LabelIssues().run(inputs, Workspace(tmp_path, "run", "label_issues", EventLog(), tmp_path))
    assert "- finetuned: collapsed" in caught.value.why and "- majority: control" in caught.value.why


def issues_of(finished: Artifacts, folder: Path, log: Path | None = None) -> pl.DataFrame:
    """The review queue, made anew in a folder."""
    stage = LabelIssues(None if log is None else str(log))
    stage.run(finished, Workspace(folder, "run", "label_issues", EventLog(), folder))
    return read_queue(folder / QUEUE_FILE)


def test_label_issues_say_who_judged_and_how_many_labels_are_in_doubt(finished: Artifacts, tmp_path: Path) -> None:
    queue = issues_of(finished, tmp_path)
    issues = pl.read_csv(tmp_path / "label_issues.csv")
    told = read_json(tmp_path / "consensus.json")
    opinions = pl.read_parquet(tmp_path / "models.parquet")
    assert set(queue["window_id"]) == set(issues["window_id"]) == set(opinions["window_id"])
    assert set(told["models"]) == set(opinions["model"]) and told["left_out"]["majority"] == "control"
    assert sum(told["models"].values()) == pytest.approx(1, abs=1e-5)
    low, high = told["flagged_interval"]
    assert low < told["flagged"] == issues["is_label_issue"].sum() == queue["is_label_issue"].sum() < high
    assert sum(told["priorities"].values()) == told["judged"] == len(queue)
    predictions = Predictions.open(finished["oof"])
    said = predictions.of_model("finetuned", "oof", queue["window_id"]).mean(axis=0)
    own = queue.select("window_id").join(opinions.filter(model="finetuned"), on="window_id", maintain_order="left")
    assert np.allclose(own.select("prob_down", "prob_up").to_numpy(), said)


def test_windows_that_people_differ_about_and_pointers_outside_the_zone_are_told(
    finished: Artifacts, tmp_path: Path
) -> None:
    last, other = issues_of(finished, tmp_path).filter(priority=0)["window_id"].tail(2)
    log = LabelLog(tmp_path / "events.jsonl")
    log.append(
        LabelEvent(decision="relabel", window_id=last, annotator="ann", label="up"),
        LabelEvent(decision="relabel", window_id=last, annotator="bob", label="down"),
        LabelEvent(decision="relabel", window_id=other, annotator="ann", label="up", start=2, end=8),
    )
    queue = issues_of(finished, tmp_path, log.path)
    assert queue.filter(window_id=last).select("priority", "reason").row(0) == (3, "annotators disagree")
    assert queue.filter(window_id=other).select("priority", "reason").row(0) == (2, "invalid pointer")
    assert LabelIssues(str(log.path)).outside() == digest_file(log.path)


def test_a_log_that_is_not_there_is_told(finished: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no log of decisions .*none\.jsonl"):
        issues_of(finished, tmp_path, tmp_path / "none.jsonl")


def test_label_issues_of_classes_in_another_order_are_refused(finished: Artifacts, tmp_path: Path) -> None:
    table = pl.read_parquet(finished["oof"].path("oof.parquet")).rename(TURNED)
    inputs = {**finished, "oof": changed(finished, tmp_path, table, ("up", "down"))}
    with pytest.raises(StorageError, match="of other classes than the labels"):
        issues_of(inputs, tmp_path)


@pytest.mark.parametrize(
    ("n_labelled", "n_late", "says"),
    [
        (60, 8, "a fold has nothing to learn a class from"),
        (3, 1, "3 labelled moments cannot make 5 blocks"),
    ],
)
def test_folds_that_lack_a_class_or_windows_are_refused(
    planted_run: Callable[..., Artifacts], tmp_path: Path, n_labelled: int, n_late: int, says: str
) -> None:
    labels = ["down"] * (n_labelled - n_late) + ["up"] * n_late + ["down", "up"] * 75
    closes = np.random.default_rng(0).normal(size=(len(labels), 8))
    with pytest.raises(DataError, match=says):
        planted_run(tmp_path, closes, labels)


def test_where_all_models_collapsed_none_is_best_and_each_is_alarmed(planted: Planted) -> None:
    table = planted.predictions.table.with_columns(prob_down=pl.lit(0.4), prob_up=pl.lit(0.6))
    predictions = dataclasses.replace(planted.predictions, table=table)
    scores = score(planted.data, predictions, judged_splits(planted.data, predictions, CONFIG), 1)
    assert "every model that is not a control stands under an alarm (honest, loud)" in scores.verdict[1]
    constant = [alarm.model for alarm in scores.alarms.alarms if alarm.code == "constant_predictor"]
    assert constant == ["honest", "honest", "loud", "loud"] and scores.stack is None


def test_settings_that_make_no_sense_are_refused_together() -> None:
    with pytest.raises(ConfigError) as caught:
        EvaluationConfig(n_resamples=10, coverage=1.0)
    assert len(caught.value.problems) == 2


def test_figures_that_are_not_known_are_null(planted: Planted) -> None:
    unknown = Estimate(float("nan"), float("nan"), float("nan"), 3, 1)
    scores = score(planted.data, planted.predictions, planted.judged, 1)
    figures = {"test": {"honest": {"balanced_accuracy": unknown, "macro_f1": unknown}}}
    table = leaderboard(dataclasses.replace(scores, figures=figures), planted.predictions)
    assert table["balanced_accuracy"].to_list() == [None]


def test_blocks_that_part_windows_are_refused(planted: Planted) -> None:
    data = SimpleNamespace(**{**vars(planted.data), "span": 9, "store": SimpleNamespace(independent=False)})
    with pytest.raises(DataError, match="shorter than the 9 bars"):
        judged_splits(data, planted.predictions, EvaluationConfig(block_bars=3))  # type: ignore[arg-type]
