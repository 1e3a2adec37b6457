"""The eleven relative channels against their definition: in 60 decimals, and written out in plain NumPy."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import ConfigError, DataError
from moola.features.relative import RelativeTransform
from moola.testing import check_transform

OHLC = ("open", "high", "low", "close")
EPSILON = 1e-8


def candles(seed: int, n_windows: int = 3, n_bars: int = 60, volatility: float = 0.02) -> np.ndarray:
    """float32 [n_windows, n_bars, 4] whose highs and lows enclose opens and closes."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(volatility * rng.normal(size=(n_windows, n_bars)).cumsum(axis=1))
    opened = close * np.exp(volatility * rng.normal(size=close.shape))
    high = np.maximum(opened, close) * (1 + volatility * rng.random(close.shape))
    low = np.minimum(opened, close) * (1 - volatility * rng.random(close.shape))
    return np.stack([opened, high, low, close], axis=-1).astype(np.float32)


def exact(window: np.ndarray) -> np.ndarray:
    """One window [T, 4] -> [T, 11] in decimals of 60 digits, straight from the definition."""
    with localcontext(prec=60):
        prices = [[Decimal(float(price)) for price in bar] for bar in window]
        epsilon, ten, one, nought = Decimal(EPSILON), Decimal(10), Decimal(1), Decimal(0)
        rows: list[list[Decimal]] = []
        for t, (opened, high, low, close) in enumerate(prices):
            returns, scores = [nought] * 4, [nought] * 4
            span = high - low + epsilon
            shape = (abs(close - opened), high - max(opened, close), min(opened, close) - low)
            for channel in range(4 if t else 0):
                past = [bar[channel] for bar in prices[max(t - 19, 0) : t + 1]]
                mean = sum(past) / len(past)
                deviation = (sum((price - mean) ** 2 for price in past) / len(past)).sqrt()
                returns[channel] = ((past[-1] + epsilon) / (past[-2] + epsilon)).ln()
                scores[channel] = min(max((past[-1] - mean) / (deviation + epsilon), -ten), ten)
            rows.append([*returns, *(min(max(part / span, nought), one) for part in shape), *scores])
        return np.array(rows, dtype=np.float64)


def golden_windows() -> dict[str, np.ndarray]:
    """Fixed windows of every awkward kind, float32 [T, 4]."""
    ordinary = candles(11, n_windows=1, n_bars=60)[0]
    flat = np.full((25, 4), 101.25, dtype=np.float32)
    doji = ordinary.copy()
    doji[::3, 3] = doji[::3, 0]
    gap = ordinary.copy()
    gap[30:] *= np.float32(50)
    gap[45:] /= np.float32(7)
    still = ordinary.copy()
    still[10:40] = still[10]
    lengths = {f"{n} bars": ordinary[:n] for n in (1, 2, 5, 18, 19, 20, 21, 22, 60)}
    level = {"a market at 19,800": ordinary * np.float32(198), "a penny": ordinary * np.float32(1e-4)}
    return {**lengths, **level, "flat": flat, "doji": doji, "gap": gap, "stands still, then moves": still}


@pytest.mark.parametrize("name", golden_windows())
def test_golden_vectors_computed_exactly(name: str) -> None:
    window = golden_windows()[name]
    outputs = RelativeTransform().apply(torch.from_numpy(window).double()[None], OHLC)[0].numpy()
    np.testing.assert_allclose(outputs, exact(window), rtol=1e-10, atol=1e-12)


def test_golden_numbers_worked_out_by_hand() -> None:
    """Closes 1, 2, 3: mean 2 and deviation sqrt(2/3) at the last, so a score of sqrt(1.5)."""
    bars = np.array([[[1, 1, 1, 1], [1, 2, 1, 2], [2, 4, 2, 3]]], dtype=np.float32)
    last = relative(bars)[0, 2]
    np.testing.assert_allclose(last[[3, 4, 5, 6]], [np.log(1.5), 0.5, 0.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(last[10], np.sqrt(1.5), rtol=1e-6)


def reference(window: np.ndarray) -> np.ndarray:
    """One window [T, 4] -> [T, 11], bar by bar as the definition says."""
    prices = window.astype(np.float64)
    rows = np.zeros((len(prices), 11))
    for t, (opened, high, low, close) in enumerate(prices):
        span = high - low + EPSILON
        shape = (abs(close - opened), high - max(opened, close), min(opened, close) - low)
        rows[t, 4:7] = [min(max(part / span, 0.0), 1.0) for part in shape]
        if t == 0:
            continue
        for channel in range(4):
            price = prices[t, channel]
            past = prices[max(t - 19, 0) : t + 1, channel]
            rows[t, channel] = np.log((price + EPSILON) / (prices[t - 1, channel] + EPSILON))
            score = (price - past.mean()) / (past.std(ddof=0) + EPSILON)
            rows[t, 7 + channel] = min(max(score, -10.0), 10.0)
    return rows


def relative(bars: np.ndarray) -> np.ndarray:
    return RelativeTransform().apply(torch.from_numpy(bars), OHLC).numpy()


@pytest.mark.parametrize("n_bars", [1, 2, 19, 20, 21, 60])
@pytest.mark.parametrize("volatility", [1e-5, 0.02, 0.5])
def test_it_is_its_definition(n_bars: int, volatility: float) -> None:
    bars = candles(1, n_bars=n_bars, volatility=volatility)
    expected = np.stack([reference(window) for window in bars])
    np.testing.assert_allclose(relative(bars), expected, rtol=1e-4, atol=1e-5)


def test_the_order_of_the_channels_is_fixed_and_named() -> None:
    assert RelativeTransform().output_channels(OHLC) == (
        "log_return_open",
        "log_return_high",
        "log_return_low",
        "log_return_close",
        "body",
        "upper_wick",
        "lower_wick",
        "zscore_open",
        "zscore_high",
        "zscore_low",
        "zscore_close",
    )
    assert RelativeTransform().summary_channels(OHLC) == (10,)


def test_columns_are_found_by_name_wherever_they_stand() -> None:
    bars = candles(2)
    shuffled = np.concatenate([bars[..., [3]], np.full_like(bars[..., :1], 7.0), bars[..., [1, 2, 0]]], axis=-1)
    outputs = RelativeTransform().apply(torch.from_numpy(shuffled), ("close", "volume", "high", "low", "open")).numpy()
    np.testing.assert_array_equal(outputs, relative(bars))


def test_the_shape_of_a_candle_is_read_off_by_hand() -> None:
    outputs = relative(np.array([[[10.0, 14.0, 6.0, 12.0]]], dtype=np.float32))
    np.testing.assert_allclose(outputs[0, 0, 4:7], [2 / 8, 2 / 8, 4 / 8], atol=1e-6)


def test_shapes_of_broken_candles_are_clipped_to_their_range() -> None:
    outputs = relative(np.array([[[10.0, 11.0, 10.9, 10.0]]], dtype=np.float32))  # low above open and close
    assert outputs[0, 0, 5] == 1.0 and outputs[0, 0, 6] == 0.0


def test_scores_are_clipped_at_ten() -> None:
    flat = np.full((1, 150, 4), 100.0, dtype=np.float32)
    flat[0, -1] = 200.0
    scores = RelativeTransform(window_bars=150).apply(torch.from_numpy(flat), OHLC)[0, :, 7:]
    assert torch.all(scores[-1] == 10.0) and torch.all(scores[:-1].abs() < 1e-3)


def test_the_first_bar_has_no_return_and_no_score() -> None:
    outputs = relative(candles(3))
    assert not outputs[:, 0, :4].any() and not outputs[:, 0, 7:].any() and outputs[:, 0, 4:7].any()


@given(seed=st.integers(0, 100), t=st.integers(0, 58), factor=st.floats(0.01, 100))
def test_what_comes_after_a_bar_changes_nothing_at_it(seed: int, t: int, factor: float) -> None:
    bars = candles(seed)
    changed = bars.copy()
    changed[:, t + 1 :] = candles(seed + 1000)[:, t + 1 :] * np.float32(factor)
    np.testing.assert_array_equal(relative(changed)[:, : t + 1], relative(bars)[:, : t + 1])


@given(seed=st.integers(0, 100), t=st.integers(21, 59))
def test_bars_before_the_rolling_window_are_forgotten(seed: int, t: int) -> None:
    bars = candles(seed)
    changed = bars.copy()
    changed[:, : t - 19] *= 3
    np.testing.assert_array_equal(relative(changed)[:, t], relative(bars)[:, t])


@given(seed=st.integers(0, 100), factor=st.sampled_from([0.01, 0.5, 3.0, 198.0, 1000.0]))
def test_the_price_level_is_not_in_it(seed: int, factor: float) -> None:
    bars = candles(seed)
    np.testing.assert_allclose(relative(bars * np.float32(factor)), relative(bars), rtol=1e-3, atol=1e-4)


def test_it_keeps_the_transform_suite() -> None:
    check_transform(RelativeTransform(), OHLC)
    check_transform(RelativeTransform(), (*OHLC, "volume"), n_bars=5)


def test_data_without_candles_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="no channel high, low") as caught:
        RelativeTransform().output_channels(("open", "close"))
    assert "transform=standardised" in caught.value.way_out


def test_a_rolling_window_of_one_bar_is_refused() -> None:
    with pytest.raises(ConfigError, match="window_bars: 1"):
        RelativeTransform(window_bars=1)
