"""Fits for outer folds know nothing of what the outer fold holds out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.data.splits import Fold
from moola.features.standardised import Standardised
from moola.models.bilstm import BiLstm
from moola.models.controls import Majority
from moola.pipelines.events import EventLog
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Workspace
from moola.pipelines.stages import oof
from moola.pipelines.unit_cache import KeptUnit
from moola.pipelines.units import Unit, nested_plan, nested_rows, plan_units, trained_on
from moola.training.schedule import FitConfig


def purged_folds(n: int, k: int, purge: int) -> list[Fold]:
    """Contiguous blocks; rows within `purge` of the held-out block do not train."""
    blocks = np.array_split(np.arange(n), k)
    rows = np.arange(n)
    return [Fold(rows[(rows < b[0] - purge) | (rows > b[-1] + purge)], b) for b in blocks]


def walk_forward(n: int, k: int, purge: int) -> list[Fold]:
    """Blocks after the first; everything before a block trains, but for the rows next to it."""
    blocks = np.array_split(np.arange(n), k + 1)[1:]
    return [Fold(np.arange(max(block[0] - purge, 0)), block) for block in blocks]


@given(
    make=st.sampled_from([purged_folds, walk_forward]),
    n=st.integers(24, 80),
    k=st.integers(2, 6),
    purge=st.integers(0, 2),
    seed=st.integers(0, 9),
)
def test_no_fit_for_an_outer_fold_trains_on_what_that_fold_may_not_know(make, n, k, purge, seed) -> None:
    folds, labels = make(n, k, purge), np.random.default_rng(seed).integers(0, 2, n)
    plan = nested_plan(folds, labels)
    told: dict[int, set[int]] = {}
    units = plan_units({"m": Majority()}, (0,), folds, plan, sealed=False)
    assert len(set(units)) == len(units)
    for unit in units:
        train = unit.train(folds, labels)
        for number in unit.left_out:
            assert np.isin(train, folds[number].train).all()
        for outer, inner, rows, places in nested_rows(folds, plan, unit):
            assert np.isin(train, folds[outer].train).all() and np.isin(train, folds[inner].train).all()
            assert np.isin(rows, folds[outer].train).all()
            assert np.array_equal(unit.predicted(folds)[places], rows)
            assert not told.setdefault(outer, set()) & set(rows.tolist())  # each row once an outer fold
            told[outer] |= set(rows.tolist())
    for outer, fold in enumerate(folds):
        whole = all((outer, i) in plan for i in range(len(folds)) if np.isin(folds[i].held_out, fold.train).any())
        held_out = np.concatenate([other.held_out for other in folds])
        if whole:
            assert told.get(outer, set()) == set(np.intersect1d(held_out, fold.train).tolist())


def test_a_pair_of_folds_shares_a_fit_and_walk_forward_needs_none() -> None:
    labels = np.arange(40) % 2
    assert len(set(nested_plan(purged_folds(40, 5, 1), labels).values())) == 10
    forward = nested_plan(walk_forward(40, 4, 1), labels)
    assert forward and all(left_out == (inner,) and inner < outer for (outer, inner), left_out in forward.items())


def test_folds_that_hold_windows_out_more_than_once_are_not_nested() -> None:
    twice = [Fold(np.arange(8, 16), np.arange(8)), Fold(np.arange(12, 16), np.arange(4, 12))]
    assert nested_plan(twice, np.arange(16) % 2) == {}


def test_a_pair_whose_fit_would_lack_a_class_is_left_out() -> None:
    folds = purged_folds(12, 3, 0)
    labels = np.array([0, 1] * 2 + [0, 1] * 2 + [0] * 4)
    assert (0, 1) not in nested_plan(folds, labels) and (0, 2) in nested_plan(folds, labels)


@pytest.mark.parametrize(
    ("left_out", "says"), [((), "all labels"), ((2,), "without fold 2"), ((0, 3), "folds 0 and 3")]
)
def test_a_unit_says_what_it_is(left_out: tuple[int, ...], says: str) -> None:
    assert says in Unit("m", 1, left_out).spoken


def test_where_nothing_is_left_out_everything_trains() -> None:
    assert np.array_equal(trained_on(purged_folds(10, 2, 0), (), 10), np.arange(10))


@given(seed=st.integers(0, 99), n=st.integers(4, 60))
def test_a_larger_share_of_labels_holds_a_smaller_one_and_every_class(seed: int, n: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, n)
    drawn = [Unit("m", seed, (), share).train([], labels) for share in (0.05, 0.3, 0.7, 1.0)]
    for smaller, larger in itertools.pairwise(drawn):
        assert np.isin(smaller, larger).all()
    assert all(set(labels[rows]) == set(labels) for rows in drawn) and np.array_equal(drawn[-1], np.arange(n))
    assert not np.array_equal(drawn[1], Unit("m", seed + 1, (), 0.3).train([], labels)) or n < 20


def test_what_units_leave_is_in_their_order_whichever_ends_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def last_first(tasks: list[Any], *_: Any) -> list[tuple[Any, tuple[KeptUnit, list[Any]]]]:
        return [(task, (KeptUnit(np.ones((1, 1)), 1.0), [])) for task in reversed(tasks)]

    monkeypatch.setattr(oof, "run_all", last_first)
    setup = EncoderSetup((0,), "cpu", Standardised(), BiLstm())
    stage = oof.Oof(setup, FitConfig(epochs=1, batch_size=8), {"majority": Majority()})
    units = [Unit("majority", 0, (), share) for share in (0.1, 0.5, 1.0)]
    workspace = Workspace(tmp_path, "run", "oof", EventLog(), tmp_path / "units", fresh=True)
    data: Any = None  # no fit is made here that would look at it
    assert list(stage.predict_units(units, data, {}, workspace)) == units
