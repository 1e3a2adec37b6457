"""What every model is worth: figures with intervals, paired comparisons, alarms and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.config import RunConfig, digest_json, structure
from moola.evaluation.comparison import estimates
from moola.layout import read_json, replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import PREDICTION_FILES, Predictions, in_order
from moola.pipelines.scoring import HEADLINE, EvaluationConfig, Findings, resamples, score, without_nan
from moola.pipelines.sealed_tests import open_sealed_test
from moola.pipelines.setup import adopted_encoder
from moola.pipelines.stage import Stage, Workspace


@dataclass(frozen=True)
class Evaluate(Stage):
    """Scores of all models, and what they must not be taken for.

    Attributes:
        n_seeds: seeds of the run.
        evaluation: how intervals are made.
    """

    n_seeds: int
    evaluation: EvaluationConfig
    name: ClassVar[str] = "evaluate"
    provides: ClassVar[str] = "evaluation"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof")
    uses: ClassVar[tuple[str, ...]] = ("encoder", "stack", "sentinels", "label_efficiency")
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"oof": PREDICTION_FILES}
    room: ClassVar[str] = "artifacts/metadata"
    publishes: ClassVar[tuple[str, ...]] = ("judged.parquet", "metrics.json", "scores.json", "summary.json")
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"polars": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``seeds`` and ``evaluation``."""
        return cls(len(config.seeds), structure(EvaluationConfig, config.evaluation, "evaluation"))

    def run_identity(self, run_id: str) -> str:
        """A run that looks at a sealed test is written down by name."""
        return run_id

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``scores.json``, ``metrics.json``, ``summary.json``, ``judged.parquet`` and ``label_efficiency.json``.

        The first three hold everything (`moola.pipelines.scoring.Scores`), the figures, a row each, and the verdict
        with alarms. ``judged.parquet`` lists the windows that models were judged on, so that two runs can be compared
        from what is in their folders: ``window_id``, ``split``, ``true_label``, and ``step``, its place in time.
        ``label_efficiency.json``: a row a model and number of labels, none where that stage was switched off.
        """
        data = Dataset.open(inputs)
        encoder = inputs.get("encoder")
        found = Findings(
            sentinels=read_json(inputs["sentinels"].path("sentinels.json")) if "sentinels" in inputs else None,
            opened_before=_opened_before(data, workspace),
            adopted=adopted_encoder(encoder) if encoder else None,
            pretrained=encoder is not None,
        )
        predictions = Predictions.open(inputs["oof"], inputs.get("stack"))
        scores = score(data, predictions, self.evaluation, self.n_seeds, found)
        with replace_atomically(workspace.folder / "judged.parquet") as handle:
            _judged(data, predictions).write_parquet(handle)
        curve = inputs.get("label_efficiency")
        points = _label_efficiency(data, curve, self.evaluation) if curve else []
        write_json(workspace.folder / "label_efficiency.json", points)
        write_json(workspace.folder / "scores.json", scores.to_json())
        write_json(workspace.folder / "metrics.json", scores.rows())
        alarms = [vars(alarm) for alarm in scores.alarms.alarms]
        write_json(workspace.folder / "summary.json", {"verdict": list(scores.verdict), "alarms": alarms})


def _judged(data: Dataset, predictions: Predictions) -> pl.DataFrame:
    """The windows of both splits that models were judged on."""
    parts = {"oof": predictions.judged(data.labels), "test": data.test}
    return pl.concat(
        part.select("window_id", pl.lit(split).alias("split"), "true_label", pl.col("step").cast(pl.Int64))
        for split, part in parts.items()
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
        seeds = rows.partition_by("seed", maintain_order=True)
        said = np.stack([in_order(part, ids, data.classes) for part in seeds])
        found = estimates(said, truth, weights, names=(HEADLINE,))[HEADLINE]
        points.append({"model": model, "n_labels": n_labels, **vars(found)})
    return without_nan(sorted(points, key=lambda point: (point["model"], point["n_labels"])))


def _opened_before(data: Dataset, workspace: Workspace) -> tuple[str, ...] | None:
    """Other runs that scored models on this sealed test before; None where there is none, or nobody keeps a list."""
    if workspace.sealed_tests is None or not len(data.test):
        return None
    sealed = data.test.select("window_id", "true_label").rows()
    digest = digest_json({"bars": data.store.digest, "sealed": sealed})
    return tuple(one.run_id for one in open_sealed_test(workspace.sealed_tests, digest, workspace.run_id))
