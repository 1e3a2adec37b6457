"""A search from its settings to its winner: studies, and what they are worth on windows that did not choose."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import moola
from moola.config import digest_json, structure
from moola.errors import ConfigError, DataError
from moola.evaluation.metrics import METRICS
from moola.layout import Layout
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.pipelines.judged import EvaluationConfig, resamples
from moola.sweeps.search.base import ComposedWords, SearchBase, check_space, pretrains_anew
from moola.sweeps.search.evidence import Compared, Evidence, compared, pooled, warnings_of
from moola.sweeps.search.scoring import TrialScorer, studies_folder, with_outer
from moola.sweeps.search.settings import SearchSettings, read_settings
from moola.sweeps.search.storage import require_optuna, spoken_place
from moola.sweeps.search.study import COUNTED, TrialRecord, best_of, read_records, study_id
from moola.sweeps.search.workers import StudyPlan, try_all

_ATTRIBUTE = "moola"
"""Of a study: what it is a study of."""


@dataclass(frozen=True)
class Found:
    """What one study found.

    Attributes:
        name: of the study.
        outer: fold that it knows nothing of; None: all training windows were searched.
        records: every trial.
        best: the winner.
    """

    name: str
    outer: int | None
    records: tuple[TrialRecord, ...]
    best: TrialRecord


@dataclass(frozen=True)
class SearchOutcome:
    """A finished search.

    Attributes:
        settings: of it.
        found: by the study on all training windows.
        folds: by those on the training windows of each fold.
        evidence: what the winner is worth.
        storage: where the studies are, without a password.
        default: parameters of the configuration as it is, of the keys that are searched.
        pretrained_anew: keys for which trials pretrain an encoder of their own.
        n_windows, n_folds, n_seeds: what the inner figure rests on.
    """

    settings: SearchSettings
    found: Found
    folds: tuple[Found, ...]
    evidence: Evidence
    storage: str
    default: Mapping[str, Any]
    pretrained_anew: tuple[str, ...]
    n_windows: int
    n_folds: int
    n_seeds: int


class Search:
    """A search that is checked and may begin.

    Args:
        words: overrides of the user, without those of the group ``search``.
        own: what all of them compose to.

    Raises:
        ConfigError: every problem of the section ``search`` and of its space.
        MissingPackageError: Optuna or a driver is missing.
    """

    def __init__(self, words: Sequence[str], own: ComposedWords) -> None:
        require_optuna()
        self.settings: SearchSettings = read_settings(own.search)
        self.base = SearchBase.compose(words, self.settings.dimensions, own)
        check_space(self.base, self.settings.dimensions)
        config = self.base.config({})
        self.layout = Layout(Path(config.paths.data).absolute(), Path(config.paths.artifacts).absolute())
        models = config.model
        if self.settings.model not in models:
            from moola.errors import did_you_mean

            told = (
                f"search.model: there is no model '{self.settings.model}'; {did_you_mean(self.settings.model, models)}"
            )
            raise ConfigError([told])
        self.place = self.settings.storage or str(studies_folder(self.layout) / f"{self.settings.name}.journal")
        self.higher_is_better = METRICS[self.settings.metric].higher_is_better
        self.pretrained_anew = tuple(pretrains_anew(self.base, self.settings.dimensions))

    @property
    def folder(self) -> Path:
        """Of the results."""
        return self.layout.searches / self.settings.name

    @cached_property
    def study_id(self) -> str:
        """Of the study on all training windows, which is made where there is none.

        Raises:
            MoolaError: its storage cannot be used.
        """
        self.layout.check_writable()
        if "://" not in self.place and Path(os.path.abspath(self.place)).is_relative_to(self.layout.artifacts):
            with contextlib.suppress(OSError):  # whoever opens the journal tells that there is no folder
                Path(self.place).parent.mkdir(parents=True, exist_ok=True)
        return study_id(self.place, self.settings.name, self.higher_is_better)

    def run(self, events: EventLog) -> SearchOutcome:
        """Search, and judge the winner.

        Raises:
            MoolaError: the default cannot be fitted, or the data do not allow inner folds.
        """
        settings = self.settings
        _ = self.study_id  # a wrong storage is told before all computing
        config = self.base.config({})
        scorer = TrialScorer(self.base, settings.model, settings.metric, self.layout, settings.folds, events=events)
        scorer.open({}, inner=True)
        if self.pretrained_anew and self._needs_pretraining(scorer):
            keys = ", ".join(self.pretrained_anew)
            events.emit("note", message=f"{keys}: each trial that changes it pretrains an encoder of its own")
        outers = range(scorer.n_outer()) if settings.outer == "all" else ()
        folds = tuple(self._study(with_outer(scorer, fold), fold, events) for fold in outers)
        found = self._study(scorer, None, events)
        inner, default = scorer.inner(found.best.params), scorer.inner({})
        inner_pair = compared(inner, default, settings.metric)
        outer_pair = self._judged(scorer, folds) if folds else None
        warnings = warnings_of(
            found.best,
            found.records,
            settings.dimensions,
            inner_pair,
            outer_pair,
            inner,
            scorer.classes(),
            settings.metric,
        )
        return SearchOutcome(
            settings,
            found,
            folds,
            Evidence(inner_pair, outer_pair, warnings),
            spoken_place(self.place),
            {key: self.base.value(key) for key in settings.dimensions},
            self.pretrained_anew if self._needs_pretraining(scorer) else (),
            inner.probabilities.shape[1],
            len(Dataset.open(scorer.open({}, inner=True)[1]).folds),
            len(config.seeds),
        )

    def _needs_pretraining(self, scorer: TrialScorer) -> bool:
        return scorer.open({}, inner=True)[0].models[self.settings.model].needs_pretraining

    def _study(self, scorer: TrialScorer, outer: int | None, events: EventLog) -> Found:
        """Bring one study to its end."""
        settings = self.settings
        name = settings.name if outer is None else f"{settings.name}.fold{outer}"
        identity = self._identity(scorer)
        plan = self._plan(name, scorer.elsewhere())
        _recognise(plan, identity)
        series = "search" if outer is None else f"search/fold{outer}"
        known = read_records(self.place, name)
        progress = _Progress(settings, name, series, events, self.higher_is_better, known)
        try_all(plan, progress.trial, lambda message: events.emit("note", message=message))
        records = read_records(self.place, name)
        progress.tell_rest(records)
        best = best_of(records, self.higher_is_better)
        if best is None:
            why = f"{len(records)} trials, none of them finished; search.timeout_s={settings.timeout_s}"
            raise DataError(f"the study {name} found nothing", why, "give it more time")
        return Found(name, outer, tuple(records), best)

    def _plan(self, name: str, scorer: TrialScorer) -> StudyPlan:
        settings = self.settings
        default = self.base.default_params(settings.dimensions)
        locks = studies_folder(self.layout) / "workers"
        return StudyPlan(self.place, name, settings, default, self.higher_is_better, scorer, locks, settings.timeout_s)

    def _identity(self, scorer: TrialScorer) -> dict[str, Any]:
        """What has to be the same in all trials of a study, whichever machine tries them."""
        settings = self.settings
        return {
            "the configuration": self.base.identity(),
            "search.space": digest_json(
                {key: item.distribution()._asdict() for key, item in settings.dimensions.items()}
            ),
            "search.model": settings.model,
            "search.metric": settings.metric,
            "search.folds": settings.folds,
            "the bars, windows or labels": scorer.data_digest(),
        }

    def _judged(self, scorer: TrialScorer, folds: Sequence[Found]) -> Compared:
        """The winner of each fold's study, and the default, on the windows that the fold holds out."""
        winners = [scorer.outer_said(one.best.params, one.outer or 0) for one in folds]
        defaults = [scorer.outer_said({}, one.outer or 0) for one in folds]
        data = Dataset.open(scorer.open({}, inner=False)[1])
        rows = np.concatenate([np.sort(data.folds[one.outer or 0].held_out) for one in folds])
        evaluation = structure(EvaluationConfig, self.base.config({}).evaluation, "evaluation")
        weights = resamples(data, data.labels[rows.tolist()], evaluation)
        return compared(pooled(winners, weights), pooled(defaults, weights), self.settings.metric)


def _recognise(plan: StudyPlan, identity: Mapping[str, Any]) -> None:
    """Write down what a new study is about; refuse one of the same name that is about something else."""
    with plan.opened() as one, one.storage.alone():
        known = one.study.user_attrs.get(_ATTRIBUTE)
        if known is None:
            one.study.set_user_attr(_ATTRIBUTE, {**identity, "moola": moola.__version__})
            return
    other = [key for key, value in identity.items() if known.get(key) != value]
    if other:
        raise ConfigError(
            [f"search.name: the study {plan.name} is there already, and is about something else: {', '.join(other)}"],
            "its trials cannot be compared with new ones: choose another name with search.name=NAME",
        )


class _Progress:
    """Tells how far a study is: of its own trials as they end, and of those of others at last.

    Args:
        settings: of the search.
        name: of the study.
        series: name of its curve for trackers.
        events: where it is told.
        higher_is_better: direction of the metric.
        known: trials of earlier attempts.
    """

    def __init__(
        self,
        settings: SearchSettings,
        name: str,
        series: str,
        events: EventLog,
        higher_is_better: bool,
        known: Sequence[TrialRecord],
    ) -> None:
        self._settings, self._name, self._series, self._events = settings, name, series, events
        self._better = max if higher_is_better else min
        self._done = sum(one.status in COUNTED for one in known)
        before = best_of(known, higher_is_better)
        self._best = before.value if before is not None else None
        self._told = set[int]()

    def trial(self, record: TrialRecord) -> None:
        self._done += record.status in COUNTED
        if record.status == "failed":
            first = (record.why.splitlines() or [""])[0]
            self._events.emit("note", message=f"trial {record.number} failed: {first}")
        figures = self._tell(record)
        done = min(max(self._done, record.number + 1), self._settings.n_trials)  # others are at it, too
        what = f"{self._name}, trial {record.number} {record.status}"
        rounded = {name: round(value, 4) for name, value in figures.items()}
        self._events.emit("progress", stage="search", done=done, total=self._settings.n_trials, what=what, **rounded)

    def tell_rest(self, records: Sequence[TrialRecord]) -> None:
        """Trials of other processes and attempts."""
        self._best = None
        for record in records:
            if record.number not in self._told:
                self._tell(record)
            elif record.status == "finished" and record.value is not None:
                self._best = self._so_far(record.value)

    def _tell(self, record: TrialRecord) -> dict[str, float]:
        """The figure of a trial and the best so far, as an event."""
        self._told.add(record.number)
        figures: dict[str, float] = {}
        if record.status == "finished" and record.value is not None:
            self._best = self._so_far(record.value)
            figures[self._settings.metric] = record.value
        if self._best is not None:
            figures["best"] = self._best
        if record.status in COUNTED:
            self._events.emit("trial", study=self._series, number=record.number, status=record.status, **figures)
        return figures

    def _so_far(self, value: float) -> float:
        return value if self._best is None else self._better(self._best, value)
