"""Time goes faster and slower, and never back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moola.augment.time_warp import TimeWarp, interpolated, warp_positions
from moola.data.draws import Draws
from moola.features.candles import OHLC
from moola.testing import check_augment
from moola.testing.transform_checks import random_bars


def draws_of(n_windows: int, seed: int = 0) -> Draws:
    return Draws(seed, n_windows, slice(None), torch.device("cpu"))


@given(
    seed=st.integers(0, 10_000),
    n_bars=st.integers(1, 300),
    scale=st.floats(0, 5),
    knots=st.integers(1, 12),
)
def test_positions_never_decrease_and_keep_both_ends(seed: int, n_bars: int, scale: float, knots: int) -> None:
    positions = warp_positions(n_bars, draws_of(20, seed), scale, knots)
    assert positions.shape == (20, n_bars) and positions.dtype == torch.float32
    assert bool((positions[:, 0] == 0).all()) and bool((positions[:, -1] == n_bars - 1).all())
    assert bool((positions.diff(dim=1) >= 0).all())


def test_the_reference_setting_moves_bars_and_runs_forward_on_every_step() -> None:
    positions = warp_positions(105, draws_of(500), 0.12, 4)
    assert float((positions - torch.arange(105)).abs().max(dim=1).values.mean()) > 1
    assert float(positions.diff(dim=1).min()) > 0.5


@dataclass(frozen=True)
class NoisyTime(TimeWarp):
    """The predecessor's mistake: noise on each position, and nothing that keeps them in order."""

    def positions(self, n_bars: int, draws: Draws) -> Tensor:
        noisy = torch.arange(n_bars) + 10 * self.scale * draws.normal(n_bars)
        noisy[:, 0], noisy[:, -1] = 0, n_bars - 1
        return noisy.clamp(0, n_bars - 1)


def test_a_warp_under_which_time_runs_backwards_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"time runs backwards on 2\d\.\d%"):
        check_augment(NoisyTime())


def test_a_market_without_gaps_stays_without_gaps() -> None:
    bars = random_bars(OHLC, 30, 60)
    bars[:, 1:, 0] = bars[:, :-1, 3]
    bars[..., 1], bars[..., 2] = bars.amax(dim=-1), bars.amin(dim=-1)
    warped = TimeWarp(0.3).apply(bars, OHLC, draws_of(30))
    torch.testing.assert_close(warped[:, 1:, 0], warped[:, :-1, 3], rtol=1e-6, atol=0)


def test_closes_are_read_at_the_positions() -> None:
    bars = random_bars(OHLC, 10, 40)
    positions = warp_positions(40, draws_of(10), 0.3, 4)
    warped = TimeWarp(0.3).apply(bars, OHLC, draws_of(10))
    before = positions.floor().long()
    weight = positions - before
    first, second = (bars[..., 3].gather(1, place.clamp_max(39)) for place in (before, before + 1))
    torch.testing.assert_close(warped[..., 3], first * (1 - weight) + second * weight)


def test_interpolation_at_whole_positions_gives_the_bars_themselves() -> None:
    bars = random_bars(("x",), 4, 9)
    assert torch.equal(interpolated(bars, torch.arange(9.0).expand(4, 9)), bars)
    assert torch.equal(interpolated(bars, torch.full((4, 2), 3.0)), bars[:, [3, 3]])
