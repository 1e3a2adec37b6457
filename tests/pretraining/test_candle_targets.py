"""Expansion, swing and shape of candles, read off by hand and against plain loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moola.errors import DataError
from moola.features.candles import OHLC
from moola.pretraining.candle_targets import expansion, price_columns, shape, swing, true_range
from moola.testing.transform_checks import random_bars


def candles(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows)[None]


def test_the_true_range_holds_the_gap_from_the_close_before() -> None:
    prices = candles((10, 12, 9, 11), (14, 15, 13, 14), (8, 9, 7, 8), (8, 10, 7, 9))
    assert true_range(prices).tolist() == [[3, 15 - 11, 14 - 7, 3]]


@given(seed=st.integers(0, 500), atr_bars=st.integers(1, 20))
def test_an_expansion_is_larger_than_the_mean_of_the_bars_before(seed: int, atr_bars: int) -> None:
    prices = random_bars(OHLC, 2, 25, seed).double()
    found, ranges = expansion(prices, 1.5, atr_bars), true_range(prices)
    for window in range(2):
        for t in range(25):
            before = ranges[window, max(t - atr_bars, 0) : t]
            expected = len(before) > 0 and float(ranges[window, t]) > 1.5 * float(before.mean())
            assert int(found[window, t]) == expected


@given(seed=st.integers(0, 500), side=st.integers(1, 4))
def test_a_swing_is_the_only_extreme_of_the_window_around_it(seed: int, side: int) -> None:
    prices = random_bars(OHLC, 2, 20, seed)
    found = swing(prices, 2 * side + 1)
    for window in range(2):
        high, low = prices[window, :, 1].tolist(), prices[window, :, 2].tolist()
        for t in range(1, 19):
            around = [s for s in range(max(t - side, 0), min(t + side + 1, 20)) if s != t]
            top = all(high[t] > high[s] for s in around)
            bottom = all(low[t] < low[s] for s in around)
            assert int(found[window, t]) == (1 if top and not bottom else 2 if bottom and not top else 0)
    assert not found[:, [0, -1]].any()


def test_equal_highs_are_no_swing() -> None:
    flat = (5, 6, 4, 5)
    assert swing(candles(flat, flat, flat, flat, flat), 3).tolist() == [[0] * 5]
    assert swing(candles(flat, (5, 9, 4, 5), flat, (5, 6, 2, 5), flat), 3).tolist() == [[0, 1, 0, 2, 0]]
    assert swing(candles(flat, (5, 9, 1, 5), flat), 3).tolist() == [[0, 0, 0]]  # both at once


@pytest.mark.parametrize(
    ("candle", "expected"),
    [
        ((10, 12, 8, 10.4), 0),  # a body of a tenth of the range
        ((10, 10, 10, 10), 0),  # no range at all
        ((10, 11, 5, 10.9), 1),  # a long lower wick
        ((10, 15, 8.5, 8.5), 1),  # a long upper wick
        ((10, 13, 9, 12.5), 2),
        ((12.5, 13, 9, 10), 3),
    ],
)
def test_the_shape_of_a_candle(candle: tuple[float, float, float, float], expected: int) -> None:
    assert shape(candles(candle), 0.1).tolist() == [[expected]]


@given(seed=st.integers(0, 500), exponent=st.integers(-20, 20))
def test_targets_do_not_know_what_a_price_is_worth(seed: int, exponent: int) -> None:
    prices = random_bars(OHLC, 3, 30, seed)
    scaled = prices * 2.0**exponent
    for target in (lambda p: expansion(p, 2.0, 14), lambda p: swing(p, 5), lambda p: shape(p, 0.1)):
        assert torch.equal(target(prices), target(scaled))


def test_data_without_candles_are_refused_with_a_way_out() -> None:
    assert price_columns(("volume", *OHLC), "structure_labels") == [1, 2, 3, 4]
    with pytest.raises(DataError, match="no channel open, low, close; it has high, wind") as caught:
        price_columns(("high", "wind"), "structure_labels")
    assert "masked_autoencoder" in caught.value.way_out
