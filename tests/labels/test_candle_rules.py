"""Weak labels from candles: each rule on hand-made windows, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import ConfigError, DataError
from moola.labels.candle_rules import AtrExpansion, CandleRule, LastSwing, ZoneCandle

CUT = WindowConfig(length=60, visible=50, zone=(20, 50))
OHLC = ("open", "high", "low", "close")


def label_of(rule: CandleRule, candles: np.ndarray, store_of: Callable[..., BarStore]) -> str | None:
    store = store_of(np.arange(60), channels=OHLC)
    object.__setattr__(store, "values", candles.astype(np.float32))
    windows = WindowIndex.build(store, CUT)
    return rule.label(store, windows, windows.table(store)).values[0]


def flat(scale: float = 1.0) -> np.ndarray:
    """60 equal candles with a range of 1."""
    return np.tile([100.0, 100.5, 99.5, 100.25], (60, 1)) * scale


@pytest.mark.parametrize(
    ("bars", "label"),
    [((), "calm"), ((30,), None), ((25, 49), "expansion"), ((10, 19), "calm"), ((50, 55), "calm")],
    ids=["none", "one of two", "first and last of the zone", "before the zone", "after what is seen"],
)
def test_expansions_are_counted_in_the_zone(bars: tuple[int, ...], label: str | None, store_of) -> None:
    for scale in (1.0, 64.0):
        candles = flat(scale)
        candles[list(bars), 1] += 2.0 * scale
        assert label_of(AtrExpansion(), candles, store_of) == label


def test_the_last_swing_of_the_zone_counts(store_of) -> None:
    candles = flat()
    assert label_of(LastSwing(), candles, store_of) is None
    candles[10, 2] -= 1
    assert label_of(LastSwing(), candles, store_of) is None
    candles[30, 1] += 1
    assert label_of(LastSwing(), candles, store_of) == "swing_high"
    candles[40, 2] -= 1
    assert label_of(LastSwing(), candles, store_of) == "swing_low"


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "rising"),
        ({(49, 3): 100.05}, "doji"),
        ({(49, 3): 99.6}, "falling"),
        ({(30, 1): 101.9}, "pin"),
        ({(19, 1): 105.0, (55, 3): 90.0}, "rising"),
        ({(20, 0): 100.3, (30, 2): 98.0, (49, 3): 100.2}, "doji"),
    ],
)
def test_the_zone_is_one_candle(change: dict[tuple[int, int], float], label: str, store_of) -> None:
    candles = flat()
    for place, value in change.items():
        candles[place] = value
    assert label_of(ZoneCandle(), candles, store_of) == label


@pytest.mark.parametrize("rule", [AtrExpansion(), LastSwing(), ZoneCandle()], ids=lambda rule: rule.name)
def test_every_class_is_there_in_a_real_market_and_hindsight_has_no_say(
    rule: CandleRule, market: SimpleNamespace
) -> None:
    windows = market.windows
    labels = rule.label(market.store, windows, market.table)
    shares = labels.values.value_counts(normalize=True).drop_nulls()
    assert set(shares.to_series(0)) == set(rule.classes) == set(labels.classes)
    assert min(shares["proportion"].to_list()) > 0.04 and labels.from_rule
    with pytest.raises(ConfigError, match=f"{rule.name} sees the zone whole"):
        rule.check_zone((30, 75), 74)


def test_sensors_have_no_candles(store_of) -> None:
    store = store_of(np.arange(60), channels=("x", "y"))
    windows = WindowIndex.build(store, CUT)
    with pytest.raises(DataError, match="zone_candle needs candles"):
        ZoneCandle().label(store, windows, windows.table(store))
