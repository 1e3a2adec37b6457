"""Three estimators of volatility against their equations, and against a walk whose volatility is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from moola.errors import ConfigError, DataError
from moola.features.candles import OHLC
from moola.features.volatility import Volatility
from moola.testing import check_transform
from moola.testing.transform_checks import random_bars


@pytest.mark.parametrize("window_bars", [1, 2, 20])
def test_they_are_their_equations(window_bars: int) -> None:
    bars = random_bars(OHLC, 2, 45).double()
    outputs = Volatility(window_bars).apply(bars, OHLC).numpy()
    opened, high, low, close = np.moveaxis(np.log(bars.numpy()), -1, 0)
    for t in range(45):
        first = max(t - window_bars + 1, 0)
        inside = slice(first, t + 1)
        returns = np.diff(close[:, max(first - 1, 0) : t + 1], axis=1)
        realised = np.sqrt((returns**2).mean(axis=1)) if t else np.zeros(2)
        spread = (high - low)[:, inside] ** 2
        body = (close - opened)[:, inside] ** 2
        parkinson = np.sqrt(spread.mean(axis=1) / (4 * np.log(2)))
        garman_klass = np.sqrt((0.5 * spread - (2 * np.log(2) - 1) * body).mean(axis=1))
        expected = np.stack([realised, parkinson, garman_klass], axis=-1)
        np.testing.assert_allclose(outputs[:, t], expected, rtol=1e-9, atol=1e-14)


def test_all_three_find_the_volatility_of_a_random_walk() -> None:
    """Bars of 2,000 steps of a walk that moves 1 % a bar; highs and lows of steps fall a little short."""
    rng = np.random.default_rng(0)
    n_bars, n_steps, sigma = 300, 2000, 0.01
    logs = (rng.normal(size=n_bars * n_steps) * sigma / np.sqrt(n_steps)).cumsum().reshape(n_bars, n_steps)
    opened = np.concatenate([[0.0], logs[:-1, -1]])
    high, low = np.maximum(logs.max(axis=1), opened), np.minimum(logs.min(axis=1), opened)
    bars = 100 * np.exp(np.stack([opened, high, low, logs[:, -1]], axis=-1))
    last = Volatility(n_bars).apply(torch.from_numpy(bars)[None], OHLC)[0, -1].numpy()
    np.testing.assert_allclose(last, sigma, rtol=0.08)


def test_a_jump_between_bars_is_seen_by_the_realised_one_alone() -> None:
    bars = torch.full((1, 4, 4), 100.0)
    bars[:, 2:] = 120.0
    outputs = Volatility().apply(bars, OHLC)[0, -1]
    assert outputs[0] > 0.1 and not outputs[1:].any()


def test_it_keeps_the_transform_suite() -> None:
    check_transform(Volatility(), OHLC)
    check_transform(Volatility(window_bars=3), (*OHLC, "volume"), n_bars=2)


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(DataError, match="transform=volatility needs candles"):
        Volatility().output_channels(("close",))
    with pytest.raises(ConfigError, match="window_bars: 0"):
        Volatility(window_bars=0)
