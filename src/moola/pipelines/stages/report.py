"""Everything on one page: ``report.html``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from moola.config import RunConfig, structure
from moola.drawing import png_file
from moola.layout import replace_atomically, write_bytes, write_text
from moola.pipelines.artifacts import Artifact
from moola.pipelines.judged import EvaluationConfig
from moola.pipelines.rented import read_rented
from moola.pipelines.stage import Stage, Workspace


@dataclass(frozen=True)
class ReportSection:
    """The section ``stage.report``.

    Attributes:
        png: write every picture as PNG too; most of the seconds that the stage takes.
    """

    png: bool = True


@dataclass(frozen=True)
class Report(Stage):
    """The page that shows the figures, and what they rest on.

    Attributes:
        experiment: its name.
        seeds: of the run.
        evaluation: how figures and their intervals were made.
        png: write pictures as PNG too.
        queue: how many of the most doubtful labels are counted as a reviewer's first batch.
    """

    experiment: str
    seeds: tuple[int, ...]
    evaluation: EvaluationConfig
    png: bool = True
    queue: int = 35
    name: ClassVar[str] = "report"
    provides: ClassVar[str] = "report"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "oof", "evaluation")
    uses: ClassVar[tuple[str, ...]] = (
        "encoder",
        "probe",
        "sentinels",
        "stack",
        "label_efficiency",
        "label_issues",
        "pseudo_labels",
    )
    publishes: ClassVar[tuple[str, ...]] = ("report.html",)
    publishes_some: ClassVar[tuple[str, ...]] = ("pictures/*", "tables/*")
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"jinja2": "evidence", "resvg_py": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """The name of the experiment, its seeds, ``evaluation`` and ``stage.report``."""
        section = structure(ReportSection, config.stage.get("report", {}), "stage.report")
        evaluation = structure(EvaluationConfig, config.evaluation, "evaluation")
        return cls(config.name, config.seeds, evaluation, section.png)

    def run_identity(self, run_id: str) -> str:
        """The page names its run."""
        return run_id

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``report.html``, its ``pictures/`` as SVG and PNG, and its ``tables/`` as CSV and LaTeX."""
        from moola.drawing.latex import latex_table
        from moola.evaluation.report import render_report
        from moola.evaluation.report_pictures import draw_pictures
        from moola.pipelines.report_sections import build_report
        from moola.pipelines.report_sections.material import Material
        from moola.pipelines.report_tables import report_tables

        material = Material.open(inputs, self.seeds, self.evaluation)
        rented = read_rented(workspace.results / workspace.run_id) if workspace.results else None
        report = build_report(
            material,
            self.experiment,
            workspace.run_id,
            _spoken(workspace.results),
            self.queue,
            rented.until(time.time()) if rented else None,
        )
        pictures = draw_pictures(report)
        write_text(workspace.folder / "report.html", render_report(report, pictures))
        for number, (name, picture) in enumerate(pictures.items(), start=1):
            svg = picture.svg()
            write_text(workspace.folder / "pictures" / f"{name}.svg", svg)
            if self.png:
                write_bytes(workspace.folder / "pictures" / f"{name}.png", png_file(svg))
            workspace.progress(number, len(pictures), "pictures")
        for name, table in report_tables(report).items():
            with replace_atomically(workspace.folder / "tables" / f"{name}.csv") as handle:
                table.write_csv(handle)
            write_text(workspace.folder / "tables" / f"{name}.tex", latex_table(table.columns, table.iter_rows()))


def _spoken(results: Path | None) -> str:
    """The folder of all runs as one would type it here."""
    folder = results or Path("artifacts/results")
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)
