"""A channel that was made of later bars is found; honest bars, constant channels and few bars are not."""

from __future__ import annotations

import numpy as np
import pytest

from moola.data.bar_store import BarStore
from moola.data.lookahead import MIN_CHANGES, find_lookahead, rank_correlation

LONGEST = 105


def store(n_series: int = 1, **channels: np.ndarray) -> BarStore:
    values = np.stack(list(channels.values()), axis=1).astype(np.float32)
    nothing = (None,) * n_series
    offsets = np.linspace(0, len(values), n_series + 1).astype(np.int64)
    times = np.arange(len(values))
    names = tuple(str(number) for number in range(n_series))
    return BarStore(values, times, offsets, names, nothing, nothing, tuple(channels), independent=False)


def walk(seed: int, n: int) -> dict[str, np.ndarray]:
    """Open, high, low and close of a random walk of twelve ticks a bar; and another walk that knows nothing of it."""
    generator = np.random.default_rng(seed)
    ticks = generator.normal(scale=0.001, size=(n, 12)).cumsum(axis=1)
    opening = np.append(0, ticks[:-1, -1].cumsum())[:, None]
    prices = 100 * np.exp(np.hstack([opening, opening + ticks]))
    bars = {"open": prices[:, 0], "high": prices.max(1), "low": prices.min(1), "close": prices[:, -1]}
    return {**bars, "other": generator.normal(size=n).cumsum(), "volume": np.zeros(n)}


@pytest.mark.parametrize(("n", "seeds"), [(70, 10), (300, 20), (1000, 6)])
def test_a_random_walk_knows_nothing_of_its_future(n: int, seeds: int) -> None:
    assert [seed for seed in range(seeds) if find_lookahead(store(**walk(seed, n)), LONGEST)] == []


@pytest.mark.parametrize(("n", "ahead"), [(70, 1), (300, 4), (1000, 16)])
def test_a_channel_that_tells_a_later_close_is_found_at_its_horizon(n: int, ahead: int) -> None:
    bars = walk(0, n)
    bars["later"] = np.append(bars["close"][ahead:], np.full(ahead, bars["close"][-1]))
    (found,) = find_lookahead(store(**bars), LONGEST)
    assert (found.channel, found.horizon_bars) == ("later", ahead) and found.future > 0.95 > 0.4 > found.past


def test_horizons_that_hold_too_few_changes_are_not_looked_at() -> None:
    bars = walk(0, MIN_CHANGES + 1)
    bars["later"] = np.append(bars["close"][1:], bars["close"][-1])
    assert find_lookahead(store(**bars), LONGEST) == []
    many = {name: np.tile(values, 2) for name, values in bars.items()}
    (found,) = find_lookahead(store(n_series=2, **many), LONGEST)  # changes of all series count together
    assert found.channel == "later"


def test_ties_share_a_rank_and_a_constant_is_correlated_with_nothing() -> None:
    stats = pytest.importorskip("scipy.stats")
    time = np.arange(40.0)
    assert rank_correlation(np.ones(40), time) == rank_correlation(time, np.zeros(40)) == 0
    few = np.random.default_rng(0).integers(0, 3, 40)
    assert rank_correlation(few, time) == pytest.approx(abs(stats.spearmanr(few, time).statistic))
