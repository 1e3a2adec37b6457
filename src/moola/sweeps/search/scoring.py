"""The figure of a trial: its model, fitted on inner folds of the training windows, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moola.config import RunConfig, describe, digest_json, structure
from moola.errors import ConfigError, DataError, did_you_mean
from moola.evaluation.metrics import compute_metrics
from moola.layout import Layout
from moola.pipelines.artifacts import Artifact
from moola.pipelines.assembly import assemble
from moola.pipelines.context import Context
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.judged import EvaluationConfig, resamples
from moola.pipelines.pipeline import Pipeline
from moola.pipelines.stage import Stage
from moola.pipelines.stages.oof import Oof, UnitFitter
from moola.pipelines.unit_cache import KeptUnit, read_unit, write_unit
from moola.pipelines.units import Unit
from moola.pipelines.unlabelled_pool import UnlabelledPool
from moola.sweeps.search.base import SearchBase
from moola.sweeps.search.inner_splits import InnerSplits
from moola.sweeps.search.sampling import STEPS
from moola.sweeps.search.space import Value

if TYPE_CHECKING:
    from moola.sweeps.search.study import Report

Params = Mapping[str, Value]
_INNER = ("bars", "windows", "splits", "inner_splits")


@dataclass(frozen=True)
class Said:
    """What a configuration says of held-out windows.

    Attributes:
        probabilities: float64 [n_seeds, n_windows, n_classes].
        labels: as given, int64 [n_windows].
        weights: resamples [n_resamples, n_windows] (`moola.evaluation.intervals`).
    """

    probabilities: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


@dataclass
class TrialScorer:
    """Scores parameters on inner folds. Everything before the fits comes from the artifact store.

    Attributes:
        base: configurations.
        model: whose figure counts.
        metric: which.
        layout: folders.
        folds: inner folds; None: as many as the split has.
        outer: fold whose training windows are searched on; None: all training windows.
        events: where stages tell how far they are; None: nowhere.
    """

    base: SearchBase
    model: str
    metric: str
    layout: Layout
    folds: int | None = None
    outer: int | None = None
    events: EventLog | None = None
    _upstream: dict[str, Mapping[str, Artifact]] = field(default_factory=dict)
    _opened: dict[str, tuple[Dataset, UnlabelledPool]] = field(default_factory=dict)

    def __call__(self, params: Params, report: Report) -> float:
        """The figure, a mean over seeds; told to `report` as it becomes known.

        Raises:
            PrunedError: `report` ends the trial.
            MoolaError: it cannot be fitted.
        """
        stage, inputs = self.open(params, inner=True)
        data, _ = self._dataset(inputs)
        labels = data.class_numbers(data.labels["label"])
        units = units_of(stage, self.model, range(len(data.folds)))
        course = _Course(self.metric, labels, len(data.folds), len(units), report)
        for number, unit in enumerate(units):
            rows = unit.predicted(data.folds)
            course.begin(number, rows)
            left = self._fitted(stage, inputs, unit, course.during)
            course.end(left.probabilities)
        return course.figure

    def inner(self, params: Params) -> Said:
        """What the parameters say of the inner folds' windows; from the cache where they were tried here."""
        return self._said(params, inner=True, folds=None)

    def outer_said(self, params: Params, fold: int) -> Said:
        """What they say of the windows that a fold of the run's split holds out, fitted on all that it trains on."""
        return self._said(params, inner=False, folds=[fold])

    def open(self, params: Params, *, inner: bool) -> tuple[Oof, dict[str, Artifact]]:
        """The stage that fits, and what it reads."""
        config = self.base.config(params)
        stages = assemble(config, "oof").stages
        [stage] = [one for one in stages if isinstance(one, Oof)]
        if self.model not in stage.models:
            told = did_you_mean(self.model, stage.models)
            raise ConfigError([f"search.model: there is no model '{self.model}'; {told}"])
        stage = stage.only([self.model])
        made = self._artifacts(config, stages, pretrained=stage.models[self.model].needs_pretraining)
        inputs = {name: item for name, item in made.items() if name in ("bars", "windows", "encoder")}
        return stage, {**inputs, "splits": made["inner_splits" if inner else "splits"]}

    def elsewhere(self) -> TrialScorer:
        """The same for another process: what cannot travel is left here."""
        return dataclasses.replace(self, events=None, _opened={})

    def n_outer(self) -> int:
        """Folds of the run's split.

        Raises:
            DataError: they hold windows out more than once, so there is no one figure out of fold.
        """
        _, inputs = self.open({}, inner=False)
        folds = self._dataset(inputs)[0].folds
        held_out = np.concatenate([fold.held_out for fold in folds])
        if len(np.unique(held_out)) < len(held_out):
            raise DataError(
                "search.outer=all needs folds that hold each window out once",
                "this split holds windows out more often",
                "choose split=purged_kfold or split=walk_forward, or search.outer=null",
            )
        return len(folds)

    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self._dataset(self.open({}, inner=True)[1])[0].classes

    def data_digest(self) -> str:
        """Of everything that a trial reads of bars, windows and labels."""
        inputs = self.open({}, inner=True)[1]
        return digest_json([inputs[name].digest for name in ("bars", "splits")])

    def _said(self, params: Params, *, inner: bool, folds: Sequence[int] | None) -> Said:
        stage, inputs = self.open(params, inner=inner)
        data, _ = self._dataset(inputs)
        chosen = range(len(data.folds)) if folds is None else folds
        units = units_of(stage, self.model, chosen)
        found = {unit: self._fitted(stage, inputs, unit).probabilities for unit in units}
        rows = np.concatenate([data.folds[number].held_out for number in chosen])
        seeds = dict.fromkeys(unit.seed for unit in units)
        said = np.stack([np.concatenate([found[unit] for unit in units if unit.seed == seed]) for seed in seeds])
        order = np.argsort(rows, kind="stable")
        judged = data.labels[rows[order].tolist()]
        evaluation = structure(EvaluationConfig, self.base.config(params).evaluation, "evaluation")
        weights = resamples(data, judged, evaluation)
        return Said(said[:, order], data.class_numbers(judged["label"]), weights)

    def _fitted(
        self,
        stage: Oof,
        inputs: Mapping[str, Artifact],
        unit: Unit,
        on_epoch: Callable[[float, np.ndarray], None] | None = None,
    ) -> KeptUnit:
        """What one fit leaves, from the cache where it was done before."""
        import time

        data, pool = self._dataset(inputs)
        path = stage.unit_path(unit, inputs, self.layout.room("artifacts/oof/units"))
        rows = unit.predicted(data.folds)
        kept = read_unit(path, (len(rows), len(data.classes)))
        if kept is not None:
            return kept
        labelled = data.gather(data.labels["row"], data.labels["label"], stage.setup.transform)
        fitter = UnitFitter(stage, inputs, data, labelled, labelled[rows[:0]], pool)
        started = time.perf_counter()
        train, held_out = labelled[unit.train(data.folds, labelled.labels)], labelled[rows].without_labels()
        predicted = fitter.predict(unit, train, held_out, lambda _: None, on_epoch)
        left = KeptUnit(predicted, time.perf_counter() - started)
        write_unit(path, left)
        return left

    def _dataset(self, inputs: Mapping[str, Artifact]) -> tuple[Dataset, UnlabelledPool]:
        key = inputs["splits"].key
        if key not in self._opened:
            data = Dataset.open(inputs)
            self._opened[key] = (data, UnlabelledPool(data, inputs["splits"]))
        return self._opened[key]

    def _artifacts(self, config: RunConfig, stages: Sequence[Stage], *, pretrained: bool) -> Mapping[str, Artifact]:
        """What the fits read; looked up once for all parameters that do not touch it."""
        needed = upstream(stages, pretrained=pretrained)
        key = digest_json([[stage.name, describe(stage)] for stage in needed])
        if key not in self._upstream:
            [splits] = [stage for stage in needed if stage.provides == "splits"]
            inner = InnerSplits(splits.splitter, self.folds, self.outer)  # type: ignore[attr-defined]
            place = needed.index(splits) + 1
            line = Pipeline([*needed[:place], inner, *needed[place:]])
            context = Context(
                f"search-{config.name}", self.layout, self.events or EventLog(), processes=config.processes
            )
            self._upstream[key] = dict(line.run(context).artifacts)  # plain: it travels to processes
        return self._upstream[key]


def upstream(stages: Sequence[Stage], *, pretrained: bool) -> list[Stage]:
    """The stages that the fits need, in order; the encoder only where the model starts from it."""
    wanted = {"bars", "windows", "splits", *(["encoder"] if pretrained else [])}
    for stage in reversed(stages):
        if stage.provides in wanted:
            wanted |= set(stage.needs())
    return [stage for stage in stages if stage.provides in wanted and not isinstance(stage, Oof)]


def units_of(stage: Oof, model: str, folds: Sequence[int]) -> list[Unit]:
    """Every fit of a model: seed by seed, fold by fold."""
    seeds = stage.setup.seeds[:1] if stage.models[model].deterministic else stage.setup.seeds
    return [Unit(model, seed, (number,)) for seed in seeds for number in folds]


class _Course:
    """How far a trial is, and its figure so far: the mean over seeds of the figure on windows predicted so far."""

    def __init__(self, metric: str, labels: np.ndarray, n_folds: int, n_units: int, report: Report) -> None:
        self._metric, self._labels, self._report = metric, labels, report
        self._n_folds, self._n_units = n_folds, n_units
        self._of_seeds: list[float] = []
        self._rows: list[np.ndarray] = []
        self._said: list[np.ndarray] = []
        self._step = 0
        self.figure = float("nan")

    def begin(self, unit: int, rows: np.ndarray) -> None:
        """A fit begins that predicts these rows."""
        if unit % self._n_folds == 0 and unit:
            self._of_seeds.append(self._own())
            self._rows, self._said = [], []
        self._unit = unit
        self._rows.append(rows)

    def during(self, share: float, said: np.ndarray) -> None:
        """So much of the fit is done, and this is what it says by now."""
        self._tell(share, [*self._said, said])

    def end(self, said: np.ndarray) -> None:
        """The fit is done."""
        self._said.append(said)
        self.figure = float(np.mean([*self._of_seeds, self._own()]))
        self._tell(1.0, self._said)

    def _own(self) -> float:
        return self._computed(self._said)

    def _computed(self, said: Sequence[np.ndarray]) -> float:
        rows = np.concatenate(self._rows)
        found = compute_metrics(np.concatenate(said)[None], self._labels[rows], names=(self._metric,))
        return float(found[self._metric][0, 0])

    def _tell(self, share: float, said: Sequence[np.ndarray]) -> None:
        step = round(STEPS * (self._unit + share) / self._n_units)
        if step > self._step and step < STEPS:
            self._step = step
            self._report(step, float(np.mean([*self._of_seeds, self._computed(said)])))


def with_outer(scorer: TrialScorer, outer: int | None) -> TrialScorer:
    """The same on the training windows of another fold."""
    return dataclasses.replace(scorer, outer=outer, _upstream={}, _opened={})


def studies_folder(layout: Layout) -> Path:
    """Where journals of studies and their workers' locks lie."""
    return layout.room("artifacts/metadata") / "studies"
