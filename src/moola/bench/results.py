"""What one run of the bench says of its set, read from the run's folder and the artifacts it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moola.errors import StorageError
from moola.evaluation.comparison import estimates
from moola.evaluation.estimates import Estimate
from moola.evaluation.intervals import moving_block_weights
from moola.layout import read_json
from moola.pipelines.predictions import by_seed
from moola.pipelines.scores import read_estimate

METRIC = "accuracy"
FEW = 0.1
"""Share of the labels of the label-scarce figures."""
FEW_MODELS = ("finetuned", "pretrained_probe", "minirocket", "multirocket_hydra")
"""Models that are fitted on that share, where a run has them."""
MEAN = "mean_of_few"
"""Stands for the mean of the probabilities of all models that were fitted on few labels: a stack without a meta model,
for which nothing has to be held out of the few."""
_RESAMPLES = 1000


@dataclass(frozen=True)
class Cost:
    """What the fits of one model took.

    Attributes:
        fits: how many; several a fold, where folds are left out by pairs.
        seconds: wall time of all of them, with their predictions.
    """

    fits: int
    seconds: float


@dataclass(frozen=True)
class SetResult:
    """One set.

    Attributes:
        name: of the set.
        run_id: of the run.
        accuracy: model -> accuracy on the test split, with the interval over test cases and seeds.
        few: model, or `MEAN` -> the same with a share `FEW` of the labels; empty where the run made no such fits.
        n_few: labels that these got.
        roles: model -> model, baseline, control or stack.
        costs: model -> cost of its fits; stacks have none of their own.
        alarms: sentences of the run's alarms, without its notes.
        seconds: wall time of all stages when they were made, in all attempts.
    """

    name: str
    run_id: str
    accuracy: Mapping[str, Estimate]
    few: Mapping[str, Estimate]
    n_few: int
    roles: Mapping[str, str]
    costs: Mapping[str, Cost]
    alarms: tuple[str, ...]
    seconds: float


def read_set(name: str, run: Path) -> SetResult:
    """Read a finished run.

    Raises:
        StorageError: it has no figures on a test split.
    """
    manifest = read_json(run / "manifest.json")
    folders = {stage["stage"]: Path(stage["folder"]) for stage in manifest["stages"]}
    rows = [row for row in read_json(run / "metrics.json") if row["metric"] == METRIC and row["split"] == "test"]
    if not rows:
        raise StorageError(f"{run} has no figure on a test split", f"'{name}' has no test cases", "leave the set out")
    few, n_few = _few_labels(folders["label_efficiency"], run) if "label_efficiency" in folders else ({}, 0)
    told = read_json(folders["oof"] / "models.json")["models"]
    stacks = {row["model"]: "stack" for row in rows if row["model"] not in told}
    alarms = read_json(run / "summary.json")["alarms"]
    return SetResult(
        name,
        manifest["run_id"],
        {row["model"]: read_estimate(row) for row in rows},
        few,
        n_few,
        {**{model: one["role"] for model, one in told.items()}, **stacks},
        {model: Cost(one["fits"], one["seconds"]) for model, one in read_json(folders["oof"] / "costs.json").items()},
        tuple(alarm["message"] for alarm in alarms if alarm["severity"] == "alarm"),
        sum(stage["seconds"] for stage in manifest["stages"]),
    )


def _few_labels(curve: Path, run: Path) -> tuple[dict[str, Estimate], int]:
    """Model, or `MEAN` -> accuracy on the test split with a share `FEW` of the labels; and how many labels that are."""
    table = pl.read_parquet(curve / "label_efficiency.parquet").filter(pl.col("share") == FEW)
    if table.is_empty():
        return {}, 0
    judged = pl.read_parquet(run / "judged.parquet").filter(pl.col("split") == "test")
    classes = [name.removeprefix("prob_") for name in table.columns if name.startswith("prob_")]
    truth = np.array([classes.index(label) for label in judged["true_label"]])
    weights = moving_block_weights(np.arange(len(judged)), 1, _RESAMPLES)  # cases are independent of each other
    said = {
        str(model): by_seed(rows, judged["window_id"], classes)
        for (model,), rows in table.group_by("model", maintain_order=True)
    }
    if len(said) > 1:
        said[MEAN] = np.mean(list(said.values()), axis=0)
    found = {model: estimates(p, truth, weights, names=(METRIC,))[METRIC] for model, p in said.items()}
    return found, int(table["n_labels"].item(0))
