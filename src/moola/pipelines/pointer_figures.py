"""How well the classifiers of all seeds find the first and last bar of what a label speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from moola.evaluation.pointer_metrics import pointer_estimates
from moola.labels import POINTER_COLUMNS
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.judged import EvaluationConfig, resamples
from moola.pipelines.predictions import Predictions
from moola.pipelines.scores import FINETUNED, written_estimate

POINTERS = "pointers.parquet"


def pointer_figures(
    data: Dataset, predictions: Predictions, classifier: Artifact | None, config: EvaluationConfig
) -> dict[str, Any] | None:
    """The content of ``pointers.json``: `moola.evaluation.pointer_metrics` on sealed windows that were marked.

    ``joint`` asks for the right class too, as the model ``finetuned`` gives it with the same seeds; without that
    model only the pointers have to be right.

    Returns:
        {"model": ..., "figures": {metric: estimate}}; None where nobody marked a sealed window, or no classifier was
        asked.
    """
    if (
        classifier is None
        or POINTERS not in classifier.manifest["files"]
        or POINTER_COLUMNS[0] not in data.table.columns
    ):
        return None
    marked = data.test.filter(pl.all_horizontal(pl.col(POINTER_COLUMNS).is_not_null()))
    if not len(marked):
        return None
    seeds = pl.read_parquet(classifier.path(POINTERS)).partition_by("seed", as_dict=True)
    predicted = np.stack(
        [
            marked.select("window_id")
            .join(seeds[key], on="window_id", how="left", maintain_order="left")
            .select(POINTER_COLUMNS)
            .to_numpy()
            .astype(np.float64)
            for key in sorted(seeds)
        ]
    )
    truth = marked.select(POINTER_COLUMNS).to_numpy().astype(np.int64)
    right = None
    if FINETUNED in predictions.models and predictions.has(FINETUNED, "test"):
        said = predictions.of_model(FINETUNED, "test", marked["window_id"])
        if len(said) == len(predicted):
            right = said.argmax(axis=2) == data.class_numbers(marked["true_label"])
    found = pointer_estimates(predicted, truth, resamples(data, marked, config), data.windows.length, right=right)
    return {
        "model": FINETUNED if right is not None else "classifier",
        "figures": {name: written_estimate(one) for name, one in found.items()},
    }
