"""How often a 95 % interval holds the truth, simulated; what the docstring of `intervals` says stands here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pytest

from moola.evaluation.comparison import compare, estimates
from moola.evaluation.estimates import Estimate
from moola.evaluation.intervals import moving_block_weights
from moola.evaluation.score_interval import effective_cases, estimate

LENGTH, N_RUNS = 105, 500
METRICS = ("accuracy", "balanced_accuracy")
Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Setting:
    """Windows, and how to draw a standard normal number for each that shares what the windows share."""

    steps: np.ndarray
    block: int
    draw: Draw


def independent(n: int) -> Setting:
    return Setting(np.arange(n), 1, lambda rng: rng.normal(size=n))


def every_date(n_dates: int) -> Setting:
    """One window at every date: the mean of white noise over its bars."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        summed = np.concatenate([[0.0], rng.normal(size=n_dates + LENGTH - 1).cumsum()])
        return (summed[LENGTH:] - summed[:-LENGTH]) / math.sqrt(LENGTH)

    return Setting(np.arange(n_dates), LENGTH, draw)


def two_series(n_dates: int) -> Setting:
    """Two series that correlate by .8, of which about half of the dates are scored, in clusters."""
    rng, one = np.random.default_rng(n_dates), every_date(n_dates)
    scored = np.zeros((2, n_dates), dtype=bool)
    for series in scored:
        while series.mean() < 0.27:
            begin = rng.integers(0, n_dates)
            series[begin : begin + rng.integers(10, 60)] = True

    def draw(rng: np.random.Generator) -> np.ndarray:
        first, own = one.draw(rng), one.draw(rng)
        return np.concatenate([first[scored[0]], (0.8 * first + 0.6 * own)[scored[1]]])

    return Setting(np.concatenate([np.flatnonzero(series) for series in scored]), LENGTH, draw)


SETTINGS = {
    "200 independent": independent(200),
    "840 dates": every_date(840),
    "1400 dates": every_date(1400),
    "2800 dates": every_date(2800),
    "two series over 1400": two_series(1400),
}


def answers(right: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Probabilities [1, n, 2] whose most likely class is the true one where `right`."""
    return np.eye(2)[np.where(right, truth, 1 - truth)][None]


def held(setting: Setting, accuracy: float, lead: float, n_runs: int = N_RUNS, seed: int = 0) -> dict[str, float]:
    """Share of intervals that hold the truth, by figure; model b has that accuracy, model a leads it by `lead`."""
    weights, rng = moving_block_weights(setting.steps, setting.block), np.random.default_rng(seed)
    quantile = NormalDist().inv_cdf
    count = dict.fromkeys([*METRICS, "difference", "balanced difference"], 0)
    for _ in range(n_runs):
        shared, own, labels = (setting.draw(rng) for _ in range(3))
        truth = (labels > 0).astype(int)
        a = answers(shared < quantile(accuracy + lead), truth)
        b = answers(0.7 * shared + math.sqrt(0.51) * own < quantile(accuracy), truth)
        found = estimates(b, truth, weights, names=METRICS)
        for name in METRICS:
            count[name] += holds(found[name], accuracy)
        count["difference"] += holds(compare(a, b, truth, weights, "accuracy"), lead)
        count["balanced difference"] += holds(compare(a, b, truth, weights), lead)
    return {name: share / n_runs for name, share in count.items()}


def holds(e: Estimate, truth: float) -> bool:
    return e.low <= truth <= e.high


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_intervals_of_a_known_accuracy_hold_it_as_often_as_they_say(name: str) -> None:
    found = held(SETTINGS[name], accuracy=0.7, lead=0.1)
    assert all(0.92 <= share <= 0.98 for share in found.values()), found


def test_an_interval_without_blocks_is_far_too_short() -> None:
    setting, rng = every_date(1400), np.random.default_rng(0)
    hits = np.stack([setting.draw(rng) < 0 for _ in range(100)]).astype(float)
    found = {}
    for block in (1, LENGTH):
        weights = moving_block_weights(setting.steps, block, 500)
        cases = effective_cases(weights)
        resampled = hits @ weights.T / len(setting.steps)
        made = [
            estimate(row.mean(keepdims=True), values[:, None], 1400, (0.0, 1.0), cases)
            for row, values in zip(hits, resampled, strict=True)
        ]
        found[block] = np.mean([holds(e, 0.5) for e in made])
    assert found[1] < 0.4 and found[LENGTH] > 0.9
