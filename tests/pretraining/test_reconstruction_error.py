"""Errors of rebuilt windows and the trivial predictors, read off by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import huber_loss, l1_loss, mse_loss

from moola.pretraining.reconstruction_error import (
    copy_last,
    masked_huber,
    masked_l1,
    masked_mse,
    variance_shortfall,
    visible_mean,
)


def column(values: list[float]) -> Tensor:
    return torch.tensor(values)[None, :, None]


def mask_of(*hidden: int) -> Tensor:
    return torch.tensor([[bool(value) for value in hidden]])


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        ((0, 0, 1, 1, 0), [1, 2, 2, 2, 5]),
        ((1, 1, 0, 1, 0), [3, 3, 3, 3, 5]),  # before the first shown step, that one
        ((0, 1, 1, 1, 1), [1, 1, 1, 1, 1]),
        ((0, 0, 0, 0, 0), [1, 2, 3, 4, 5]),
    ],
)
def test_copy_last_repeats_the_last_step_shown(hidden: tuple[int, ...], expected: list[float]) -> None:
    guess = copy_last(column([1, 2, 3, 4, 5]), mask_of(*hidden))
    assert guess[0, :, 0].tolist() == expected


def test_copy_last_keeps_windows_and_channels_apart() -> None:
    inputs = torch.arange(12.0).reshape(2, 3, 2)
    guess = copy_last(inputs, torch.tensor([[False, True, False], [True, False, True]]))
    assert guess.tolist() == [[[0, 1], [0, 1], [4, 5]], [[8, 9], [8, 9], [8, 9]]]


def test_visible_mean_is_the_mean_of_what_is_shown() -> None:
    guess = visible_mean(column([1, 3, 100, 5, 100]), mask_of(0, 0, 1, 0, 1))
    assert guess[0, :, 0].tolist() == [3] * 5


def test_masked_mse_is_read_off_by_hand() -> None:
    guess, inputs = column([0, 0, 0, 0]), column([9, 1, 3, 9])
    assert float(masked_mse(guess, inputs, mask_of(0, 1, 1, 0))) == (1 + 9) / 2


def test_masked_l1_and_huber_are_read_off_by_hand() -> None:
    guess, inputs, mask = column([0, 0, 0, 0]), column([9, 0.5, -3, 9]), mask_of(0, 1, 1, 0)
    assert float(masked_l1(guess, inputs, mask)) == (0.5 + 3) / 2
    assert float(masked_huber(guess, inputs, mask, 1.0)) == (0.5**2 / 2 + (3 - 0.5)) / 2
    assert float(masked_huber(guess, inputs, mask, 2.0)) == (0.5**2 / 2 + 2 * (3 - 1)) / 2


def huber_of_2(guess: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
    return masked_huber(guess, inputs, mask, 2.0)


@pytest.mark.parametrize(
    ("error", "reference"),
    [
        (masked_mse, mse_loss),
        (masked_l1, l1_loss),
        (huber_of_2, lambda guess, inputs: huber_loss(guess, inputs, delta=2.0)),
    ],
)
@given(seed=st.integers(0, 100))
def test_errors_are_those_of_torch_over_hidden_steps_only(error, reference, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    guess, inputs, other = 2 * torch.randn(3, 4, 10, 2, generator=generator)
    mask = torch.rand(4, 10, generator=generator) < 0.5
    mask[0, 0] = True
    expected = reference(guess[mask], inputs[mask])
    torch.testing.assert_close(error(guess, inputs, mask), expected)
    shown_otherwise = torch.where(mask[..., None], guess, other * 1e3)
    torch.testing.assert_close(error(shown_otherwise, inputs, mask), expected)


def test_the_variance_term_is_zero_for_spread_out_embeddings_and_one_for_collapsed_ones() -> None:
    spread = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) * 3
    assert float(variance_shortfall(spread)) == 0.0
    assert float(variance_shortfall(torch.ones(200, 8))) == pytest.approx(0.99, abs=1e-6)  # 1 - sqrt(1e-4)
    assert float(variance_shortfall(torch.ones(1, 8))) == 0.0  # one window has no spread
    half = torch.cat([spread[:, :4], torch.ones(200, 4)], dim=1)
    assert float(variance_shortfall(half)) == pytest.approx(0.495, abs=1e-6)
