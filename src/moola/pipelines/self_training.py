"""One fold of self-training: a teacher that left the fold out, what it may name, and students that learn from it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
import torch

from moola.augment import Augmentation, chain
from moola.data.draws import Draws, mix_seeds
from moola.labels.pseudo_gates import Passed, PseudoGates
from moola.labels.pseudo_labels import PseudoLabels
from moola.models import LabelledWindows
from moola.pipelines.artifacts import Artifact
from moola.pipelines.stages.oof import Oof, UnitFitter
from moola.pipelines.units import Unit
from moola.training.alarms import Alarm

_VIEW = 0x_5E1F
"""Sets the draws of weak views apart from every other."""


@dataclass(frozen=True)
class SelfTraining:
    """How teachers label and students learn.

    Attributes:
        oof: teacher and students, and how they are fitted.
        teacher: name of the model that labels.
        students: names of the models that learn from its labels.
        gates: what a label has to pass.
        most: windows that the teacher is asked about, evenly spaced over time.
        views: weak views of each, beside the window itself.
        weak: augmentations that make a view.
    """

    oof: Oof
    teacher: str
    students: tuple[str, ...]
    gates: PseudoGates
    most: int
    views: int
    weak: tuple[Augmentation, ...]

    def seeds_of(self, model: str) -> tuple[int, ...]:
        """One for a model without randomness."""
        seeds = self.oof.setup.seeds
        return seeds[:1] if self.oof.models[model].deterministic else seeds


@dataclass(frozen=True)
class FoldOutcome:
    """What came of one fold.

    Attributes:
        left_out: its number, or nothing for the sealed test.
        n_taught: labels that the teacher learned from.
        rows: windows that got a label, by number in the windows table.
        passed: the guesses that passed the gates.
        predicted: (student, seed) -> probabilities [n_held_out, n_classes]; a student that got none is not in it.
        alarms: of all fits.
    """

    left_out: tuple[int, ...]
    n_taught: int
    rows: np.ndarray
    passed: Passed
    predicted: Mapping[tuple[str, int], np.ndarray]
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True)
class FoldTrainer:
    """Does one fold after another in a process of its own."""

    plan: SelfTraining
    fitter: UnitFitter

    @classmethod
    def open(cls, plan: SelfTraining, inputs: Mapping[str, Artifact]) -> Self:
        """From the artifacts that the stage ``oof`` reads."""
        return cls(plan, UnitFitter.open(plan.oof, inputs))

    def __call__(self, left_out: tuple[int, ...]) -> FoldOutcome:
        """Teach, label, gate, and train the students where a fold judges them."""
        alarms: list[Alarm] = []
        taught = self._taught(left_out)
        candidates = self.fitter.pool.rows(left_out, self.plan.most)
        votes = self._votes(left_out, taught, candidates, alarms)
        passed = self.plan.gates.judge(votes, self.fitter.data.spans[candidates])
        pseudo = PseudoLabels(left_out, self.fitter.pool.taught(left_out), candidates[passed.rows], passed.labels)
        predicted = self._students(left_out, taught, pseudo, alarms) if left_out and len(pseudo.rows) else {}
        return FoldOutcome(left_out, len(taught), pseudo.rows, passed, predicted, tuple(alarms))

    def _taught(self, left_out: tuple[int, ...]) -> LabelledWindows:
        labelled = self.fitter.labelled
        return labelled[Unit("", 0, left_out).train(self.fitter.data.folds, labelled.labels)]

    def _votes(
        self, left_out: tuple[int, ...], taught: LabelledWindows, candidates: np.ndarray, alarms: list[Alarm]
    ) -> np.ndarray:
        """What teachers of all seeds say of every view: [n_votes, n_candidates, n_classes]."""
        n_views = 1 + self.plan.views
        asked = self._views(candidates, left_out)
        said = [
            self.fitter.predict(Unit(self.plan.teacher, seed, left_out), taught, asked, alarms.append)
            for seed in self.plan.seeds_of(self.plan.teacher)
        ]
        return np.concatenate([one.reshape(n_views, len(candidates), -1) for one in said])

    def _views(self, candidates: np.ndarray, left_out: tuple[int, ...]) -> LabelledWindows:
        """The windows, and then all of them once for each weak view."""
        data, transform = self.fitter.data, self.plan.oof.setup.transform
        nothing = pl.Series([data.classes[0]] * len(candidates), dtype=pl.String)
        windows = data.gather(pl.Series(candidates), nothing, transform).without_labels()
        augment = chain(self.plan.weak, data.store.channels)
        parts = [windows.bars]
        for view in range(self.plan.views):
            bars = torch.from_numpy(windows.bars)
            seed = mix_seeds(_VIEW, view, *(number + 1 for number in left_out))
            draws = Draws(seed, len(bars), slice(0, len(bars)), bars.device)
            parts.append((augment(bars, draws) if augment else bars).numpy())
        bars = np.concatenate(parts)
        asked = dataclasses.replace(
            windows, bars=bars, inputs=bars[..., :0], labels=np.full(len(bars), -1, dtype=np.int64)
        )
        return asked if windows.transform is None else data.with_inputs(asked, transform)

    def _students(
        self, left_out: tuple[int, ...], taught: LabelledWindows, pseudo: PseudoLabels, alarms: list[Alarm]
    ) -> dict[tuple[str, int], np.ndarray]:
        """What students that learned from labels and pseudo-labels say of the windows of the fold."""
        held_out = self.fitter.labelled[Unit("", 0, left_out).predicted(self.fitter.data.folds)].without_labels()
        both = with_pseudo_labels(self.fitter, taught, pseudo, left_out)
        ask = functools.partial(self.fitter.predict, train=both, held_out=held_out, on_alarm=alarms.append)
        return {
            (student, seed): ask(Unit(student, seed, left_out))
            for student in self.plan.students
            for seed in self.plan.seeds_of(student)
        }


def with_pseudo_labels(
    fitter: UnitFitter, taught: LabelledWindows, pseudo: PseudoLabels, left_out: tuple[int, ...]
) -> LabelledWindows:
    """Labelled training windows of some folds and pseudo-labelled ones after them: what a student learns from.

    Raises:
        DataError: the pseudo-labels leak into these folds (`PseudoLabels.check`).
    """
    data, pool = fitter.data, fitter.pool
    pseudo.check(left_out, pool.held_out(left_out), pool.sealed, data.spans, pool.margins)
    names = pl.Series([data.classes[number] for number in pseudo.labels], dtype=pl.String)
    more = data.gather(pl.Series(pseudo.rows), names, fitter.stage.setup.transform)
    pointers = taught.pointers
    if pointers is not None:
        pointers = np.concatenate([pointers, np.full((len(more), 2), -1, dtype=pointers.dtype)])
    return dataclasses.replace(
        taught,
        bars=np.concatenate([taught.bars, more.bars]),
        inputs=np.concatenate([taught.inputs, more.inputs]),
        labels=np.concatenate([taught.labels, more.labels]),
        pointers=pointers,
    )
