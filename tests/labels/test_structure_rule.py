"""The label rule: golden counts on the default data, and every condition of it on hand-made candles."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import ConfigError, DataError
from moola.labels.structure_rule import StructureRule

OHLC = ("open", "high", "low", "close")
CUT = {"length": 105, "visible": 75, "zone": (30, 75)}
TR = 0.01
"""log high - log low of every hand-made candle."""


def test_the_rule_gives_the_golden_counts(market: SimpleNamespace) -> None:
    counts = market.table.group_by("series", "true_label").len().rows()
    assert {(series, label): n for series, label, n in counts} == {
        ("sp500", "consolidation"): 1_100,
        ("sp500", "retracement"): 635,
        ("sp500", None): 3_192,
        ("nasdaq", "consolidation"): 582,
        ("nasdaq", "retracement"): 740,
        ("nasdaq", None): 3_605,
    }
    assert market.classes == ("consolidation", "retracement")


def label_of(closes: np.ndarray, store_of: Callable[..., BarStore], rule: StructureRule | None = None) -> str | None:
    """Label of one window of 105 candles around these log closes, all of the same height."""
    logs = np.stack([closes, closes + TR / 2, closes - TR / 2, closes], axis=-1)
    store = store_of(np.arange(105), channels=OHLC)
    object.__setattr__(store, "values", np.exp(logs).astype(np.float32))
    windows = WindowIndex.build(store, WindowConfig(**CUT))
    return (rule or StructureRule()).label(store, windows, windows.table(store)).values[0]


def closes(move: float, net: float, bump: float = 0.0, after: float = 0.0) -> np.ndarray:
    """Log closes that change by `move` over bars 0-29 and by `net` over bars 30-74, in TR; `bump` peaks in bar 50."""
    path = np.concatenate([np.linspace(0, move, 30), np.linspace(move, move + net, 45), np.full(30, after)]) * TR
    path[50] += bump * TR
    return 1.0 + path


@pytest.mark.parametrize(
    ("move", "net", "bump", "label"),
    [
        (5.0, -3.0, 0, "retracement"),
        (-5.0, 3.0, 0, "retracement"),
        (3.3, -2.1, 0, "retracement"),
        (3.1, -2.1, 0, None),  # the move is too small, the zone moves too far to be quiet
        (8.0, -2.7, 0, None),  # too little is undone (0.34), and net is not below 2 TR
        (8.0, -2.9, 0, "retracement"),  # 0.36
        (5.0, 3.0, 0, None),  # goes on in the same direction
        (0.0, 0.0, 0, "consolidation"),
        (0.0, 1.9, 0, "consolidation"),
        (0.0, 2.1, 0, None),  # net is not below 2 TR
        (0.0, 0.0, 5.9, "consolidation"),  # range 6.9 TR
        (0.0, 0.0, 6.1, None),  # range 7.1 TR
        (8.0, 1.0, 0, "consolidation"),  # a large move before does not matter
    ],
)
def test_each_condition_of_the_rule_decides(
    move: float, net: float, bump: float, label: str | None, store_of: Callable[..., BarStore]
) -> None:
    assert label_of(closes(move, net, bump), store_of) == label


def test_a_window_that_is_both_is_a_retracement(store_of: Callable[..., BarStore]) -> None:
    path = closes(4.0, -1.9)  # quiet as well: net below 2 TR
    assert label_of(path, store_of) == "retracement"
    assert label_of(path, store_of, StructureRule(undone=0.6)) == "consolidation"


def test_what_comes_after_the_zone_does_not_matter(store_of: Callable[..., BarStore]) -> None:
    assert {label_of(closes(5.0, -3.0, after=after), store_of) for after in (-50.0, 0.0, 50.0)} == {"retracement"}


@pytest.mark.parametrize(
    ("cut", "way_out"),
    [
        ({"zone": (0, 75)}, "give data.window.zone=[30,75], or another task"),
        ({"zone": (30, 90)}, "give data.window.zone=[25,75], or data.window.visible=90, or another task"),
        ({"visible": 60}, "give data.window.zone=[24,60], or data.window.visible=75, or another task"),
    ],
)
def test_a_zone_without_context_or_beyond_the_visible_bars_is_refused(
    cut: dict[str, Any], way_out: str, store_of: Callable[..., BarStore]
) -> None:
    store = store_of(np.arange(105), channels=OHLC)
    windows = WindowIndex.build(store, WindowConfig(**{**CUT, **cut}))
    with pytest.raises(ConfigError, match="needs bars before the zone, and sees the zone whole") as caught:
        StructureRule().label(store, windows, windows.table(store))
    assert caught.value.way_out == way_out


def test_data_without_candles_is_refused(store_of: Callable[..., BarStore]) -> None:
    store = store_of(np.arange(105))
    windows = WindowIndex.build(store, WindowConfig(**CUT))
    with pytest.raises(DataError, match="no channel open, high, low, close") as caught:
        StructureRule().label(store, windows, windows.table(store))
    assert caught.value.what == "task.labels=structure_rule needs candles"
    assert "task=unlabelled" in caught.value.way_out and "task=label_file" in caught.value.way_out


def test_the_rule_reads_nothing_from_outside() -> None:
    assert StructureRule().fingerprint() == StructureRule(net_tr=1.0).fingerprint() == ""


def test_limits_must_be_positive() -> None:
    with pytest.raises(ConfigError) as caught:
        StructureRule(move_tr=0.0, undone=-1.0, range_tr=0.0, net_tr=0.0)
    assert len(caught.value.problems) == 4
