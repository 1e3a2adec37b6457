"""Pairs of models by the tests that tables of the field ask for, beside the comparison that the verdict rests on."""

from __future__ import annotations

import numpy as np
import polars as pl

from moola.evaluation.metrics import compute_metrics
from moola.evaluation.significance import PairedTest, corrected_resampled_t, mcnemar
from moola.pipelines.dataset import Dataset
from moola.pipelines.judged import EvaluationConfig, resamples
from moola.pipelines.predictions import Predictions, by_seed
from moola.pipelines.scores import PairedDifference


def paired_test(
    pair: PairedDifference, data: Dataset, predictions: Predictions, config: EvaluationConfig
) -> PairedTest | None:
    """McNemar's test on the sealed test, the corrected resampled t-test over folds; None with fewer than two folds."""
    if pair.split == "test":
        return _on_sealed_windows(pair, data, predictions, config)
    return _over_folds(pair, data, predictions)


def _on_sealed_windows(
    pair: PairedDifference, data: Dataset, predictions: Predictions, config: EvaluationConfig
) -> PairedTest:
    """Of the answers that the mean of the seeds' probabilities gives."""
    truth = data.class_numbers(data.test["true_label"])
    said = (predictions.of_model(model, "test", data.test["window_id"]) for model in (pair.a, pair.b))
    right_a, right_b = (p.mean(axis=0).argmax(axis=1) == truth for p in said)
    return mcnemar(right_a, right_b, None if data.store.independent else resamples(data, data.test, config))


def _over_folds(pair: PairedDifference, data: Dataset, predictions: Predictions) -> PairedTest | None:
    """Of one difference a fold, the mean over its seeds: they share its windows and are no runs of their own."""
    a, b = (_by_fold(model, pair.metric, data, predictions) for model in (pair.a, pair.b))
    folds = [fold for fold in a if fold in b]
    if len(folds) < 2:
        return None
    ratio = np.mean([len(data.folds[fold].held_out) / len(data.folds[fold].train) for fold in folds])
    return corrected_resampled_t(np.array([a[fold] - b[fold] for fold in folds]), float(ratio))


def _by_fold(model: str, metric: str, data: Dataset, predictions: Predictions) -> dict[int, float]:
    """Fold -> the metric on the windows it held out, mean over seeds."""
    own = predictions.table.filter((pl.col("model") == model) & (pl.col("split") == "oof"))
    figures: dict[int, float] = {}
    for (fold,), rows in own.group_by("fold", maintain_order=True):
        windows = data.labels.join(rows, on="window_id", how="semi", maintain_order="left")
        said = by_seed(rows, windows["window_id"], data.classes)
        found = compute_metrics(said, data.class_numbers(windows["true_label"]), names=(metric,))[metric]
        figures[int(str(fold))] = float(found.mean())
    return figures
