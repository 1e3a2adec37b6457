"""Trials know the training windows of their study and nothing else, so the figure that judges a winner is honest."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moola.data.splits.proof import prove
from moola.data.splits.purged_kfold import PurgedKFold
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import EventLog
from moola.sweeps.search.inner_splits import inner_splitter
from moola.sweeps.search.running import SearchOutcome
from moola.sweeps.search.scoring import TrialScorer, with_outer
from moola.sweeps.search.study import PrunedError

pytest.importorskip("optuna")

TRAIN, TEST = 120, 60
FOREST = (
    "search=random_forest",
    "search.n_trials=8",
    "search.sampler=random",
    "search.pruner=none",
    "++search.space={model.random_forest.trees:{type:int,low:1,high:6},"
    "model.random_forest.inputs:{type:categorical,choices:[window,summary]}}",
    "model.random_forest.trees=1",
)
LOGISTIC = ("search=logistic_regression", "search.n_trials=5")


def trials(outcome: SearchOutcome) -> list[Any]:
    studies = (outcome.found, *outcome.folds)
    return [(one.number, one.status, one.params, one.value) for study in studies for one in study.records]


def quiet(params: object, report: object = None) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def scorer(search_words: Callable[..., list[str]], search_of: Callable[..., Any]) -> TrialScorer:
    search = search_of([*search_words(), *LOGISTIC])
    return TrialScorer(search.base, "logistic_regression", "balanced_accuracy", search.layout)


@pytest.mark.parametrize("outer", [None, 1])
def test_inner_folds_hold_their_distance_and_no_other_label(scorer: TrialScorer, outer: int | None):
    mine = with_outer(scorer, outer)
    _, inputs = mine.open({}, inner=True)
    _, whole = mine.open({}, inner=False)
    inner, run = Dataset.open(inputs), Dataset.open(whole)
    allowed = run.labels if outer is None else run.labels[np.sort(run.folds[outer].train).tolist()]
    assert inner.labels["window_id"].to_list() == allowed["window_id"].to_list()
    assert not len(inner.test)
    known = set(inner.rows_of("train").tolist())
    assert not known & set(run.rows_of("test").tolist())
    if outer is not None:
        assert not known & set(run.labels["row"].to_numpy()[run.folds[outer].held_out].tolist())
    rows = inner.labels["row"].to_numpy()
    splitter = inner_splitter(PurgedKFold(test_from="2024-02-01", n_folds=3), inner.store, None)
    part = np.where(np.isin(np.arange(len(inner.table)), list(known)), "train", "excluded")
    proof = prove(splitter, inner.store, inner.windows, inner.spans, part, rows, inner.folds)
    assert [fold["overlaps"] for fold in proof["folds"]] == [0, 0, 0]


@pytest.mark.parametrize("wrong", [pytest.param("sealed", marks=pytest.mark.slow), "held_out"])
def test_labels_that_judge_are_never_read(
    wrong: str, search_words: Callable[..., list[str]], search_of: Callable[..., Any], scorer: TrialScorer
):
    """Turned around, they leave every trial as it was, to the last bit."""
    data = Dataset.open(scorer.open({}, inner=False)[1])
    truth = data.table["true_label"].to_list()
    turned = {"up": "down", "down": "up"}
    outer = None if wrong == "sealed" else 0
    rows = range(TRAIN, TRAIN + TEST) if outer is None else data.labels["row"].to_numpy()[data.folds[0].held_out]
    changed = [turned[name] if number in set(rows) else name for number, name in enumerate(truth)]
    assert changed != truth

    def figures(own: TrialScorer) -> list[float]:
        values = [own({"model.logistic_regression.c": c}, quiet) for c in (0.001, 1.0)]
        return [*values, *own.inner({}).probabilities.ravel()]

    search = search_of([*search_words(changed), *LOGISTIC])
    other = TrialScorer(search.base, "logistic_regression", "balanced_accuracy", search.layout, outer=outer)
    assert figures(other) == figures(with_outer(scorer, outer))


@pytest.mark.slow
def test_random_labels_give_a_winner_that_is_at_chance_where_it_did_not_choose(
    search_words: Callable[..., list[str]], search_of: Callable[..., Any]
):
    inner, outer, warned = [], [], 0
    for draw in range(4):
        labels = np.random.default_rng(draw).choice(["down", "up"], TRAIN + TEST)
        outcome = search_of([*search_words(labels), *FOREST, "search.outer=all", "search.folds=2"]).run(EventLog())
        assert len(outcome.folds) == 3
        assert outcome.evidence.outer is not None
        inner.append(outcome.evidence.inner.winner.value)
        outer.append(outcome.evidence.outer.winner.value)
        warned += any("not shown to beat chance" in warning for warning in outcome.evidence.warnings)
    assert min(inner) > 0.53
    assert np.mean(inner) > 0.56
    assert abs(np.mean(outer) - 0.5) < 0.04  # four draws of 120 windows: a standard error of .023
    assert warned >= 3


def test_a_pruned_trial_fits_no_further_fold(scorer: TrialScorer):
    mine = with_outer(scorer, 2)
    mine.open({}, inner=True)
    steps: list[int] = []

    def ends(step: int, figure: float) -> None:
        steps.append(step)
        raise PrunedError

    room = mine.layout.room("artifacts/oof/units")
    room.mkdir(parents=True, exist_ok=True)
    before = len(list(room.iterdir()))
    with pytest.raises(PrunedError):
        mine({"model.logistic_regression.c": 0.0123}, ends)
    assert steps == [33]
    assert len(list(room.iterdir())) == before + 1


def test_a_scorer_travels_to_workers_with_what_it_has_looked_up(scorer: TrialScorer):
    told = dataclasses.replace(scorer, events=EventLog())
    told.open({}, inner=True)
    there = pickle.loads(pickle.dumps(told.elsewhere()))
    assert list(there._upstream) == list(told._upstream)


def test_what_was_tried_costs_no_second_fit(scorer: TrialScorer, monkeypatch: pytest.MonkeyPatch):
    value = scorer({"model.logistic_regression.c": 2.0}, quiet)
    monkeypatch.setattr("moola.pipelines.stages.oof.UnitFitter.predict", None)
    assert scorer({"model.logistic_regression.c": 2.0}, quiet) == value


@pytest.mark.slow
def test_epochs_are_told_and_change_nothing(search_words: Callable[..., list[str]], search_of: Callable[..., Any]):
    search = search_of([*search_words(), *LOGISTIC, "model.scratch.members=2"])
    told: list[tuple[int, float]] = []
    watched = TrialScorer(search.base, "scratch", "balanced_accuracy", search.layout)
    value = watched({}, lambda step, figure: told.append((step, figure)))
    assert [step for step, _ in told] == sorted({step for step, _ in told})
    assert len(told) > 9  # three folds of two members of two epochs
    said = watched.inner({}).probabilities
    for path in watched.layout.room("artifacts/oof/units").iterdir():
        path.unlink()
    assert np.array_equal(
        TrialScorer(search.base, "scratch", "balanced_accuracy", search.layout).inner({}).probabilities, said
    )
    assert 0 <= value <= 1


@pytest.mark.slow
def test_a_space_over_pretraining_pretrains_for_each_trial(
    search_words: Callable[..., list[str]], search_of: Callable[..., Any], tmp_path: Path
):
    (tmp_path / "search").mkdir()
    space = {"trainer.pretrain.lr": {"type": "float", "low": 1e-4, "high": 1e-2}}
    text = json.dumps({"name": "rate", "model": "finetuned", "n_trials": 3, "space": space})
    (tmp_path / "search" / "rate.yaml").write_text(text)
    search = search_of([*search_words(), "--config-dir", str(tmp_path), "search=rate"])
    events = EventLog()
    notes: list[str] = []
    events.listen(lambda event: notes.append(event.get("message", "")))
    outcome = search.run(events)
    assert outcome.pretrained_anew == ("trainer.pretrain.lr",)
    assert any("pretrains an encoder of its own" in note for note in notes)
    made = list(search.layout.room("artifacts/encoders/pretrained").glob("pretrain-*"))
    assert len(made) == 3
