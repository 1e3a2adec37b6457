"""On any calendar: nothing that trains comes too near to what is held out, and nothing is left out without need."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from moola.data.bar_store import BarStore
from moola.data.durations import microseconds
from moola.data.splits import Fold
from moola.data.splits.combinatorial import CombinatorialPurged
from moola.data.splits.proof import prove
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.sealed import moment_us
from moola.data.splits.sessions import SessionFolds, local_days
from moola.data.splits.walk_forward import WalkForward
from moola.data.window_index import WindowConfig, WindowIndex, WindowSpans
from moola.errors import DataError
from moola.pipelines.stages.splits import check_folds, check_gaps

HOUR = 3_600_000_000
START = "2020-03-01"
BORDER = "2020-03-08"


@dataclass(frozen=True)
class Market:
    store: BarStore
    windows: WindowIndex
    spans: WindowSpans


@st.composite
def markets(draw: st.DrawFn) -> Market:
    """One to three series that pause at different times, cut into windows of any length, stride and horizon."""
    pauses = st.lists(st.sampled_from([1, 1, 1, 2, 3, 13]), min_size=60, max_size=90)
    series = draw(st.lists(st.tuples(st.integers(0, 40), pauses), min_size=1, max_size=3))
    times = [moment_us(START) + (first + np.cumsum(some)) * HOUR for first, some in series]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in times])])
    names, nothing = tuple(f"s{i}" for i in range(len(times))), (None,) * len(times)
    values = np.zeros((int(offsets[-1]), 1), np.float32)
    store = BarStore(values, np.concatenate(times), offsets, names, nothing, nothing, ("x",), False, "market")
    config = WindowConfig(
        length=draw(st.integers(2, 8)),
        stride_bars=draw(st.integers(1, 5)),
        horizon_bars=draw(st.integers(0, 3)),
        max_gap=draw(st.sampled_from([None, "12h"])),
    )
    try:
        windows = WindowIndex.build(store, config)
    except DataError:
        assume(False)
        raise
    return Market(store, windows, windows.spans(store))


MARGINS = st.fixed_dictionaries({"purge_bars": st.integers(0, 5), "purge_time": st.sampled_from([None, "1h", "9h"])})
EMBARGOES = st.fixed_dictionaries(
    {"embargo_bars": st.integers(0, 8), "embargo_time": st.sampled_from([None, "2h", "14h"])}
)
SPLITTERS = {
    "kfold": lambda n, **margins: PurgedKFold(BORDER, n_folds=n, **margins),
    "combinatorial": lambda n, **margins: CombinatorialPurged(BORDER, n_blocks=n + 3, n_held_out=2, **margins),
    "sessions": lambda n, **margins: SessionFolds(BORDER, n_folds=n, **margins),
    "days": lambda n, **margins: SessionFolds(BORDER, n_folds=n, by="day", timezone="Asia/Tokyo", **margins),
}


def split(splitter: Any, market: Market, seed: int) -> tuple[np.ndarray, np.ndarray, list[Fold]]:
    """Parts, the rows that got a label (two of three of those that train), and folds over them."""
    try:
        part = splitter.spans(market.store, market.spans)
        train = np.flatnonzero(part == "train")
        rows = train[np.random.default_rng(seed).random(len(train)) < 0.67]
        return part, rows, splitter.folds(market.store, market.spans[rows], np.zeros(len(rows), np.int64))
    except DataError:
        assume(False)
        raise


def too_near(windows: WindowSpans, held_out: WindowSpans, margins: dict[str, Any]) -> np.ndarray:
    """The definition, pair by pair: bool [len(windows), len(held_out)]."""
    purge_us = microseconds(margins["purge_time"] or "0s")
    embargo_us = microseconds(margins.get("embargo_time") or "0s")

    def rule(first, last, held_first, held_last, purge, embargo, shortest_gap):
        first, last, held_first, held_last = first[:, None], last[:, None], held_first[None], held_last[None]
        overlap = (first <= held_last) & (last >= held_first)
        before = (last < held_first) & (held_first - last < purge + shortest_gap)
        after = (first > held_last) & (first - held_last < max(purge, embargo) + shortest_gap)
        return overlap | before | after

    bars = rule(
        windows.first_step, windows.last_step, held_out.first_step, held_out.last_step,
        margins["purge_bars"], margins.get("embargo_bars", 0), 1,
    )  # fmt: skip
    time = rule(
        windows.first_time, windows.last_time, held_out.first_time, held_out.last_time, purge_us, embargo_us, 1,
    )  # fmt: skip
    return bars | time


@pytest.mark.parametrize("name", SPLITTERS)
@settings(max_examples=40)
@given(market=markets(), n=st.integers(2, 4), margins=MARGINS, embargo=EMBARGOES, seed=st.integers(0, 99))
def test_a_window_trains_exactly_if_it_keeps_its_distance_from_all_that_is_held_out(
    name: str, market: Market, n: int, margins: dict[str, Any], embargo: dict[str, Any], seed: int
) -> None:
    margins = margins | embargo
    splitter = SPLITTERS[name](n, **margins)
    part, rows, folds = split(splitter, market, seed)
    labelled = market.spans[rows]
    for fold in folds:
        near = too_near(labelled, labelled[fold.held_out], margins).any(axis=1)
        expected = ~near & ~np.isin(np.arange(len(rows)), fold.held_out)
        assert np.flatnonzero(expected).tolist() == fold.train.tolist()
    check_folds(folds, len(rows), splitter.coverage)
    check_gaps(prove(splitter, market.store, market.windows, market.spans, part, rows, folds))


@settings(max_examples=40)
@given(
    market=markets(), n=st.integers(1, 4), margins=MARGINS, seed=st.integers(0, 99),
    mode=st.sampled_from([{}, {"min_train": 0.5}, {"train": "sliding"}, {"train": "sliding", "train_bars": 25}]),
)  # fmt: skip
def test_walk_forward_trains_on_all_of_the_past_in_its_reach_that_keeps_its_distance_and_on_nothing_else(
    market: Market, n: int, margins: dict[str, Any], seed: int, mode: dict[str, Any]
) -> None:
    splitter = WalkForward(BORDER, n_folds=n, **mode, **margins)
    part, rows, folds = split(splitter, market, seed)
    labelled = market.spans[rows]
    assert len(folds) == n
    begins = [labelled.first_step[fold.held_out].min() for fold in folds]
    assert begins == sorted(set(begins))
    reach = mode.get("train_bars", begins[0] - labelled.first_step.min())
    for fold, begin in zip(folds, begins, strict=True):
        assert (labelled.last_step[fold.train] < begin).all()
        expected = (labelled.last_step < begin) & ~too_near(labelled, labelled[fold.held_out], margins).any(axis=1)
        if splitter.train == "sliding":
            expected &= labelled.first_step >= begin - reach
        assert np.flatnonzero(expected).tolist() == fold.train.tolist()
    check_folds(folds, len(rows), "some")
    never = np.setdiff1d(np.arange(len(rows)), np.concatenate([fold.held_out for fold in folds]))
    assert labelled.first_step[never].max() < begins[0]
    check_gaps(prove(splitter, market.store, market.windows, market.spans, part, rows, folds))


@settings(max_examples=40)
@given(market=markets(), margins=MARGINS)
def test_the_sealed_test_begins_at_its_date_and_what_trains_ends_before_it_at_its_distance(
    market: Market, margins: dict[str, Any]
) -> None:
    try:
        part = PurgedKFold(BORDER, **margins).spans(market.store, market.spans)
    except DataError:
        assume(False)
        raise
    test = market.spans.first_time >= moment_us(BORDER)
    near = too_near(market.spans, market.spans[test], margins).any(axis=1)
    train = (market.spans.last_time < moment_us(BORDER)) & ~near
    assert part.tolist() == np.where(test, "test", np.where(train, "train", "excluded")).tolist()


@settings(max_examples=40)
@given(market=markets(), n=st.integers(2, 5), seed=st.integers(0, 99))
def test_windows_that_start_together_are_held_out_together_and_blocks_follow_time(
    market: Market, n: int, seed: int
) -> None:
    _, rows, folds = split(PurgedKFold(BORDER, n_folds=n), market, seed)
    starts = market.spans.first_step[rows]
    blocks = [(starts[fold.held_out].min(), starts[fold.held_out].max()) for fold in folds]
    assert len(blocks) == n
    assert all(end < first for (_, end), (first, _) in itertools.pairwise(blocks))


@settings(max_examples=40)
@given(market=markets(), n=st.integers(3, 5), k=st.integers(1, 2), seed=st.integers(0, 99))
def test_every_choice_of_blocks_is_held_out_once(market: Market, n: int, k: int, seed: int) -> None:
    _, rows, folds = split(CombinatorialPurged(BORDER, n_blocks=n, n_held_out=k), market, seed)
    assert len({tuple(fold.held_out) for fold in folds}) == len(folds) == math.comb(n, k)
    counts = np.bincount(np.concatenate([fold.held_out for fold in folds]), minlength=len(rows))
    assert set(counts.tolist()) == {math.comb(n - 1, k - 1)}


@pytest.mark.parametrize("by", ["stretch", "day"])
@settings(max_examples=40)
@given(market=markets(), n=st.integers(2, 3), seed=st.integers(0, 99))
def test_windows_of_one_session_never_part(by: Any, market: Market, n: int, seed: int) -> None:
    _, rows, folds = split(SessionFolds(BORDER, n_folds=n, by=by), market, seed)
    labelled = market.spans[rows]
    session = labelled.stretch if by == "stretch" else local_days(labelled.first_time, "UTC")
    found = [set(session[fold.held_out].tolist()) for fold in folds]
    assert all(not a & b for a, b in itertools.combinations(found, 2))


@settings(max_examples=30)
@given(market=markets(), seed=st.integers(0, 99), shift=st.integers(1, 6))
def test_the_proof_counts_overlaps_as_all_pairs_do(market: Market, seed: int, shift: int) -> None:
    """On sets that nobody purged."""
    generator = np.random.default_rng(seed)
    rows = np.arange(len(market.spans))
    held_out = generator.random(len(rows)) < 0.3
    assume(held_out.any() and not held_out.all())
    splitter = PurgedKFold(BORDER, purge_bars=shift)
    fold = Fold(rows[~held_out], rows[held_out])
    part = np.full(len(rows), "train")
    found = prove(splitter, market.store, market.windows, market.spans, part, rows, [fold])["folds"][0]
    kept, held = market.spans[fold.train], market.spans[fold.held_out]
    over = too_near(kept, held, {"purge_bars": 0, "purge_time": None})
    assert found["overlaps"] == over.sum()
    pairs = {
        "before": (held.first_step[None], kept.last_step[:, None], held.first_time[None], kept.last_time[:, None]),
        "after": (kept.first_step[:, None], held.last_step[None], kept.first_time[:, None], held.last_time[None]),
    }
    for side, (begin, end, begin_us, end_us) in pairs.items():
        apart = begin > end
        bars = (begin - end)[apart].min() - 1 if apart.any() else None
        assert found[f"gap_bars_{side}"] == bars
        assert found[f"gap_s_{side}"] == ((begin_us - end_us)[apart].min() / 1e6 if apart.any() else None)
