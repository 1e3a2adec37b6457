"""What the sections of a report are made from, opened together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from moola.labels.queue import QUEUE_FILE, read_queue
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import Predictions
from moola.pipelines.scores import Scores, SplitName


@dataclass(frozen=True)
class Material:
    """Artifacts of a run, and what they say.

    Attributes:
        inputs: artifacts by what they provide.
        data: windows, labels and folds.
        predictions: of all models, the stack among them.
        scores: figures, differences, alarms and verdict.
        seeds: of the run.
    """

    inputs: Mapping[str, Artifact]
    data: Dataset
    predictions: Predictions
    scores: Scores
    seeds: tuple[int, ...]

    @classmethod
    def open(cls, inputs: Mapping[str, Artifact], seeds: tuple[int, ...]) -> Material:
        """From the artifacts that the stage ``report`` reads."""
        predictions = Predictions.open(inputs["oof"], inputs.get("stack"))
        scores = Scores.from_json(read_json(inputs["evaluation"].path("scores.json")))
        return cls(inputs, Dataset.open(inputs), predictions, scores, seeds)

    @property
    def headline(self) -> SplitName:
        """The split that a reader asks for first: the sealed test, where there is one."""
        return "test" if "test" in self.scores.figures else "oof"

    def judged(self, split: SplitName) -> pl.DataFrame:
        """The windows that models were judged on."""
        return self.data.test if split == "test" else self.predictions.judged(self.data.labels)

    def said(self, model: str, split: SplitName) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [n_seeds, n, n_classes] of a model and the truth [n], in the order of `judged`."""
        windows = self.judged(split)
        truth = self.data.class_numbers(windows["true_label"])
        return self.predictions.of_model(model, split, windows["window_id"]), truth

    @cached_property
    def issues(self) -> pl.DataFrame | None:
        """``label_issues.csv``, the most doubtful first; None where that stage was switched off."""
        if "label_issues" not in self.inputs:
            return None
        labels = {"given_label": pl.String, "pred_label": pl.String}
        return pl.read_csv(self.inputs["label_issues"].path("label_issues.csv"), schema_overrides=labels)

    @cached_property
    def review(self) -> pl.DataFrame | None:
        """``review_queue.csv``, the most urgent first; None where that stage was switched off."""
        if "label_issues" not in self.inputs:
            return None
        return read_queue(self.inputs["label_issues"].path(QUEUE_FILE))
