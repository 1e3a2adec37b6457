"""One bar at a time gives the bits that a batch gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.errors import ConfigError, DataError
from moola.features import TRANSFORMS
from moola.features.anchored import Anchored
from moola.features.candles import OHLC
from moola.features.combined import Combined
from moola.features.relative import RelativeTransform
from moola.features.scaled import Scaled
from moola.features.streaming import TransformStream
from moola.testing.transform_checks import random_bars

CHANNELS = (*OHLC, "volume", "minute_of_day", "day_of_week")
PARTS = tuple({"name": name} for name in ("relative", "volatility", "volume", "time_of_day", "log_returns"))
STREAMED = {
    "relative": RelativeTransform(),
    "relative of 7 bars": RelativeTransform(window_bars=7),
    **{name: TRANSFORMS.build(name, {}, "") for name in ("log_returns", "volatility", "volume", "time_of_day")},
    "combined": Combined(PARTS),
    "scaled": Scaled(Combined(PARTS)).fit([random_bars(CHANNELS, 20, 30, seed=9)], CHANNELS),
}


@pytest.mark.parametrize("name", STREAMED)
@given(seed=st.integers(0, 1000), n_bars=st.integers(1, 90))
@settings(max_examples=8)
def test_every_prefix_of_a_stream_equals_the_batch_bit_for_bit(name: str, seed: int, n_bars: int) -> None:
    transform = STREAMED[name]
    batch = random_bars(CHANNELS, 3, n_bars, seed)
    expected = transform.apply(batch, CHANNELS)[1]
    stream = TransformStream(transform, CHANNELS)
    for t, bar in enumerate(batch[1]):
        assert torch.equal(stream.push(bar), expected[t])
        assert torch.equal(transform.apply(batch[1:2, : t + 1], CHANNELS)[0], expected[: t + 1])


@pytest.mark.parametrize("name", STREAMED)
def test_memory_does_not_grow(name: str) -> None:
    stream = TransformStream(STREAMED[name], CHANNELS)
    for bar in random_bars(CHANNELS, 1, 60)[0]:
        stream.push(bar)
    assert len(stream.history) == STREAMED[name].memory_bars


def test_a_stream_goes_on_where_another_stopped() -> None:
    bars = random_bars(CHANNELS, 1, 70)[0]
    whole, first = (TransformStream(STREAMED["combined"], CHANNELS) for _ in range(2))
    expected = [whole.push(bar) for bar in bars]
    for bar in bars[:40]:
        first.push(bar)
    second = TransformStream(STREAMED["combined"], CHANNELS, history=first.history)
    assert all(torch.equal(second.push(bar), expected[40 + i]) for i, bar in enumerate(bars[40:]))


def test_one_bar_more_of_memory_would_be_one_too_many() -> None:
    """The z-score of 20 bars must not see the 21st."""
    assert RelativeTransform().memory_bars == 20
    bars = random_bars(OHLC, 1, 50)
    changed = bars.clone()
    changed[:, :30] *= 1e6
    last, other = (RelativeTransform().apply(some, OHLC)[:, -1] for some in (bars, changed))
    assert torch.equal(last, other)


def test_what_has_no_output_bar_by_bar_is_refused() -> None:
    with pytest.raises(ConfigError, match="Anchored looks at a whole window"):
        TransformStream(Anchored(), OHLC)
    with pytest.raises(ConfigError, match="Scaled is not fitted"):
        TransformStream(Scaled(RelativeTransform()), OHLC)
    with pytest.raises(DataError, match="needs candles"):
        TransformStream(RelativeTransform(), ("x",))
