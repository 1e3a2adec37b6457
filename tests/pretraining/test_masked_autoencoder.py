"""The masked autoencoder and the trivial predictors it has to beat."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from moola.data.device_batches import Batch
from moola.errors import ConfigError
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderObjective
from moola.pretraining.reconstruction_error import copy_last, masked_huber, masked_mse, visible_mean
from moola.testing import check_objective, make_batch


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
    names = {"val_loss", "val_reconstruction", "val_copy_last", "val_mean", "val_masked_share"}
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


def test_the_realised_share_is_exact_and_among_the_figures() -> None:
    for config in (MaskedAutoencoder(patch_bars=7, ratio=0.4), MaskedAutoencoder(mask="random", ratio=0.27)):
        share = objective_of(config).validate(batch_of())["val_masked_share"]
        assert share == pytest.approx(config.realised_ratio(20), abs=1e-6)


def test_the_error_is_that_of_the_configuration_for_the_model_and_the_trivial_predictors() -> None:
    objective, batch = objective_of(MaskedAutoencoder(error="huber", huber_delta=0.5)), batch_of()
    rebuilt, mask = objective.reconstruct(batch)
    figures = objective.validate(batch)
    for name, guess in (("reconstruction", rebuilt), ("copy_last", copy_last(batch.inputs, mask))):
        expected = float(masked_huber(guess, batch.inputs, mask, 0.5))
        assert figures[f"val_{name}"] == pytest.approx(expected)


def test_only_the_chosen_channels_are_rebuilt_and_count() -> None:
    objective, batch = objective_of(MaskedAutoencoder(channels=(2, 0))), batch_of()
    rebuilt, mask = objective.reconstruct(batch)
    assert torch.equal(rebuilt[..., 1], copy_last(batch.inputs, mask)[..., 1])
    expected = masked_mse(rebuilt[..., [2, 0]], batch.inputs[..., [2, 0]], mask)
    assert objective.validate(batch)["val_reconstruction"] == pytest.approx(float(expected))
    with pytest.raises(ConfigError, match=r"objective.channels: \[3\] must be among 0 to 2"):
        objective_of(MaskedAutoencoder(channels=(0, 3)))


def test_without_weight_there_is_no_spread_term() -> None:
    assert set(objective_of(MaskedAutoencoder(variance_weight=0.0))(batch_of())) == {"loss", "reconstruction"}


def test_other_masks_and_errors_keep_the_suite() -> None:
    check_objective(MaskedAutoencoder(mask="block", block_bars=6, error="huber"), n_bars=20)
    check_objective(MaskedAutoencoder(mask="random", error="l1", variance_weight=0.0), ("wind", "rain"), 12)


def test_windows_of_fewer_than_two_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match="patch_bars: 11 leaves fewer than 2 patches in 20 bars"):
        objective_of(MaskedAutoencoder(patch_bars=11))


def test_wrong_settings_are_all_told() -> None:
    with pytest.raises(ConfigError) as caught:
        MaskedAutoencoder(
            ratio=1.0,
            patch_bars=0,
            block_bars=0,
            huber_delta=0.0,
            channels=(1, 1),
            variance_weight=-1.0,
            decoder_hidden=0,
            seed=-1,
        )
    assert len(caught.value.problems) == 8
