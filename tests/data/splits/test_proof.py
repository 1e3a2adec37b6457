"""The proof tells of a split what anybody can check later, and what it was made for."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from moola.data.bar_store import BarStore
from moola.data.splits.cases import GivenCases
from moola.data.splits.proof import check_fresh, prove, spans_digest, windows_digest
from moola.data.splits.purged_kfold import PurgedKFold
from moola.data.splits.walk_forward import WalkForward
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import StorageError
from moola.testing.splitter_checks import random_cases

DAY = 86_400_000_000


def daily(n_bars: int = 200, digest: str = "bars-1") -> BarStore:
    times = np.arange(n_bars) * DAY
    return BarStore(
        np.zeros((n_bars, 1), np.float32), times, np.array([0, n_bars]), ("s",), (None,), (None,), ("x",), False, digest
    )


def proof_of(splitter: Any, store: BarStore, windows: WindowIndex) -> dict[str, Any]:
    spans = windows.spans(store)
    part = splitter.spans(store, spans)
    rows = np.flatnonzero(part == "train")
    folds = splitter.folds(store, spans[rows], np.arange(len(rows)) % 2)
    return prove(splitter, store, windows, spans, part, rows, folds)


STORE = daily()
WINDOWS = WindowIndex.build(STORE, WindowConfig(length=10))
SPLITTER = PurgedKFold("1970-05-31", n_folds=3, purge_bars=2, embargo_bars=5)  # day 150


def test_counts_and_gaps_are_those_of_the_split() -> None:
    proof = proof_of(SPLITTER, STORE, WINDOWS)
    assert proof["coverage"] == "once"
    assert proof["declared"] == {"purge_bars": 2, "purge_us": 0, "embargo_bars": 5, "embargo_us": 0}
    assert proof["windows"] == {"train": 139, "test": 41, "excluded": 11}
    test = proof["test"]
    assert (test["overlaps"], test["gap_bars"], test["gap_s"]) == (0, 2, 3 * 86_400.0)
    assert (test["gap_bars_after"], test["gap_s_after"]) == (None, None)  # nothing trains after the test
    assert (test["purged"], test["embargoed"], test["unused"]) == (11, 0, 0)
    middle = proof["folds"][1]
    assert (middle["gap_bars_before"], middle["gap_bars_after"]) == (2, 5)
    assert (middle["purged"], middle["embargoed"], middle["unused"]) == (11 + 11, 3, 0)
    assert middle["train"] + middle["held_out"] + 22 + 3 == 139


def test_what_walk_forward_leaves_out_in_the_future_is_not_called_purged() -> None:
    first = proof_of(WalkForward("1970-05-31", n_folds=2), STORE, WINDOWS)["folds"][0]
    assert first["purged"] == 9 + 9 and first["embargoed"] == 0  # nine begin before the block ends, on either side
    assert first["unused"] == 141 - first["train"] - first["held_out"] - 18 > 0


def test_gaps_of_independent_cases_are_unknown_and_overlaps_are_not() -> None:
    store = random_cases()
    proof = proof_of(GivenCases(), store, WindowIndex.build(store, WindowConfig(length=6)))
    for found in (proof["test"], *proof["folds"]):
        assert found["overlaps"] == 0
        assert {value for name, value in found.items() if name.startswith("gap")} == {None}
    assert proof["seal"]["first_time"] is None


def test_the_proof_is_plain_json() -> None:
    proof = proof_of(SPLITTER, STORE, WINDOWS)
    assert json.loads(json.dumps(proof, allow_nan=False)) == proof


def test_the_seal_names_the_test_and_changes_with_whatever_would_change_it() -> None:
    sealed = proof_of(SPLITTER, STORE, WINDOWS)["seal"]
    assert sealed["windows"] == 41
    assert sealed["test_from"] == "1970-05-31"
    assert sealed["first_time"] == "1970-05-31T00:00:00+00:00"
    assert sealed["last_time"] == "1970-07-19T00:00:00+00:00"
    others = [
        proof_of(SPLITTER, daily(digest="bars-2"), WINDOWS),
        proof_of(SPLITTER, daily(199), WindowIndex.build(daily(199), WindowConfig(length=10))),
        proof_of(SPLITTER, STORE, WindowIndex.build(STORE, WindowConfig(length=11))),
        proof_of(SPLITTER, STORE, WindowIndex.build(STORE, WindowConfig(length=10, stride_bars=2))),
        proof_of(dataclasses.replace(SPLITTER, test_from="1970-06-01"), STORE, WINDOWS),
    ]
    assert len({sealed["digest"], *(proof["seal"]["digest"] for proof in others)}) == 6


def test_training_margins_and_folds_leave_the_seal_as_it_is() -> None:
    """So that a better model can be compared on the same test."""
    other = dataclasses.replace(SPLITTER, n_folds=4, purge_bars=0, embargo_bars=9)
    assert proof_of(other, STORE, WINDOWS)["seal"] == proof_of(SPLITTER, STORE, WINDOWS)["seal"]


def test_a_split_without_a_test_has_no_seal() -> None:
    spans, nobody = WINDOWS.spans(STORE), np.empty(0, np.int64)
    proof = prove(SPLITTER, STORE, WINDOWS, spans, np.full(len(spans), "train"), nobody, [])
    assert proof["seal"] is None and proof["folds"] == []
    assert proof["test"]["overlaps"] == 0 and proof["test"]["gap_bars"] is None


def test_digests_differ_where_windows_do() -> None:
    horizon = WindowIndex.build(STORE, WindowConfig(length=8, horizon_bars=2))
    longer = WindowIndex.build(STORE, WindowConfig(length=9, horizon_bars=2))
    assert len({windows_digest(index) for index in (WINDOWS, horizon, longer)}) == 3
    spans = WINDOWS.spans(STORE)
    assert spans_digest(spans[np.arange(5)]) != spans_digest(spans[np.arange(1, 6)])


def test_a_proof_of_other_data_is_stale() -> None:
    proof = proof_of(SPLITTER, STORE, WINDOWS)
    check_fresh(proof, "bars-1", windows_digest(WINDOWS))
    with pytest.raises(StorageError, match="is stale") as caught:
        check_fresh(proof, "bars-2", "windows-2")
    assert [line.split(":")[0] for line in caught.value.why.splitlines()] == [
        "- the bars changed",
        "- the windows changed",
    ]
    with pytest.raises(StorageError, match="is stale"):
        check_fresh({}, "bars-1", windows_digest(WINDOWS))
