"""Paired tests: two models on folds, on windows, and many models over data sets.

An interval of the difference (`moola.evaluation.comparison.compare`) says more than any of these; they are here for
tables that the field asks for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moola.errors import DataError
from moola.evaluation.score_interval import effective_cases, unseen_variance
from moola.evaluation.weighted import FloatArray, checked_weights

LEVEL = 0.05
"""Of significance (alpha): p-values below it count."""
FEW_DISCORDANT = 25
"""With fewer windows on which just one model is right, McNemar's test is the exact binomial one."""


@dataclass(frozen=True)
class PairedTest:
    """A two-sided test of "no difference".

    Attributes:
        name: of the test.
        statistic: t, chi-squared, z, or the smaller count of the exact test.
        p_value: two-sided.
        assumes: what must hold for the p-value to mean what it says.
    """

    name: str
    statistic: float
    p_value: float
    assumes: str


@dataclass(frozen=True)
class RankedPair:
    """Two models over all data sets.

    Attributes:
        a, b: names, the one with the better average rank first.
        wins, ties, losses: data sets on which `a` is better, equal, worse.
        p_value: of Wilcoxon's signed-rank test.
        adjusted: the same after Holm's correction for all pairs.
    """

    a: str
    b: str
    wins: int
    ties: int
    losses: int
    p_value: float
    adjusted: float

    @property
    def differ(self) -> bool:
        """Whether the corrected test tells the two apart at 5 %."""
        return self.adjusted < LEVEL


@dataclass(frozen=True)
class DataSetComparison:
    """Many models over many data sets.

    Attributes:
        models: names, best average rank first.
        ranks: average rank of each; 1 is best, ties share theirs.
        pairs: every pair, as tested.
        cliques: groups of neighbours in rank, at least two and no group within another, of which no pair differs.
        n_datasets: data sets.
    """

    models: tuple[str, ...]
    ranks: tuple[float, ...]
    pairs: tuple[RankedPair, ...]
    cliques: tuple[tuple[str, ...], ...]
    n_datasets: int


def corrected_resampled_t(differences: FloatArray, test_over_train: float) -> PairedTest:
    """Corrected resampled t-test (Nadeau & Bengio 2003, Machine Learning 52).

    Runs on folds or random splits of one data set share training windows; the plain t-test takes them as independent
    and is far too sure. t = mean / sqrt((1 / J + n_test / n_train) s^2) with J - 1 degrees of freedom.

    Args:
        differences: the metric of one model minus that of the other, by run [n_runs].
        test_over_train: n_test / n_train of a run; 1 / (k - 1) for k folds.

    Raises:
        DataError: fewer than two runs, a value that is not finite, or a ratio that is not positive.
    """
    from scipy.special import stdtr

    d = np.asarray(differences, dtype=np.float64)
    problems = [
        (d.ndim != 1 or len(d) < 2, f"differences have shape {d.shape}, not [n_runs >= 2]"),
        (not np.isfinite(d).all(), "a difference is NaN or infinite"),
        (not 0 < test_over_train < math.inf, f"test_over_train is {test_over_train}, not positive"),
    ]
    _refuse(problems, "give one difference a run, and windows tested over windows trained on")
    scale = math.sqrt((1 / len(d) + test_over_train) * d.var(ddof=1))
    t = _z(float(d.mean()), scale)
    p = float(2 * stdtr(len(d) - 1, -abs(t)))
    return PairedTest("corrected resampled t-test", t, p, "runs of one data set whose training windows overlap")


def mcnemar(right_a: np.ndarray, right_b: np.ndarray, weights: FloatArray | None) -> PairedTest:
    """McNemar's test of two models' right answers on the same windows (McNemar 1947, Psychometrika 12).

    Only windows on which just one model is right speak. The test as it is known takes windows as independent: exact
    below 25 such windows, else chi-squared with Edwards' correction. Windows that overlap in time are not: with
    resamples the difference is held against the spread that their blocks show, and the p-value is below 5 % just when
    the interval of `compare` excludes zero.

    Args:
        right_a, right_b: whether each model was right [n_windows].
        weights: from `moving_block_weights` [n_resamples, n_windows]; None states that the windows are independent
            cases. There is no default, for that must be said.

    Returns:
        The test; with resamples of no rows, statistic and p-value are nan ("not known").

    Raises:
        DataError: the arrays do not fit each other.
    """
    a, b = np.asarray(right_a), np.asarray(right_b)
    wrong = a.ndim != 1 or a.shape != b.shape or not len(a)
    _refuse(
        [(wrong, f"answers have shapes {a.shape} and {b.shape}, not [n_windows]")], "score both on the same windows"
    )
    a, b = a.astype(bool), b.astype(bool)
    if weights is not None:
        return _block_mcnemar(a.astype(np.float64) - b, checked_weights(weights, len(a)))
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assumes = "windows are independent of each other"
    if only_a + only_b < FEW_DISCORDANT:
        from scipy.stats import binomtest

        fewer = min(only_a, only_b)
        p = float(binomtest(fewer, only_a + only_b).pvalue) if only_a + only_b else 1.0
        return PairedTest("McNemar, exact", float(fewer), p, assumes)
    chi2 = max(abs(only_a - only_b) - 1, 0) ** 2 / (only_a + only_b)
    return PairedTest("McNemar, chi-squared", chi2, math.erfc(math.sqrt(chi2 / 2)), assumes)


def _block_mcnemar(difference: FloatArray, weights: FloatArray) -> PairedTest:
    name, assumes = "McNemar, blocks of time", "windows further apart than a block are independent of each other"
    if not len(weights):
        return PairedTest(name, math.nan, math.nan, "windows of more independent cases than there are here")
    variance = float((weights @ difference / weights.sum(axis=1)).var())
    variance += unseen_variance(np.abs(difference), weights, effective_cases(weights))
    z = _z(float(difference.mean()), math.sqrt(variance))
    return PairedTest(name, z, math.erfc(abs(z) / math.sqrt(2)), assumes)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values after Holm's step-down correction, which bounds the chance of any false alarm (Holm 1979).

    Args:
        p_values: of all tests of the family, in any order.

    Returns:
        Adjusted p-values in the same order: to be held against the level itself.

    Raises:
        DataError: a value outside 0..1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    _refuse(
        [(not ((p >= 0) & (p <= 1)).all(), f"p-values {list(p_values)} are not all in 0..1")], "leave out what is nan"
    )
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(float(value) for value in adjusted)


def average_ranks(scores: FloatArray, higher_is_better: bool = True) -> FloatArray:
    """Mean over data sets of each model's rank, 1 the best, ties sharing theirs.

    Args:
        scores: [n_datasets, n_models].
        higher_is_better: direction of the scores.

    Returns:
        [n_models].
    """
    from scipy.stats import rankdata

    values = np.asarray(scores, dtype=np.float64)
    return rankdata(-values if higher_is_better else values, axis=1).mean(axis=0)


def compare_over_datasets(
    scores: FloatArray, models: Sequence[str], higher_is_better: bool = True
) -> DataSetComparison:
    """Wilcoxon's signed-rank test of every pair of models over data sets, with Holm's correction.

    Demšar 2006 (JMLR 7) with the pairwise tests of Benavoli, Corani & Mangili 2016 (JMLR 17) in place of Nemenyi's,
    whose outcome for two models depends on the others. Differences of zero are split between the two sides.

    Args:
        scores: [n_datasets, n_models], one figure a data set: mean over its seeds and folds.
        models: their names [n_models].
        higher_is_better: direction of the scores.

    Raises:
        DataError: fewer than two models or data sets, a score missing, or names that do not fit.
    """
    values = np.asarray(scores, dtype=np.float64)
    wrong = values.ndim != 2 or min(values.shape) < 2
    problems = [
        (wrong, f"scores have shape {values.shape}, not [n_datasets >= 2, n_models >= 2]"),
        (not wrong and len(models) != values.shape[-1], f"{len(models)} names for {values.shape[-1]} models"),
        (len(set(models)) != len(models), f"a name stands twice among {', '.join(models)}"),
        (not np.isfinite(values).all(), "a score is missing (NaN) or infinite"),
    ]
    _refuse(problems, "score every model on every data set, or leave the data set or the model out")
    values = values if higher_is_better else -values
    ranks = average_ranks(values)
    order = np.argsort(ranks, kind="stable")
    tested = [_pair(values, models, int(i), int(j)) for i, j in itertools.combinations(order, 2)]
    adjusted = holm([pair.p_value for pair in tested])
    pairs = tuple(
        RankedPair(p.a, p.b, p.wins, p.ties, p.losses, p.p_value, q) for p, q in zip(tested, adjusted, strict=True)
    )
    names = tuple(models[int(i)] for i in order)
    return DataSetComparison(names, tuple(float(ranks[i]) for i in order), pairs, _cliques(names, pairs), len(values))


def _pair(values: FloatArray, models: Sequence[str], i: int, j: int) -> RankedPair:
    from scipy.stats import wilcoxon

    d = values[:, i] - values[:, j]
    tested: Any = wilcoxon(d, zero_method="zsplit") if d.any() else None
    p = float(tested.pvalue) if tested else 1.0
    return RankedPair(models[i], models[j], int((d > 0).sum()), int((d == 0).sum()), int((d < 0).sum()), p, p)


def _cliques(names: tuple[str, ...], pairs: Sequence[RankedPair]) -> tuple[tuple[str, ...], ...]:
    apart = {frozenset((pair.a, pair.b)) for pair in pairs if pair.differ}
    found: list[tuple[str, ...]] = []
    reached = 0
    for first in range(len(names)):
        last = first + 1
        while last < len(names) and all(frozenset((names[last], other)) not in apart for other in names[first:last]):
            last += 1
        if last - first > 1 and last > reached:
            found.append(names[first:last])
            reached = last
    return tuple(found)


def _z(mean: float, scale: float) -> float:
    """Mean over scale; without any spread nothing (0) or everything (infinite) speaks against "no difference"."""
    if scale > 0:
        return mean / scale
    return 0.0 if mean == 0 else math.copysign(math.inf, mean)


def _refuse(problems: Sequence[tuple[bool, str]], way_out: str) -> None:
    found = [words for wrong, words in problems if wrong]
    if found:
        raise DataError("the test cannot be made", "; ".join(found), way_out)
