"""Windows and channels of mean 0 and standard deviation 1."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.features.standardised import Standardised
from moola.testing import check_transform

NAMES = ("a", "b", "c")


def standardise(bars: torch.Tensor) -> torch.Tensor:
    return Standardised().apply(bars, NAMES[: bars.shape[-1]])


@given(seed=st.integers(0, 100), offset=st.floats(-100, 100), spread=st.floats(0.01, 100), n_bars=st.integers(2, 80))
def test_every_window_and_channel_has_mean_zero_and_deviation_one(
    seed: int, offset: float, spread: float, n_bars: int
) -> None:
    noise = torch.randn(4, n_bars, 3, generator=torch.Generator().manual_seed(seed))
    outputs = standardise(offset + spread * noise).double()
    torch.testing.assert_close(outputs.mean(dim=1), torch.zeros(4, 3).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(outputs.std(dim=1, correction=0), torch.ones(4, 3).double(), atol=1e-3, rtol=0)


@given(value=st.floats(-1e8, 1e8, width=32), n_bars=st.integers(2, 200))
def test_a_constant_channel_becomes_exactly_zero(value: float, n_bars: int) -> None:
    bars = torch.randn(2, n_bars, 2)
    bars[..., 1] = value
    outputs = standardise(bars)
    assert torch.all(outputs[..., 1] == 0.0) and outputs[..., 0].abs().max() > 0


def test_it_is_read_off_by_hand() -> None:
    outputs = standardise(torch.tensor([[[1.0], [3.0]]]))
    torch.testing.assert_close(outputs, torch.tensor([[[-1.0], [1.0]]]))


def test_channels_keep_their_names_and_all_hold_a_level() -> None:
    assert Standardised().output_channels(NAMES) == NAMES
    assert Standardised().summary_channels(NAMES) == (0, 1, 2)


def test_it_keeps_the_transform_suite() -> None:
    check_transform(Standardised(), NAMES)
    check_transform(Standardised(), ("x",), n_bars=2)
