"""Which of the given labels are doubtful, judged by models that did not train on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from moola.config import RunConfig
from moola.errors import DataError
from moola.labels.issues import find_label_issues
from moola.layout import replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import PREDICTION_FILES, Predictions
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.stages.stack import choose_bases


@dataclass(frozen=True)
class LabelIssues(Stage):
    """Confident learning on the consensus of all models that are neither controls nor collapsed."""

    name: ClassVar[str] = "label_issues"
    provides: ClassVar[str] = "label_issues"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof")
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"oof": PREDICTION_FILES}
    publishes: ClassVar[tuple[str, ...]] = ("label_issues.csv",)
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"cleanlab": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """Nothing to choose."""
        return cls()

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``label_issues.csv`` and ``consensus.json`` (whose predictions were averaged)."""
        from moola import schemas
        from moola.schemas import check

        data = Dataset.open(inputs)
        predictions = Predictions.open(inputs["oof"])
        predictions.check_held_out(data.labels, data.folds)
        models, left_out = choose_bases(predictions, data)
        if not models:
            raise DataError(
                "no model is left that could judge the labels",
                "\n".join(f"- {model}: {why}" for model, why in left_out.items()),
                "add a model, or switch the stage off: 'stage.skip=[label_issues]'",
            )
        judged = predictions.judged(data.labels)
        ids = judged["window_id"]
        consensus = np.mean([predictions.of_model(model, "oof", ids).mean(axis=0) for model in models], axis=0)
        consensus /= consensus.sum(axis=1, keepdims=True)
        table = find_label_issues(ids.to_list(), data.class_numbers(judged["label"]), consensus, data.classes)
        table = check(table, schemas.label_issues(data.classes), "the label issues", "this is a defect")
        with replace_atomically(workspace.folder / "label_issues.csv") as handle:
            table.write_csv(handle)
        write_json(
            workspace.folder / "consensus.json", {"models": models, "flagged": int(table["is_label_issue"].sum())}
        )
