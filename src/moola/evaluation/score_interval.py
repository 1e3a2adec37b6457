"""From a figure and its resamples to a 95 % interval.

**One figure.** The interval holds every value p that the figure v does not contradict,
(v - p)^2 <= z^2 q (p - low)(high - p) / (high - low), where [low, high] are the metric's bounds (Wilson 1927; for a
share of n independent cases q = 1/n). q is taken from the variance of the resamples, so it knows of overlap. The
ends stay within the bounds, and they are uneven where the figure is near one of them.

**Few errors.** A model that is never wrong, or wrong in one stretch of time, shows no spread, or next to none: its
resamples do not say how often it is wrong. How far they can be trusted follows from the errors' mean over their
spread, r = (mean / spread)^2, about the number of independent errors seen. With the doubt
d = 1 / (1 + r)^2 the variance is taken from the number of independent cases instead: q = (1 - d) q + d / cases.

**A difference** is v +- z s. Where two models hardly differ on any window, d = 1 / (1 + 2 r)^2 of the share of windows
on which they differ adds the variance that the rule of three asks for: none of n cases differ, so up to
z^2 / (n + z^2) may. It is symmetric, which makes it a little too long where the two are alike.

**Seeds** count as drawn at random: the variance of the resampled mean over seeds, and that of the mean of so few
seeds, are added; z is Student's with the degrees of freedom of the sum (Satterthwaite 1946, Biometrics 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from moola.errors import DataError
from moola.evaluation.estimates import Comparison, Estimate
from moola.evaluation.intervals import CONFIDENCE, Z, wilson_interval
from moola.evaluation.weighted import FloatArray, IntArray

MIN_USABLE = 0.5
"""Share of resamples that must hold every class for an interval to be made."""
_ROWS = 256


@dataclass(frozen=True)
class Spread:
    """Variance of a figure over windows and seeds, and its degrees of freedom (infinite for one seed)."""

    variance: float
    dof: float

    @property
    def quantile(self) -> float:
        """Standard errors from the figure to an end of its 95 % interval."""
        from scipy.special import stdtrit

        return float(stdtrit(self.dof, (1 + CONFIDENCE) / 2)) if math.isfinite(self.dof) else Z

    def p_value(self, value: float, unseen: float) -> float:
        """Two-sided, of "there is no difference"; below 5 % just when value +- quantile * error excludes 0."""
        from scipy.special import stdtr

        variance = self.variance + unseen
        if variance <= 0:
            return 1.0 if value == 0 else 0.0
        z = abs(value) / math.sqrt(variance)
        return float(2 * stdtr(self.dof, -z)) if math.isfinite(self.dof) else math.erfc(z / math.sqrt(2))


def estimate(
    values_point: FloatArray, values_resampled: FloatArray, n: int, bounds: tuple[float, float], cases: float
) -> Estimate:
    """A figure, the mean over seeds, with its 95 % interval over windows and seeds.

    Args:
        values_point: the figure on the sample itself, by seed [n_seeds].
        values_resampled: the figure on each resample, by seed [n_resamples, n_seeds]; rows that hold nan
            (an unusable resample) are left out.
        n: windows in the sample.
        bounds: least and greatest value the metric can take; both finite.
        cases: independent cases among the windows, see `effective_cases`.

    Returns:
        The estimate; the ends are nan, "not known", when fewer than half of the resamples are usable.

    Raises:
        DataError: the two arrays do not agree on the number of seeds.
    """
    point, resampled = _checked(values_point, values_resampled)
    value, found = float(point.mean()), spread(resampled.mean(axis=1), [point])
    if found is None or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan, int(n), len(point))
    low, high = score_interval(value, found, bounds, cases)
    return Estimate(value, low, high, int(n), len(point))


def difference(
    points: tuple[FloatArray, FloatArray],
    resampled: tuple[FloatArray, FloatArray],
    n: int,
    reach: float,
    unseen: float = 0.0,
) -> Comparison:
    """The first figure minus the second, with its 95 % interval over windows and seeds, and the p-value.

    With the same number of seeds, seed i of one is paired with seed i of the other.

    Args:
        points, resampled: of each model as in `estimate`, on the same resamples.
        n: windows in the sample.
        reach: the interval is cut to [-reach, reach].
        unseen: variance added for differences that the sample did not show, see `unseen_variance`.

    Raises:
        DataError: as `estimate`.
    """
    (point_a, values_a), (point_b, values_b) = map(_checked, points, resampled)
    paired = len(point_a) == len(point_b)
    found = spread(values_a.mean(axis=1) - values_b.mean(axis=1), [point_a - point_b] if paired else [point_a, point_b])
    value = float(point_a.mean() - point_b.mean())
    seeds = min((count for count in (len(point_a), len(point_b)) if count > 1), default=1)
    if found is None or not math.isfinite(value):
        return Comparison(Estimate(value, math.nan, math.nan, int(n), seeds), math.nan)
    half = found.quantile * math.sqrt(found.variance + unseen)
    interval = Estimate(value, max(value - half, -reach), min(value + half, reach), int(n), seeds)
    return Comparison(interval, found.p_value(value, unseen))


def _checked(values_point: FloatArray, values_resampled: FloatArray) -> tuple[FloatArray, FloatArray]:
    point, resampled = np.asarray(values_point, dtype=float), np.asarray(values_resampled, dtype=float)
    if point.ndim != 1 or len(point) == 0 or resampled.ndim != 2 or resampled.shape[1] != len(point):
        why = f"values have shape {point.shape} and resamples {resampled.shape}"
        raise DataError("no interval can be made", why, "give [n_seeds] and [n_resamples, n_seeds]")
    return point, resampled


def spread(resampled: FloatArray, by_seed: list[FloatArray]) -> Spread | None:
    """Variance over windows [n_resamples] and over seeds (an array for each independent set of them).

    None when too few resamples are usable.
    """
    usable = resampled[np.isfinite(resampled)]
    if len(usable) == 0 or len(usable) < MIN_USABLE * len(resampled):
        return None
    drawn = [(float(np.var(point, ddof=1)) / len(point), len(point) - 1) for point in by_seed if len(point) > 1]
    total = float(usable.var()) + sum(variance for variance, _ in drawn)
    uncertain = sum(variance**2 / dof for variance, dof in drawn)
    # The variance over windows has its own degrees of freedom in it, see `moola.evaluation.intervals`.
    return Spread(total, total**2 / uncertain if uncertain > 0 else math.inf)


def score_interval(value: float, found: Spread, bounds: tuple[float, float], cases: float) -> tuple[float, float]:
    """The interval of the first and second paragraph at this module's head, always within `bounds`."""
    low, width = bounds[0], bounds[1] - bounds[0]
    share, variance = (value - low) / width, found.variance / width**2
    # What is that near a bound is there by rounding.
    share = 0.0 if share < 1e-9 else 1.0 if share > 1 - 1e-9 else share
    unit = share * (1 - share)
    d = doubt(min(share, 1 - share), variance)
    q = (1 - d) * (variance / unit if unit > 0 else 0.0) + d / cases
    q *= found.quantile**2
    centre, half = (share + q / 2) / (1 + q), math.sqrt(q * unit + q**2 / 4) / (1 + q)
    ends = max(centre - half, 0.0) if share > 0 else 0.0, min(centre + half, 1.0) if share < 1 else 1.0
    return min(low + width * ends[0], value), max(low + width * ends[1], value)


def doubt(mean: float, variance: float, enough: float = 1.0) -> float:
    """How little the resamples' own variance says: 1 for no error at all, about 0 for many independent ones.

    Args:
        mean, variance: share of errors, and its variance over resamples.
        enough: independent errors that leave a quarter of the doubt.
    """
    if mean <= 0:
        return 1.0
    return (enough * variance / (mean**2 + enough * variance)) ** 2


def unseen_variance(differ: FloatArray, weights: FloatArray | IntArray, cases: float) -> float:
    """Variance that a difference may have beyond its resamples', when the models differ on few windows.

    Args:
        differ: 1 where the two models give different answers, 0 where the same [n_windows].
        weights: the resamples [n_resamples, n_windows].
        cases: see `effective_cases`.
    """
    if not len(weights):
        return 0.0
    shares = weights @ differ / weights.sum(axis=1)
    return doubt(float(differ.mean()), float(shares.var()), enough=0.5) * (Z / (cases + Z**2)) ** 2


def effective_cases(weights: FloatArray | IntArray) -> float:
    """How many independent cases resamples treat the windows as; nan without resamples.

    n windows whose weights correlate as blocks of b do, by 1 - k/b at distance k, have
    n sum(C^2) / trace(C)^2 = 2b/3 + 1/(3b) for the weights' covariance C; solved for b, the cases are n/b.
    """
    if len(weights) < 2:
        return math.nan
    some = np.asarray(weights[:_ROWS], dtype=float)
    deviation = some / some.mean(axis=1, keepdims=True) - 1
    joint = deviation @ deviation.T
    own = float(np.diag(joint).mean())
    if own <= 0:
        return math.nan
    crossed = float((joint**2).sum() - (np.diag(joint) ** 2).sum()) / (len(some) * (len(some) - 1))
    together = max(some.shape[1] * crossed / own**2, 1.0)
    return some.shape[1] * 4 / (3 * together + math.sqrt(9 * together**2 - 8))


def share_estimate(hits: int, n: int) -> Estimate:
    """A share of independent cases with its interval (Wilson 1927); nan where there are no cases."""
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, 1)
    return Estimate(hits / n, *wilson_interval(hits, n), n, 1)
