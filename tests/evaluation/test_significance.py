"""Paired tests against published figures, scipy, and what they promise under no difference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from moola.errors import DataError
from moola.evaluation.comparison import compare
from moola.evaluation.intervals import moving_block_weights
from moola.evaluation.significance import (
    average_ranks,
    compare_over_datasets,
    corrected_resampled_t,
    holm,
    mcnemar,
)

# Demšar 2006, table 2: AUC of C4.5 with and without tuning of m and cf, on 14 data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")


def test_average_ranks_are_those_of_the_paper() -> None:
    np.testing.assert_allclose(average_ranks(DEMSAR), [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    np.testing.assert_allclose(average_ranks(-DEMSAR, higher_is_better=False), average_ranks(DEMSAR))


def test_models_over_data_sets() -> None:
    got = compare_over_datasets(DEMSAR, NAMES)
    assert got.models == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5") and got.n_datasets == 14
    found = {(pair.a, pair.b): pair for pair in got.pairs}
    assert len(found) == 6
    pair = found["C4.5+m", "C4.5"]
    assert (pair.wins, pair.ties, pair.losses) == (10, 2, 2)
    wanted = stats.wilcoxon(DEMSAR[:, 1], DEMSAR[:, 0], zero_method="zsplit").pvalue
    assert pair.p_value == pytest.approx(wanted) and pair.adjusted == pytest.approx(6 * wanted)
    together = {frozenset(clique) for clique in got.cliques}
    for pair in got.pairs:  # a pair told apart stands in no clique together
        assert not (pair.differ and any({pair.a, pair.b} <= clique for clique in together))


def test_cliques_overlap_and_none_lies_in_another() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(40, 1))
    scores = base + 0.1 * rng.normal(size=(40, 4)) + np.array([0.0, 0.045, 0.09, 1.0])
    got = compare_over_datasets(scores, ["a", "b", "c", "d"])
    assert got.models == ("d", "c", "b", "a") and got.cliques == (("c", "b"), ("b", "a"))
    same = compare_over_datasets(np.repeat(base, 3, axis=1), ["a", "b", "c"])
    assert same.cliques == (("a", "b", "c"),) and {pair.p_value for pair in same.pairs} == {1.0}


def test_the_corrected_t_test() -> None:
    d = np.array([0.01, 0.03, 0.02, 0.05, -0.01, 0.02, 0.04, 0.01, 0.03, 0.02])
    plain = stats.ttest_1samp(d, 0).statistic
    got = corrected_resampled_t(d, 1 / 9)
    assert got.statistic == pytest.approx(plain * math.sqrt(0.1 / (0.1 + 1 / 9)))
    assert got.p_value == pytest.approx(2 * stats.t.sf(got.statistic, 9))
    assert corrected_resampled_t(np.zeros(5), 0.25).p_value == 1
    assert corrected_resampled_t(np.full(5, 0.1), 0.25).p_value == 0


def test_the_corrected_t_test_keeps_its_level_on_folds_that_share_training_windows() -> None:
    # The mean of a fold's difference has variance s^2 / J within, and shares what the training sets have in common.
    rng = np.random.default_rng(0)
    runs = math.sqrt(0.2) * rng.normal(size=(2000, 1)) + math.sqrt(0.8) * rng.normal(size=(2000, 10))
    corrected = np.mean([corrected_resampled_t(d, 0.25).p_value < 0.05 for d in runs])
    plain = np.mean(stats.ttest_1samp(runs, 0, axis=1).pvalue < 0.05)
    assert corrected < 0.06 < 0.2 < plain


def test_mcnemar_of_independent_windows() -> None:
    a, b = np.array([True] * 12 + [False] * 4), np.array([False] * 10 + [True] * 4 + [False] * 2)
    got = mcnemar(a, b, None)
    assert got.name == "McNemar, exact" and got.p_value == pytest.approx(stats.binomtest(2, 12).pvalue)
    assert "independent" in got.assumes
    many = mcnemar(np.arange(100) < 60, np.arange(100) >= 50, None)  # 50 windows only a has, 40 only b
    assert many.statistic == pytest.approx(81 / 90) and many.p_value == pytest.approx(stats.chi2.sf(0.9, 1))
    assert mcnemar(a, a, None).p_value == 1


def test_mcnemar_over_blocks_agrees_with_the_interval_and_is_no_surer_than_time_allows() -> None:
    n, truth = 1400, np.zeros(1400, dtype=int)
    weights = moving_block_weights(np.arange(n), 105)
    blocks = np.random.default_rng(1).random(14) < np.linspace(0, 1, 14)
    a, b = np.repeat(blocks, 100), np.repeat(~blocks, 100) & (np.arange(n) % 2 == 0)
    independent, joint = mcnemar(a, b, None), mcnemar(a, b, weights)
    assert independent.p_value < 1e-6 < 0.05 < joint.p_value
    for gain in (0, 300, 600, 900):
        better = b | (np.arange(n) < gain)
        test = mcnemar(better, b, weights)
        p_better, p_b = (np.eye(2)[np.where(right, 0, 1)][None] for right in (better, b))
        e = compare(p_better, p_b, truth, weights, "accuracy")
        assert (test.p_value < 0.05) == (e.low > 0)
    assert math.isnan(mcnemar(a, b, weights[:0]).p_value)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_steps_down(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    m = len(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1, m * p) or math.isclose(q, min(1, m * p))
        # Rejected at a level just when every smaller p-value is, each against its own share of the level.
        level = 0.05
        steps = [(other, sum(x >= other for x in p_values)) for other in p_values if other <= p]
        assert (q < level) == all(other * left < level for other, left in steps)


def test_holm_of_a_textbook_family() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_what_cannot_be_tested_is_named() -> None:
    with pytest.raises(DataError, match=r"2 names for 4 models; a score is missing"):
        compare_over_datasets(DEMSAR * np.nan, NAMES[:2])
    with pytest.raises(DataError, match="stands twice"):
        compare_over_datasets(DEMSAR, ["a", "b", "c", "a"])
    with pytest.raises(DataError, match="n_datasets >= 2"):
        compare_over_datasets(DEMSAR[:1], NAMES)
    with pytest.raises(DataError, match=r"n_runs >= 2.*test_over_train"):
        corrected_resampled_t(np.zeros(1), 0)
    with pytest.raises(DataError, match="shapes"):
        mcnemar(np.ones(3), np.ones(4), None)
    with pytest.raises(DataError, match="not all in"):
        holm([0.1, math.nan])
