"""Candles seen from the last visible close."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.data.window_index import WindowConfig, WindowIndex
from moola.errors import ConfigError, DataError
from moola.features import TRANSFORMS
from moola.features.anchored import Anchored
from moola.testing import check_transform

OHLC = ("open", "high", "low", "close")


def candles(seed: int, n_windows: int = 3, n_bars: int = 40) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(0.02 * rng.normal(size=(n_windows, n_bars)).cumsum(axis=1))
    opened = close * np.exp(0.01 * rng.normal(size=close.shape))
    high, low = np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99
    return torch.from_numpy(np.stack([opened, high, low, close], axis=-1).astype(np.float32))


def test_it_is_its_definition() -> None:
    bars = candles(0)
    logs = np.log(bars.numpy().astype(np.float64))
    outputs = Anchored(level_scale=4.0).apply(bars, OHLC).numpy()
    for window in range(3):
        unit = np.mean(logs[window, :, 1] - logs[window, :, 2])
        for t in range(40):
            level = (logs[window, t] - logs[window, -1, 3]) / (unit * 4.0)
            step = (logs[window, t] - logs[window, t - 1]) / unit if t else np.zeros(4)
            np.testing.assert_allclose(outputs[window, t], [*level, *step], atol=1e-3)


def test_the_last_visible_close_is_the_origin() -> None:
    outputs = Anchored().apply(candles(1), OHLC)
    assert torch.all(outputs[:, -1, 3] == 0.0) and torch.all(outputs[:, 0, 4:] == 0.0)


def test_its_channels_are_named() -> None:
    names = Anchored().output_channels(OHLC)
    assert names[:4] == ("level_open", "level_high", "level_low", "level_close")
    assert names[4:] == ("return_open", "return_high", "return_low", "return_close")
    assert [names[i] for i in Anchored().summary_channels(OHLC)] == ["level_close"]


@given(seed=st.integers(0, 100), factor=st.sampled_from([0.01, 0.5, 3.0, 198.0]))
def test_the_price_level_is_not_in_it(seed: int, factor: float) -> None:
    bars = candles(seed)
    scaled = Anchored().apply(bars * factor, OHLC)
    torch.testing.assert_close(scaled, Anchored().apply(bars, OHLC), rtol=1e-3, atol=2e-3)


@given(seed=st.integers(0, 100), level_scale=st.floats(0.1, 20))
def test_restore_undoes_it(seed: int, level_scale: float) -> None:
    bars, transform = candles(seed), Anchored(level_scale)
    restored = transform.restore(transform.apply(bars, OHLC), bars, OHLC)
    torch.testing.assert_close(restored, bars, rtol=1e-4, atol=0)


def test_restore_finds_the_candles_among_other_channels() -> None:
    bars = candles(2)
    more = torch.cat([torch.full_like(bars[..., :1], 9.0), bars], dim=-1)
    channels = ("volume", *OHLC)
    restored = Anchored().restore(Anchored().apply(more, channels), more, channels)
    torch.testing.assert_close(restored, bars, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["anchored", "log_returns", "relative", "standardised", "volatility"])
def test_bars_at_and_after_the_last_visible_one_never_reach_the_inputs(name: str, store_of) -> None:
    """Windows show their first `visible` bars; what comes after may be anything."""
    length, visible = 30, 20
    store = store_of(np.arange(60), channels=OHLC)
    windows = WindowIndex.build(store, WindowConfig(length=length, visible=visible))
    transform = TRANSFORMS.build(name, {}, "transform")
    bars = candles(3, n_windows=1, n_bars=60)[0].numpy()
    for start in (0, 7, 30):
        changed = bars.copy()
        changed[start + visible :] *= 5
        shown, other = (
            transform.apply(torch.from_numpy(windows.gather(values, np.array([start]))), OHLC)
            for values in (bars, changed)
        )
        assert shown.shape[1] == visible
        assert torch.equal(shown, other)


def test_the_anchor_looks_at_every_visible_bar_and_only_at_those_given() -> None:
    bars = candles(4)
    cut = Anchored().apply(bars[:, :25], OHLC)
    assert torch.equal(cut, Anchored().apply(bars[:, :25].clone(), OHLC))
    assert not torch.allclose(cut, Anchored().apply(bars, OHLC)[:, :25])  # another anchor, another unit


def test_it_keeps_the_transform_suite() -> None:
    check_transform(Anchored(), OHLC)
    check_transform(Anchored(), (*OHLC, "volume"), n_bars=2)


def test_data_without_candles_is_refused() -> None:
    with pytest.raises(DataError, match="transform=anchored needs candles"):
        Anchored().apply(torch.ones(1, 5, 1), ("x",))


def test_a_scale_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"level_scale: 0\.0"):
        Anchored(level_scale=0.0)


def test_levels_alone_are_the_first_four_channels() -> None:
    bars = candles(seed=1)
    alone = Anchored(returns=False)
    assert alone.output_channels(OHLC) == Anchored().output_channels(OHLC)[:4]
    assert torch.equal(alone.apply(bars, OHLC), Anchored().apply(bars, OHLC)[..., :4])
    torch.testing.assert_close(alone.restore(alone.apply(bars, OHLC), bars, OHLC), bars)
    check_transform(alone, OHLC)
