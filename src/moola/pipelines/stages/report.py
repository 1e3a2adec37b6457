"""Everything on one page: ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from moola.config import RunConfig
from moola.layout import read_json, write_text
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import Predictions
from moola.pipelines.scoring import Scores
from moola.pipelines.stage import Stage, Workspace


@dataclass(frozen=True)
class Report(Stage):
    """The page that shows the figures, and what they rest on.

    Attributes:
        experiment: its name.
        seeds: of the run.
        queue: how many of the most doubtful labels are counted as a reviewer's first batch.
    """

    experiment: str
    seeds: tuple[int, ...]
    queue: int = 35
    name: ClassVar[str] = "report"
    provides: ClassVar[str] = "report"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof", "evaluation")
    uses: ClassVar[tuple[str, ...]] = ("encoder", "probe", "stack", "label_issues")
    publishes: ClassVar[tuple[str, ...]] = ("report.html",)
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"jinja2": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """The name of the experiment and its seeds."""
        return cls(config.name, config.seeds)

    def run_identity(self, run_id: str) -> str:
        """The page names its run."""
        return run_id

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``report.html``."""
        from moola.evaluation.report import render_report
        from moola.pipelines.report_sections import build_report

        data = Dataset.open(inputs)
        predictions = Predictions.open(inputs["oof"], inputs.get("stack"))
        scores = Scores.from_json(read_json(inputs["evaluation"].path("scores.json")))
        page = build_report(
            data, predictions, scores, inputs, self.experiment, workspace.run_id, self.seeds, self.queue
        )
        write_text(workspace.folder / "report.html", render_report(page))
