"""Score everything and tell it on one page: ``metrics.json`` and ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from moola.config import RunConfig, structure
from moola.layout import write_json, write_text
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.predictions import Predictions
from moola.pipelines.scoring import EvaluationConfig, score
from moola.pipelines.setup import adopted_encoder
from moola.pipelines.stage import Stage, Workspace


@dataclass(frozen=True)
class Report(Stage):
    """Figures with intervals, alarms, the verdict, and the page that shows them.

    Attributes:
        experiment: its name.
        seeds: of the run.
        evaluation: how intervals are made.
        queue: how many of the most doubtful labels are counted as a reviewer's first batch.
    """

    experiment: str
    seeds: tuple[int, ...]
    evaluation: EvaluationConfig
    queue: int = 35
    name: ClassVar[str] = "report"
    provides: ClassVar[str] = "report"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof")
    uses: ClassVar[tuple[str, ...]] = ("encoder", "probe", "stack", "label_issues")
    publishes: ClassVar[tuple[str, ...]] = ("metrics.json", "report.html", "summary.json")
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"jinja2": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``evaluation``."""
        return cls(config.name, config.seeds, structure(EvaluationConfig, config.evaluation, "evaluation"))

    def run_identity(self, run_id: str) -> str:
        """The page names its run."""
        return run_id

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``metrics.json``, ``summary.json`` (verdict and alarms) and ``report.html``."""
        from moola.evaluation.report import render_report
        from moola.pipelines.report_sections import build_report

        data = Dataset.open(inputs)
        predictions = Predictions.open(inputs["oof"], inputs.get("stack"))
        encoder = inputs.get("encoder")
        adopted = adopted_encoder(encoder) if encoder else None
        scores = score(
            data, predictions, self.evaluation, len(self.seeds), pretrained=encoder is not None, adopted=adopted
        )
        page = build_report(
            data, predictions, scores, inputs, self.experiment, workspace.run_id, self.seeds, self.queue
        )
        write_json(workspace.folder / "metrics.json", scores.rows())
        alarms = [vars(alarm) for alarm in scores.alarms.alarms]
        write_json(workspace.folder / "summary.json", {"verdict": list(scores.verdict), "alarms": alarms})
        write_text(workspace.folder / "report.html", render_report(page))
