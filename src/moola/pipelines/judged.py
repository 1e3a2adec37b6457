"""What models are judged on: windows, their truth, resamples of them, and what every model says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from moola.config import reject
from moola.errors import DataError
from moola.evaluation.calibration import Kind
from moola.evaluation.intervals import moving_block_weights
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import Predictions
from moola.pipelines.scores import SplitName


@dataclass(frozen=True)
class EvaluationConfig:
    """How figures and their intervals are made.

    Attributes:
        n_resamples: of the bootstrap.
        block_bars: bars a block of the moving-block bootstrap; null: the length of a window.
        calibration: what is fitted on predictions of held-out windows (`moola.evaluation.calibration`).
        coverage: share of prediction sets that is to hold the true class.
    """

    n_resamples: int = 1000
    block_bars: int | None = None
    calibration: Kind = "temperature"
    coverage: float = 0.9

    def __post_init__(self) -> None:
        reject(
            (self.n_resamples < 100, f"n_resamples: {self.n_resamples} must be at least 100"),
            (self.block_bars is not None and self.block_bars < 1, f"block_bars: {self.block_bars} must be at least 1"),
            (not 0 < self.coverage < 1, f"coverage: {self.coverage} must lie between 0 and 1"),
        )


@dataclass(frozen=True)
class Judged:
    """One split.

    Attributes:
        split: its name.
        windows: rows of the table, with ``window_id``, ``true_label`` and ``step``; out of fold ``label`` too.
        truth: int64 [n].
        given: labels as given, int64 [n]; on the sealed test the truth, for nobody gave any.
        weights: resamples [n_resamples, n].
        said: model -> probabilities [n_seeds, n, n_classes], of all models that were asked.
    """

    split: SplitName
    windows: pl.DataFrame
    truth: np.ndarray
    given: np.ndarray
    weights: np.ndarray
    said: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls, split: SplitName, windows: pl.DataFrame, data: Dataset, predictions: Predictions, config: EvaluationConfig
    ) -> Self:
        """All of it for some windows."""
        truth = data.class_numbers(windows["true_label"])
        given = data.class_numbers(windows["label"]) if split == "oof" else truth
        said = {
            model: predictions.of_model(model, split, windows["window_id"])
            for model in predictions.models
            if predictions.has(model, split)
        }
        return cls(split, windows, truth, given, resamples(data, windows, config), said)


def judged_splits(data: Dataset, predictions: Predictions, config: EvaluationConfig) -> dict[SplitName, Judged]:
    """Out of fold, and the sealed test where it holds a window whose label is known.

    Raises:
        StorageError: the predictions are of other classes, of the same in another order, or of windows that a fold did
            not hold out.
        DataError: blocks shorter than a window were asked for.
    """
    predictions.check_classes(data.classes)
    predictions.check_held_out(data.labels, data.folds)
    parts: dict[SplitName, pl.DataFrame] = {"oof": predictions.judged(data.labels)}
    if len(data.test):
        parts["test"] = data.test
    return {split: Judged.of(split, windows, data, predictions, config) for split, windows in parts.items()}


def resamples(data: Dataset, windows: pl.DataFrame, config: EvaluationConfig) -> np.ndarray:
    """Resamples [n_resamples, n_windows]: blocks of time, or single cases where these are independent."""
    if data.store.independent:
        return moving_block_weights(np.arange(len(windows)), 1, config.n_resamples)
    block_bars = config.block_bars or data.span
    if block_bars < data.span:
        raise DataError(
            f"evaluation.block_bars={block_bars} is shorter than the {data.span} bars that a window spans",
            "blocks that part overlapping windows give intervals that are far too short",
            f"choose evaluation.block_bars={data.span} or more, or null",
        )
    return moving_block_weights(windows["step"].to_numpy(), block_bars, config.n_resamples)
