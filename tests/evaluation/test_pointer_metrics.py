"""Pointer metrics on windows that are counted by hand, and against whole bars."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.errors import DataError
from moola.evaluation.intervals import moving_block_weights
from moola.evaluation.pointer_metrics import pointer_estimates, pointer_metrics

TRUTH = np.array([[10, 19], [30, 39], [50, 54]])
PREDICTED = np.array([[[10, 19], [33, 43], [60, 40]]], dtype=float)


def test_three_windows_by_hand() -> None:
    got = {name: values[0, 0] for name, values in pointer_metrics(PREDICTED, TRUTH, within=3).items()}
    assert (got["start_hit"], got["end_hit"], got["hit"]) == pytest.approx((2 / 3, 1 / 3, 1 / 2))
    assert (got["start_mae"], got["end_mae"], got["mae"]) == pytest.approx((13 / 3, 18 / 3, 31 / 6))
    assert got["span_f1"] == pytest.approx((1 + 2 * 7 / 21 + 0) / 3)  # the third ends before it starts
    assert got["joint"] == pytest.approx(1 / 3)
    wrong_class = np.array([[False, True, True]])
    assert pointer_metrics(PREDICTED, TRUTH, within=10, right=wrong_class)["joint"][0, 0] == pytest.approx(1 / 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_overlap_is_that_of_sets_of_bars_and_weights_are_repetitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = np.sort(rng.integers(0, 20, (2, 6, 2))), np.sort(rng.integers(0, 20, (6, 2)))
    w = rng.integers(1, 4, 6)
    got = pointer_metrics(p, y, w[None])
    f1 = [
        2 * len(a & b) / (len(a) + len(b))
        for a, b in zip(*([set(range(s, e + 1)) for s, e in spans] for spans in (p[0], y)), strict=True)
    ]
    assert got["span_f1"][0, 0] == pytest.approx(np.average(f1, weights=w))
    repeated = pointer_metrics(np.repeat(p, w, axis=1), np.repeat(y, w, axis=0))
    for name, values in got.items():
        np.testing.assert_allclose(values, repeated[name], err_msg=name)


def test_pointers_get_intervals() -> None:
    rng = np.random.default_rng(0)
    truth = np.sort(rng.integers(30, 74, (300, 2)))
    predicted = np.clip(truth + np.round(rng.normal(0, 4, (3, 300, 2))), 0, 104)
    got = pointer_estimates(predicted, truth, moving_block_weights(np.arange(300), 1), 105)
    for e in got.values():
        assert e.low < e.value < e.high and (e.n, e.seeds) == (300, 3)
    assert got["mae"].value == pytest.approx(3.2, abs=0.2) and got["mae"].high - got["mae"].low < 0.8
    perfect = pointer_estimates(truth[None], truth, moving_block_weights(np.arange(300), 1), 105)
    assert perfect["joint"].high == 1 and 0.98 < perfect["joint"].low < 0.99


def test_wrong_pointers_are_named_all_at_once() -> None:
    with pytest.raises(DataError, match=r"within is -1.*right has shape.*window 1 ends before") as caught:
        pointer_metrics(PREDICTED, np.array([[1, 2], [4, 3], [5, 6]]), within=-1, right=np.ones(2))
    assert caught.value.way_out
    for predicted, truth, says in [
        (PREDICTED[0], TRUTH, "n_seeds, n_windows, 2"),
        (PREDICTED, TRUTH[:2], "3 windows are predicted"),
        (PREDICTED * np.nan, TRUTH, "NaN"),
    ]:
        with pytest.raises(DataError, match=says):
            pointer_metrics(predicted, truth)
    with pytest.raises(DataError, match=r"outside 0\.\.50"):
        pointer_estimates(PREDICTED, TRUTH, np.ones((9, 3)), 51)
