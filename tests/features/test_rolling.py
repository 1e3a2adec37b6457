"""Rolling sums and moments: right, and the same bits whatever came before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.features.rolling import rolling_mean, rolling_moments, rolling_sum


def noise(seed: int, n_bars: int, level: float = 0.0) -> torch.Tensor:
    return level + torch.randn(2, n_bars, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(n_bars=st.integers(1, 70), window_bars=st.integers(1, 80), level=st.sampled_from([0.0, 1.0, 1e6]))
def test_they_are_their_definition(n_bars: int, window_bars: int, level: float) -> None:
    values = noise(n_bars, n_bars, level)
    sums, means, moments = (f(values, window_bars) for f in (rolling_sum, rolling_mean, rolling_moments))
    for t in range(n_bars):
        past = values[:, max(t - window_bars + 1, 0) : t + 1].numpy()
        assert float(moments.count[t]) == past.shape[1]
        np.testing.assert_allclose(sums[:, t], past.sum(axis=1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(means[:, t], past.mean(axis=1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moments.mean[:, t], past.mean(axis=1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moments.deviation[:, t], past.std(axis=1), rtol=1e-8, atol=1e-12 * max(level, 1))


@given(window_bars=st.integers(1, 40), seed=st.integers(0, 50))
def test_what_lies_before_the_window_leaves_no_trace(window_bars: int, seed: int) -> None:
    values = noise(seed, 60)
    changed = values.clone()
    changed[:, : 60 - window_bars] = noise(seed + 1000, 60)[:, : 60 - window_bars] * 1e12
    for rolled in (rolling_sum, lambda some, bars: rolling_moments(some, bars).deviation):
        assert torch.equal(rolled(changed, window_bars)[:, -1], rolled(values, window_bars)[:, -1])


@pytest.mark.parametrize("value", [0.1, 101.25, 1e7 / 3])
def test_a_constant_has_no_deviation_at_all(value: float) -> None:
    values = torch.full((1, 50, 1), float(np.float32(value)), dtype=torch.float64)
    moments = rolling_moments(values, 20)
    assert torch.equal(moments.mean, values) and not moments.squares.any()
