"""Labels guessed by a teacher that never saw the fold that judges, and whether learning from them helps."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.augment import build_augmentations
from moola.config import RunConfig, build_all, reject, structure
from moola.errors import ConfigError, did_you_mean
from moola.evaluation.comparison import estimates, paired_comparison, signed
from moola.evaluation.intervals import wilson_interval
from moola.labels.pseudo_gates import PseudoGates
from moola.layout import read_json, replace_atomically, write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.judged import EvaluationConfig, resamples
from moola.pipelines.labelled import require_labels
from moola.pipelines.parallel import run_all
from moola.pipelines.scores import HEADLINE, display_name, without_nan
from moola.pipelines.self_training import FoldOutcome, FoldTrainer, SelfTraining
from moola.pipelines.setup import noted
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.stages.oof import Oof
from moola.pipelines.units import TEST_FOLD, Unit
from moola.training.device import choose_device


@dataclass(frozen=True)
class PseudoLabelsSection:
    """The section ``stage.pseudo_labels``.

    Attributes:
        teacher: name of the model of the run that labels.
        students: models that learn from its labels; null: the teacher's own kind.
        pool: windows that the teacher is asked about, evenly spaced over time.
        views: weak views of each beside the window itself, which have to agree (`PseudoGates.consistency`).
        weak: augmentations that make such a view, ``[{name: jitter, scale: 0.05}]``.
        gates: what a guess has to pass.
    """

    teacher: str = "minirocket"
    students: tuple[str, ...] | None = None
    pool: int = 2_000
    views: int = 3
    weak: tuple[dict[str, Any], ...] = ({"name": "jitter", "scale": 0.05}, {"name": "volatility", "scale": 0.15})
    gates: PseudoGates = field(default_factory=PseudoGates)

    def __post_init__(self) -> None:
        reject(
            (self.students == (), "students: name at least one, or null for the teacher's own kind"),
            (self.pool < 1, f"pool: {self.pool} must be at least 1"),
            (self.views < 0, f"views: {self.views} must not be negative"),
            (self.views > 0 and not self.weak, "views: without weak augmentations every view is the window itself"),
        )


@dataclass(frozen=True)
class PseudoLabelling(Stage):
    """For each fold a teacher without it, gated labels, students with and without these; judged out of fold.

    Attributes:
        plan: who teaches whom, and how.
        judging: how intervals are made.
    """

    plan: SelfTraining
    judging: EvaluationConfig
    name: ClassVar[str] = "pseudo_labels"
    provides: ClassVar[str] = "pseudo_labels"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    uses: ClassVar[tuple[str, ...]] = ("encoder",)
    room: ClassVar[str] = "artifacts/oof/supervised"
    publishes: ClassVar[tuple[str, ...]] = ("pseudo_labels.json", "pseudo_labels.parquet")
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = Oof.packages

    def needs(self) -> tuple[str, ...]:
        """As the stage that fits the models."""
        return self.plan.oof.needs()

    def check_windows(self, n_bars: int) -> None:
        """As the stage that fits the models."""
        self.plan.oof.check_windows(n_bars)

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``stage.pseudo_labels``, ``evaluation``, and all that the stage ``oof`` reads."""
        path = "stage.pseudo_labels"
        section, oof, judging = build_all(
            lambda: structure(PseudoLabelsSection, config.stage.get("pseudo_labels", {}), path),
            lambda: Oof.from_config(config, settings),
            lambda: structure(EvaluationConfig, config.evaluation, "evaluation"),
        )
        students = section.students or (section.teacher,)
        unknown = sorted({section.teacher, *students} - set(oof.models))
        if unknown and "pseudo_labels" in config.stage.get("insert", {}):
            raise ConfigError(
                f"{path}: the run has no model '{name}'; {did_you_mean(name, oof.models)}" for name in unknown
            )
        named = [name for name in oof.models if name in {section.teacher, *students}]
        weak = build_augmentations(section.weak, f"{path}.weak")
        plan = SelfTraining(
            oof.only(named), section.teacher, tuple(students), section.gates, section.pool, section.views, weak
        )
        return cls(plan, judging)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``pseudo_labels.parquet`` and ``pseudo_labels.json``.

        The table: ``fold`` (-1: by a teacher with all labels, for a final model), ``window_id``, ``label``,
        ``confidence``, ``agreement``. The JSON: the gates and how many passed each, fold by fold, how many of those
        are right where the truth is known, and for each student the figures out of fold with and without, and their
        paired difference. The sealed test is not looked at.
        """
        data = Dataset.open(inputs)
        require_labels(data)
        outcomes = self._outcomes(data, inputs, workspace)
        without = self._without(data, inputs, workspace)
        truth_known = read_json(inputs["windows"].path("labels.json"))["from_rule"]
        changed = [self._changed(student, outcomes, without, data) for student in self.plan.students]
        told = {
            "teacher": self.plan.teacher,
            "gates": dataclasses.asdict(self.plan.gates),
            "folds": [_fold_told(outcome, data, truth_known) for outcome in outcomes],
            "changed": changed,
        }
        table = pl.concat([_rows(outcome, data) for outcome in outcomes])
        with replace_atomically(workspace.folder / "pseudo_labels.parquet") as handle:
            table.write_parquet(handle)
        write_json(workspace.folder / "pseudo_labels.json", without_nan(told))
        for line in changed:
            workspace.events.emit("note", stage=self.name, message=line["told"])

    def _outcomes(self, data: Dataset, inputs: Mapping[str, Artifact], workspace: Workspace) -> list[FoldOutcome]:
        """One a fold in their order, and last the one with all labels."""
        tasks: list[tuple[int, ...]] = [*((number,) for number in range(len(data.folds))), ()]
        prepare = functools.partial(FoldTrainer.open, self.plan, inputs)
        processes = workspace.processes if choose_device(self.plan.oof.setup.device) == "cpu" else 1
        found: dict[tuple[int, ...], FoldOutcome] = {}
        for left_out, outcome in run_all(tasks, prepare, processes):
            found[left_out] = outcome
            which = f"fold {left_out[0]}" if left_out else "all labels"
            for alarm in outcome.alarms:
                noted(workspace, f"pseudo-labels, {which}")(alarm)
            workspace.progress(len(found), len(tasks), f"{which}: {len(outcome.rows)} pseudo-labels")
        return [found[left_out] for left_out in tasks]

    def _without(
        self, data: Dataset, inputs: Mapping[str, Artifact], workspace: Workspace
    ) -> dict[tuple[str, int, int], np.ndarray]:
        """What students say that learn from the labels alone: the fits of the stage ``oof``, from its cache."""
        units = [
            Unit(student, seed, (fold,))
            for student in self.plan.students
            for seed in self.plan.seeds_of(student)
            for fold in range(len(data.folds))
        ]
        found = self.plan.oof.predict_units(units, data, inputs, workspace)
        return {(unit.model, unit.seed, unit.left_out[0]): left.probabilities for unit, left in found.items()}

    def _changed(
        self,
        student: str,
        outcomes: Sequence[FoldOutcome],
        without: Mapping[tuple[str, int, int], np.ndarray],
        data: Dataset,
    ) -> dict[str, Any]:
        """Figures of one student out of fold, with and without; a fold whose labels all fell has no difference."""
        seeds = self.plan.seeds_of(student)
        n, k = len(data.labels), len(data.classes)
        sums, counts = np.zeros((2, len(seeds), n, k)), np.zeros(n)
        for number, fold in enumerate(data.folds):
            counts[fold.held_out] += 1
            for place, seed in enumerate(seeds):
                plain = without[student, seed, number]
                sums[0, place, fold.held_out] += plain
                sums[1, place, fold.held_out] += outcomes[number].predicted.get((student, seed), plain)
        judged = np.flatnonzero(counts)
        said = sums[:, :, judged] / counts[judged][:, None]
        windows = data.labels[judged.tolist()]
        truth = data.class_numbers(windows["true_label"])
        weights = resamples(data, windows, self.judging)
        before, after = (estimates(one, truth, weights, (HEADLINE,))[HEADLINE] for one in said)
        compared = paired_comparison(said[1], said[0], truth, weights, HEADLINE)
        return {
            "student": student,
            "metric": HEADLINE,
            "split": "oof",
            "without": dataclasses.asdict(before),
            "with": dataclasses.asdict(after),
            "difference": dataclasses.asdict(compared.difference),
            "p_value": compared.p_value,
            "told": f"pseudo-labels of {self.plan.teacher} changed {display_name(HEADLINE)} of {student} out of fold "
            f"by {signed(compared.difference)}",
        }


def _fold_told(outcome: FoldOutcome, data: Dataset, truth_known: bool) -> dict[str, Any]:
    """The funnel of one fold, and the share of right guesses among those that passed, with its interval."""
    labels = outcome.passed.labels
    told: dict[str, Any] = {
        "fold": outcome.left_out[0] if outcome.left_out else TEST_FOLD,
        "labels_of_teacher": outcome.n_taught,
        **outcome.passed.funnel,
        "classes": {name: int((labels == number).sum()) for number, name in enumerate(data.classes)},
    }
    if truth_known and len(labels):
        truth = data.table["true_label"].gather(outcome.rows)
        known = truth.is_not_null().to_numpy()
        named = np.array(data.classes, dtype=object)[labels]
        right = int((named[known] == truth.to_numpy()[known]).sum())
        low, high = wilson_interval(right, int(known.sum()))
        told |= {"of_no_class": int((~known).sum()), "right": right, "of": int(known.sum()), "low": low, "high": high}
    return told


def _rows(outcome: FoldOutcome, data: Dataset) -> pl.DataFrame:
    passed = outcome.passed
    return pl.DataFrame(
        {
            "fold": pl.Series(
                [outcome.left_out[0] if outcome.left_out else TEST_FOLD] * len(passed.rows), dtype=pl.Int64
            ),
            "window_id": data.table["window_id"].gather(outcome.rows),
            "label": pl.Series([data.classes[number] for number in passed.labels], dtype=pl.String),
            "confidence": passed.confidence,
            "agreement": passed.agreement,
        }
    )
