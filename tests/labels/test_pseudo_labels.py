"""What a pseudo-label has to pass, and where it must never be used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.data.splits.purging import Margins
from moola.data.window_index import WindowSpans
from moola.errors import DataError
from moola.labels.pseudo_gates import PseudoGates
from moola.labels.pseudo_labels import PseudoLabels, may_be_labelled

LENGTH = 5


def spans(starts: np.ndarray, series: np.ndarray | None = None) -> WindowSpans:
    series = np.zeros_like(starts) if series is None else series
    last = starts + LENGTH - 1
    return WindowSpans(series, series, starts, last, starts * 60, last * 60)


def votes(*ups: list[float]) -> np.ndarray:
    """Probabilities of two classes, one row of `ups` a vote."""
    up = np.array(ups)
    return np.stack([1 - up, up], axis=2)


def apart(n: int) -> WindowSpans:
    return spans(np.arange(n) * LENGTH)


def test_gates_are_those_of_the_facts() -> None:
    found = PseudoGates().judge(votes([0.95, 0.05, 0.91, 0.14, 0.5]), apart(5))
    assert found.rows.tolist() == [0, 1] and found.labels.tolist() == [1, 0]
    assert found.funnel == {"looked_at": 5, "likely": 4, "sure": 2, "consistent": 4, "apart": 4, "passed": 2}


def test_a_class_with_too_few_sure_ones_is_filled_with_likely_ones_and_no_further_than_the_other() -> None:
    found = PseudoGates().judge(votes([0.99, 0.98, 0.97, 0.05, 0.14, 0.13, 0.12, 0.88]), apart(8))
    assert found.rows.tolist() == [0, 1, 2, 3, 5, 6]
    assert found.labels.tolist() == [1, 1, 1, 0, 0, 0]


def test_votes_that_differ_do_not_pass_however_sure_they_are_on_the_whole() -> None:
    said = votes([1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.52], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0])
    assert PseudoGates(consistency=0.875).judge(said, apart(2)).rows.tolist() == [0, 1]
    assert PseudoGates(consistency=0.9).judge(said, apart(2)).funnel["consistent"] == 1


def test_classes_take_turns_where_windows_share_time() -> None:
    sure_of_up = votes([0.99, 0.98, 0.97, 0.07, 0.06])
    found = PseudoGates(apart=1.0).judge(sure_of_up, spans(np.array([0, 6, 3, 9, 30])))
    assert found.funnel["apart"] == 3 and found.rows.tolist() == [0, 4]  # 1 and 2 differ by 3 steps, 3 meets 1
    series = np.array([0, 0, 1])
    told = PseudoGates(apart=1.0).judge(votes([0.99, 0.98, 0.02]), spans(np.array([0, 4, 0]), series))
    assert told.rows.tolist() == [0, 2]


def test_a_class_that_nobody_named_leaves_nothing() -> None:
    assert not len(PseudoGates().judge(votes([0.99, 0.98, 0.97]), apart(3)).rows)
    assert not len(PseudoGates().judge(np.zeros((1, 0, 2)), apart(0)).rows)


@settings(max_examples=40)
@given(
    n=st.integers(0, 120),
    n_classes=st.integers(2, 4),
    most=st.integers(1, 20),
    apart=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_what_passes_keeps_every_promise(n: int, n_classes: int, most: int, apart: float, seed: int) -> None:
    said = np.random.default_rng(seed).dirichlet(np.full(n_classes, 0.1), size=(3, n))
    where = spans(np.arange(n))
    gates = PseudoGates(sure=0.8, likely=0.6, max_per_class=most, apart=apart)
    found = gates.judge(said, where)
    counts = np.bincount(found.labels, minlength=n_classes)
    assert counts.max() <= most and (found.confidence >= gates.likely).all()
    assert (found.agreement >= gates.consistency).all()
    if len(found.rows):
        assert (np.abs(counts / counts.sum() * n_classes - 1) <= gates.imbalance + 1e-9).all()
        assert (np.diff(where.first_step[found.rows]) >= apart * LENGTH).all()
    assert list(found.funnel.values())[3:] == sorted(list(found.funnel.values())[3:], reverse=True)


MARGINS = Margins(purge_bars=2)


@settings(max_examples=40)
@given(
    labelled=st.lists(st.integers(0, 80), min_size=6, max_size=20, unique=True),
    held=st.integers(0, 2),
    purge=st.integers(0, 6),
    walk=st.booleans(),
)
def test_the_pool_of_a_fold_never_meets_what_judges(labelled: list[int], held: int, purge: int, walk: bool) -> None:
    where = spans(np.arange(100))
    rows = np.array(sorted(labelled))
    blocks = np.array_split(rows, 3)
    held_out, sealed = blocks[held], np.arange(94, 100)
    gap = LENGTH - 1 + purge
    train = rows[np.abs(rows[:, None] - held_out).min(axis=1) > gap]
    train = train[train < held_out.min()] if walk else train
    if not len(train):
        return
    candidates = np.setdiff1d(np.arange(94), rows)
    pool = may_be_labelled(candidates, train, held_out, sealed, where, Margins(purge_bars=purge))
    judging = np.concatenate([held_out, sealed])
    assert (np.abs(pool[:, None] - judging) > gap).all()
    if (train < held_out.min()).all():
        assert (pool < held_out.min()).all()
    else:
        far = candidates[(np.abs(candidates[:, None] - judging) > gap).all(axis=1)]
        assert pool.tolist() == far.tolist()  # and nothing else is left out
    PseudoLabels((0,), train, pool, np.zeros(len(pool), int)).check(
        (0,), held_out, sealed, where, Margins(purge_bars=purge)
    )


def test_a_series_that_is_held_out_whole_labels_nothing() -> None:
    series = np.repeat([0, 1], 50)
    where = spans(np.concatenate([np.arange(50), np.arange(50) + 1_000]), series)
    pool = may_be_labelled(np.arange(100), np.array([0]), np.array([99]), np.empty(0, int), where, Margins())
    assert set(series[pool]) == {0}


@pytest.mark.parametrize(
    ("left_out", "teacher", "rows", "told"),
    [
        ((0,), [0, 50], [30], "1 windows that taught are held-out windows"),
        ((0,), [5], [30], "1 windows that taught are held-out windows"),
        ((0,), [50], [6], "1 pseudo-labelled windows are held-out windows"),
        ((0,), [50], [30, 84, 90], "2 pseudo-labelled windows are sealed windows"),
        ((1,), [50], [30], "they were made for fold 1 and are used for fold 0"),
        ((), [50], [30], "they were made for the sealed test and are used for fold 0"),
    ],
    ids=["defect 10", "too near", "in the purge", "sealed", "of another fold", "of all labels"],
)
def test_labels_that_leak_are_refused(left_out, teacher, rows, told: str) -> None:
    where = spans(np.arange(100))
    held_out, sealed = np.array([0]), np.arange(90, 100)
    labels = PseudoLabels(left_out, np.array(teacher), np.array(rows), np.zeros(len(rows), int))
    with pytest.raises(DataError, match="pseudo-labels leak into fold 0") as caught:
        labels.check((0,), held_out, sealed, where, MARGINS)
    assert told in caught.value.why
    PseudoLabels((0,), np.array([50]), np.array([7, 83]), np.zeros(2, int)).check(
        (0,), held_out, sealed, where, MARGINS
    )
