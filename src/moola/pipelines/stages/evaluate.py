"""What every model is worth: figures with intervals, paired comparisons, alarms and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import polars as pl

from moola.config import RunConfig, digest_json, structure
from moola.evaluation.comparison import estimates
from moola.layout import read_json, replace_atomically, write_json, write_text
from moola.pipelines.artifacts import Artifact
from moola.pipelines.calibrating import calibrate
from moola.pipelines.class_figures import class_figures
from moola.pipelines.dataset import Dataset
from moola.pipelines.judged import EvaluationConfig, Judged, judged_splits, resamples
from moola.pipelines.leaderboard import leaderboard, leaderboard_latex
from moola.pipelines.pointer_figures import pointer_figures
from moola.pipelines.prediction_sets import score_prediction_sets
from moola.pipelines.predictions import PREDICTION_FILES, Predictions, by_seed
from moola.pipelines.scores import HEADLINE, Scores, SplitName, without_nan, written_estimate
from moola.pipelines.scoring import Findings, score
from moola.pipelines.sealed_tests import open_sealed_test
from moola.pipelines.setup import adopted_encoder
from moola.pipelines.stage import Stage, Workspace


@dataclass(frozen=True)
class Evaluate(Stage):
    """Scores of all models, and what they must not be taken for.

    Attributes:
        n_seeds: seeds of the run.
        evaluation: how figures and their intervals are made.
    """

    n_seeds: int
    evaluation: EvaluationConfig
    name: ClassVar[str] = "evaluate"
    provides: ClassVar[str] = "evaluation"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof")
    uses: ClassVar[tuple[str, ...]] = ("encoder", "classifier", "stack", "sentinels", "label_efficiency")
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"oof": PREDICTION_FILES}
    room: ClassVar[str] = "artifacts/metadata"
    publishes: ClassVar[tuple[str, ...]] = (
        "calibrated.parquet",
        "calibration.json",
        "conformal.json",
        "judged.parquet",
        "leaderboard.csv",
        "leaderboard.tex",
        "metrics.json",
        "per_class.json",
        "scores.json",
        "summary.json",
    )
    publishes_some: ClassVar[tuple[str, ...]] = ("pointers.json",)
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"polars": "data", "sklearn": "evidence", "mapie": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``seeds`` and ``evaluation``."""
        return cls(len(config.seeds), structure(EvaluationConfig, config.evaluation, "evaluation"))

    def run_identity(self, run_id: str) -> str:
        """A run that looks at a sealed test is written down by name."""
        return run_id

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes figures, and what they must not be taken for.

        - ``scores.json``: everything (`moola.pipelines.scores.Scores`); ``metrics.json``: the figures, a row each;
          ``summary.json``: the verdict, the model it chose and by which figures, what stacks are worth, and the alarms;
        - ``leaderboard.csv`` and ``leaderboard.tex`` (`moola.pipelines.leaderboard`);
        - ``per_class.json`` (`moola.pipelines.class_figures`), ``calibration.json`` and ``calibrated.parquet``
          (`moola.pipelines.calibrating`), ``conformal.json`` (`moola.pipelines.prediction_sets`), and ``pointers.json``
          where spans were marked (`moola.pipelines.pointer_figures`);
        - ``judged.parquet``: the windows that models were judged on, so that two runs can be compared from what is in
          their folders: ``window_id``, ``split``, ``true_label``, and ``step``, its place in time;
        - ``label_efficiency.json``: a row a model and number of labels, none where that stage was switched off.
        """
        data = Dataset.open(inputs)
        predictions = Predictions.open(inputs["oof"], inputs.get("stack"))
        judged = judged_splits(data, predictions, self.evaluation)
        scores = score(data, predictions, judged, self.n_seeds, _findings(data, inputs, workspace))
        curve = inputs.get("label_efficiency")
        calibrated, calibration = calibrate(data, predictions, judged, self.evaluation.calibration)
        tables = {"judged.parquet": _judged(judged), "calibrated.parquet": self._checked(calibrated, data)}
        told = {
            "label_efficiency.json": _label_efficiency(data, curve, self.evaluation) if curve else [],
            "calibration.json": calibration,
            "conformal.json": score_prediction_sets(predictions, judged, self.evaluation.coverage),
            "per_class.json": class_figures(judged, data.classes),
            "pointers.json": pointer_figures(data, predictions, inputs.get("classifier"), self.evaluation),
            "scores.json": scores.to_json(),
            "metrics.json": scores.rows(),
            "summary.json": _summary(scores),
        }
        for name, table in tables.items():
            with replace_atomically(workspace.folder / name) as handle:
                table.write_parquet(handle)
        for name, content in told.items():
            if content is not None:
                write_json(workspace.folder / name, content)
        write_text(workspace.folder / "leaderboard.tex", leaderboard_latex(scores, predictions))
        write_text(workspace.folder / "leaderboard.csv", leaderboard(scores, predictions).write_csv())

    @staticmethod
    def _checked(calibrated: pl.DataFrame, data: Dataset) -> pl.DataFrame:
        from moola import schemas
        from moola.schemas import check

        defect = "this is a defect of a calibration"
        return check(calibrated, schemas.predictions(data.classes), "the calibrated predictions", defect)


def _findings(data: Dataset, inputs: Mapping[str, Artifact], workspace: Workspace) -> Findings:
    """What other stages found."""
    encoder = inputs.get("encoder")
    return Findings(
        pretrained=encoder is not None,
        adopted=adopted_encoder(encoder) if encoder else None,
        sentinels=read_json(inputs["sentinels"].path("sentinels.json")) if "sentinels" in inputs else None,
        opened_before=_opened_before(data, workspace),
    )


def _summary(scores: Scores) -> dict[str, Any]:
    """What a person reads first."""
    return {
        "verdict": list(scores.verdict),
        "chosen": scores.chosen,
        "as_given": {model: written_estimate(found) for model, found in scores.as_given.items()},
        "stacks": [one.sentence for one in scores.stacks],
        "alarms": [vars(alarm) for alarm in scores.alarms.alarms],
    }


def _judged(judged: Mapping[SplitName, Judged]) -> pl.DataFrame:
    """The windows of all splits that models were judged on."""
    return pl.concat(
        part.windows.select("window_id", pl.lit(split).alias("split"), "true_label", pl.col("step").cast(pl.Int64))
        for split, part in judged.items()
    )


def _label_efficiency(data: Dataset, curve: Artifact, config: EvaluationConfig) -> list[dict[str, Any]]:
    """Headline figure on the sealed test of every model and number of labels, smallest first."""
    table = pl.read_parquet(curve.path("label_efficiency.parquet"))
    if table.is_empty():
        return []
    weights = resamples(data, data.test, config)
    truth, ids = data.class_numbers(data.test["true_label"]), data.test["window_id"]
    points: list[dict[str, Any]] = []
    for (model, n_labels), rows in table.group_by("model", "n_labels", maintain_order=True):
        found = estimates(by_seed(rows, ids, data.classes), truth, weights, names=(HEADLINE,))[HEADLINE]
        points.append({"model": model, "n_labels": n_labels, **vars(found)})
    return without_nan(sorted(points, key=lambda point: (point["model"], point["n_labels"])))


def _opened_before(data: Dataset, workspace: Workspace) -> tuple[str, ...] | None:
    """Other runs that scored models on this sealed test before; None where there is none, or nobody keeps a list."""
    if workspace.sealed_tests is None or not len(data.test):
        return None
    sealed = data.test.select("window_id", "true_label").rows()
    digest = digest_json({"bars": data.store.digest, "sealed": sealed})
    return tuple(one.run_id for one in open_sealed_test(workspace.sealed_tests, digest, workspace.run_id))
