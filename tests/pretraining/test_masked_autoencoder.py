"""The masked autoencoder and the trivial predictors it has to beat."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from moola.data.device_batches import Batch
from moola.errors import ConfigError
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.masked_autoencoder import (
    MaskedAutoencoder,
    MaskedAutoencoderObjective,
    copy_last,
    masked_mse,
    variance_shortfall,
    visible_mean,
)
from moola.testing import check_encoder, make_batch


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


@given(seed=st.integers(0, 100))
def test_masked_mse_counts_hidden_steps_only(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    guess, inputs, other = torch.randn(3, 4, 10, 2, generator=generator)
    mask = torch.rand(4, 10, generator=generator) < 0.5
    mask[0, 0] = True
    expected = (guess[mask] - inputs[mask]).square().mean()
    torch.testing.assert_close(masked_mse(guess, inputs, mask), expected)
    shown_otherwise = torch.where(mask[..., None], guess, other * 1e3)
    torch.testing.assert_close(masked_mse(shown_otherwise, inputs, mask), expected)


def test_the_variance_term_is_zero_for_spread_out_embeddings_and_one_for_collapsed_ones() -> None:
    spread = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) * 3
    assert float(variance_shortfall(spread)) == 0.0
    assert float(variance_shortfall(torch.ones(200, 8))) == pytest.approx(0.99, abs=1e-6)  # 1 - sqrt(1e-4)
    assert float(variance_shortfall(torch.ones(1, 8))) == 0.0  # one window has no spread
    half = torch.cat([spread[:, :4], torch.ones(200, 4)], dim=1)
    assert float(variance_shortfall(half)) == pytest.approx(0.495, abs=1e-6)


def objective_of(config: MaskedAutoencoder | None = None, n_bars: int = 20) -> MaskedAutoencoderObjective:
    torch.manual_seed(0)
    shape = InputShape(3, n_bars)
    return (config or MaskedAutoencoder(decoder_hidden=8)).build(
        BiLstm(hidden=4).build(shape), WindowInputs(shape, ("a", "b", "c"), lambda bars: bars)
    )


def batch_of(epoch: int = 0, number: int = 0, seed: int = 1) -> Batch:
    inputs = torch.randn(6, 20, 3, generator=torch.Generator().manual_seed(seed))
    return make_batch(inputs, epoch=epoch, number=number)


def values(losses: dict[str, Any]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in losses.items()}


def test_the_loss_is_the_sum_of_its_weighted_parts() -> None:
    losses = values(objective_of(MaskedAutoencoder(variance_weight=0.5))(batch_of()))
    assert losses["loss"] == pytest.approx(losses["reconstruction"] + losses["variance"])
    assert losses["variance"] > 0
    half = values(objective_of(MaskedAutoencoder(variance_weight=0.25))(batch_of()))
    assert half["variance"] == pytest.approx(losses["variance"] / 2)


def test_masks_of_training_follow_seed_epoch_and_batch_and_nothing_else() -> None:
    objective = objective_of()
    first = values(objective(batch_of()))
    torch.manual_seed(99)
    assert values(objective(batch_of())) == first
    assert values(objective(batch_of(epoch=1))) != first
    assert values(objective(batch_of(number=1))) != first
    assert values(objective_of(MaskedAutoencoder(decoder_hidden=8, seed=1))(batch_of())) != first


def test_validation_masks_are_the_same_for_every_seed_of_the_objective() -> None:
    batch = batch_of()
    masks = [objective_of(MaskedAutoencoder(seed=seed)).reconstruct(batch)[1] for seed in (0, 1)]
    assert torch.equal(*masks)
    names = {"val_loss", "val_reconstruction", "val_copy_last", "val_mean"}
    objective = objective_of()
    assert set(objective.validate(batch)) == names
    assert objective.validate(batch) == objective.validate(batch)


def test_validation_scores_the_trivial_predictors_under_the_masks_of_the_model() -> None:
    objective, inputs = objective_of(), batch_of().inputs
    rebuilt, mask = objective.reconstruct(make_batch(inputs))
    figures = objective.validate(make_batch(inputs))
    assert figures["val_reconstruction"] == pytest.approx(float(masked_mse(rebuilt, inputs, mask)))
    assert figures["val_copy_last"] == pytest.approx(float(masked_mse(copy_last(inputs, mask), inputs, mask)))
    assert figures["val_mean"] == pytest.approx(float(masked_mse(visible_mean(inputs, mask), inputs, mask)))


def test_hidden_steps_never_reach_the_encoder() -> None:
    objective, inputs = objective_of(), batch_of().inputs
    _, mask = objective.reconstruct(make_batch(inputs))
    changed = torch.where(mask[..., None], torch.full_like(inputs, 1e3), inputs)
    assert torch.equal(objective.reconstruct(make_batch(changed))[0], objective.reconstruct(make_batch(inputs))[0])
    shown = torch.where(mask[..., None], inputs, inputs + 1)
    assert not torch.equal(objective.reconstruct(make_batch(shown))[0], objective.reconstruct(make_batch(inputs))[0])


def test_every_weight_gets_a_gradient_also_the_mask_token() -> None:
    objective = objective_of()
    objective(batch_of())["loss"].backward()
    still = [name for name, weight in objective.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not still


def test_windows_of_fewer_than_two_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match="patch_bars: 11 leaves fewer than 2 patches in 20 bars"):
        objective_of(MaskedAutoencoder(patch_bars=11))


def test_wrong_settings_are_all_told() -> None:
    with pytest.raises(ConfigError) as caught:
        MaskedAutoencoder(patch_bars=0, ratio=1.0, variance_weight=-1.0, decoder_hidden=0, seed=-1)
    assert len(caught.value.problems) == 5


def test_the_encoder_keeps_the_encoder_suite() -> None:
    check_encoder(BiLstm(hidden=3))
    check_encoder(BiLstm(hidden=3, layers=2, dropout=0.3))


def test_the_encoder_suite_finds_windows_that_see_each_other() -> None:
    class Mixing(nn.Module):
        width = 5

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs - inputs.mean(dim=0)

    class MixingConfig(BiLstm):
        def build(self, shape: InputShape) -> Any:
            return Mixing()

    with pytest.raises(AssertionError, match="depend on the others"):
        check_encoder(MixingConfig())
