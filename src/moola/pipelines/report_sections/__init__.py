"""What the report's page shows, gathered from the artifacts: one module a group of sections."""

from __future__ import annotations

import shlex

import moola
from moola.evaluation.report_content import Lineage, Report, StageRow
from moola.pipelines.artifacts import git_state
from moola.pipelines.events import now
from moola.pipelines.pictures import saved_reconstructions
from moola.pipelines.rented import Rented
from moola.pipelines.report_sections.leaderboard import comparisons, costs, leaderboard
from moola.pipelines.report_sections.material import Material
from moola.pipelines.report_sections.models import (
    calibration,
    confusion,
    label_efficiency,
    pointers,
    prediction_sets,
)
from moola.pipelines.report_sections.pretraining import pretraining
from moola.pipelines.report_sections.pseudo_labels import pseudo_labels
from moola.pipelines.report_sections.statements import statements
from moola.pipelines.report_sections.windows import doubtful_labels, planted_found, wrong_windows


def build_report(
    material: Material, experiment: str, run_id: str, results: str, queue: int, rented: Rented | None = None
) -> Report:
    """The whole page; a section whose stage was switched off is None.

    Args:
        material: artifacts of the run.
        experiment: its name.
        run_id: its id.
        results: folder of all runs, as one types it.
        queue: how many of the most doubtful labels are counted as a reviewer's first batch.
        rented: the machines up to now; None where nobody rented one.
    """
    git, issues, review, inputs = git_state(), material.issues, material.review, material.inputs
    return Report(
        title=f"{experiment}: what the figures are worth",
        run_id=run_id,
        experiment=experiment,
        created=now()[:16].replace("T", " ") + " UTC",
        moola_version=moola.__version__,
        git_commit=git["git_commit"] or "",
        git_dirty=bool(git["git_dirty"]),
        alarms=material.scores.alarms.alarms,
        checks=material.scores.alarms.n_checks,
        verdict=material.scores.verdict,
        statements=statements(material.data, inputs, material.seeds),
        leaderboard=leaderboard(material),
        stack=" ".join(one.sentence for one in material.scores.stacks),
        comparisons=comparisons(material),
        confusion=confusion(material),
        calibration=calibration(material),
        sets=prediction_sets(inputs),
        pointers=pointers(inputs),
        label_efficiency=label_efficiency(inputs),
        pseudo_labels=pseudo_labels(inputs),
        pretraining=pretraining(inputs, material.seeds, issues),
        reconstructions=saved_reconstructions(inputs["encoder"]) if "encoder" in inputs else None,
        wrong=wrong_windows(material),
        doubtful=doubtful_labels(material, issues) if issues is not None else None,
        planted=planted_found(material.data, issues, review, queue)
        if issues is not None and review is not None
        else None,
        costs=costs(inputs, rented),
        lineage=_lineage(material, f"{results}/{run_id}"),
        absent=_absent(material),
    )


def _absent(material: Material) -> dict[str, str]:
    """What stands where a section is empty for another reason than a stage that was switched off."""
    told: dict[str, str] = {}
    if "encoder" in material.inputs:
        told["reconstructions"] = "this objective rebuilds nothing"
    if material.headline != "test":
        told["wrong"] = told["label_efficiency"] = "no sealed window has a known label"
    if material.scores.chosen is None:
        told["confusion"] = told["wrong"] = "no model was chosen, see the verdict"
    return told


def _lineage(material: Material, run_folder: str) -> Lineage:
    inputs, git = material.inputs, git_state()
    stages = tuple(
        StageRow(item.stage, item.key, item.digest, item.manifest["seconds"])
        for item in sorted(inputs.values(), key=lambda item: item.manifest["started"])
    )
    versions = {"moola": moola.__version__, **inputs["oof"].manifest["versions"]}
    return Lineage(
        stages, versions, material.seeds, commands(run_folder, None if git["git_dirty"] else git["git_commit"])
    )


def commands(run_folder: str, commit: str | None) -> tuple[str, ...]:
    """What repeats a run from the folder in which it was started: what is finished is reused, or nothing is."""
    words = shlex.join(["moola", "run", "--config-path", run_folder])
    return (*([f"git checkout {commit}"] if commit else []), words, f"{words} --force")
