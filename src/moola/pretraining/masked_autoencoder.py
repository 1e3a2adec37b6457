"""Masked autoencoder for windows: hide patches, rebuild them (He et al. 2022, arXiv:2111.06377, for images).

What differs: the encoder is recurrent and sees the whole window, hidden steps being replaced by a learnable token;
a small term keeps the spread of the pooled states from collapsing (the variance term of VICReg, Bardes et al. 2022,
arXiv:2105.04906, equation 1, with weight `variance_weight` and target 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moola.config import reject
from moola.data.device_batches import Batch
from moola.data.draws import mix_seeds
from moola.errors import ConfigError
from moola.models.encoder import Encoder
from moola.pretraining import WindowInputs
from moola.pretraining.masks import masked_patches, patch_mask

VALIDATION_SEED = 20_130_101
"""Masks on validation windows are the same in every epoch, run and seed, so losses can be compared."""


@dataclass(frozen=True)
class MaskedAutoencoder:
    """Configuration.

    Attributes:
        patch_bars: bars a patch.
        ratio: share of patches to hide; the realised share is reported.
        variance_weight: weight of the spread term; 0 switches it off.
        decoder_hidden: width of the decoder's one hidden layer.
        seed: of the masks, the same for every seed of the run: the spread over seeds does not hold theirs.
    """

    patch_bars: int = 5
    ratio: float = 1 / 3
    variance_weight: float = 0.1
    decoder_hidden: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        reject(
            (self.patch_bars < 1, f"patch_bars: {self.patch_bars} must be at least 1"),
            (not 0 < self.ratio < 1, f"ratio: {self.ratio} must lie between 0 and 1"),
            (self.variance_weight < 0, f"variance_weight: {self.variance_weight} must not be negative"),
            (self.seed < 0, f"seed: {self.seed} must not be negative"),
            (self.decoder_hidden < 1, f"decoder_hidden: {self.decoder_hidden} must be at least 1"),
        )

    def build(self, encoder: Encoder, inputs: WindowInputs) -> MaskedAutoencoderObjective:
        """Wrap an encoder.

        Raises:
            ConfigError: fewer than two patches fit into a window.
        """
        n_bars = inputs.shape.n_bars
        if n_bars // self.patch_bars < 2:
            raise ConfigError([f"objective.patch_bars: {self.patch_bars} leaves fewer than 2 patches in {n_bars} bars"])
        return MaskedAutoencoderObjective(encoder, inputs.shape.n_inputs, self)

    def realised_ratio(self, n_bars: int) -> float:
        """Share of bars that are hidden in a window of `n_bars`, after rounding to whole patches."""
        return masked_patches(n_bars, self.patch_bars, self.ratio)[1] * self.patch_bars / n_bars


class MaskedAutoencoderObjective(nn.Module):
    """Encoder, mask token and decoder. Legend: B windows, T bars, D inputs, W state width."""

    def __init__(self, encoder: Encoder, n_inputs: int, config: MaskedAutoencoder) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.mask_token = nn.Parameter(torch.zeros(n_inputs))
        self.decoder = nn.Sequential(
            nn.Linear(encoder.width, config.decoder_hidden), nn.GELU(), nn.Linear(config.decoder_hidden, n_inputs)
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a training batch; the mask depends on (seed, epoch, batch number) alone."""
        mask = self._mask(batch, mix_seeds(self.config.seed, batch.epoch, batch.number))
        states, rebuilt = self._rebuild(batch.inputs, mask)
        reconstruction = masked_mse(rebuilt, batch.inputs, mask)
        spread = self.config.variance_weight * variance_shortfall(states.mean(dim=1))
        return {"loss": reconstruction + spread, "reconstruction": reconstruction, "variance": spread}

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        """Masked error on held-out windows beside two trivial predictors under the same masks.

        Returns:
            ``val_loss``, ``val_reconstruction``, ``val_copy_last`` and ``val_mean``.
        """
        inputs, mask = batch.inputs, self._mask(batch, mix_seeds(VALIDATION_SEED, batch.number))
        rebuilt = self._rebuild(inputs, mask)[1]
        guesses = {"reconstruction": rebuilt, "copy_last": copy_last(inputs, mask), "mean": visible_mean(inputs, mask)}
        errors = {f"val_{name}": float(masked_mse(guess, inputs, mask)) for name, guess in guesses.items()}
        return {"val_loss": errors["val_reconstruction"], **errors}

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Rebuilt windows [B, T, D] and the masks [B, T] they were rebuilt under."""
        mask = self._mask(batch, mix_seeds(VALIDATION_SEED, batch.number))
        return self._rebuild(batch.inputs, mask)[1], mask

    def _mask(self, batch: Batch, seed: int) -> Tensor:
        """Drawn on the CPU for the whole batch: the same on every device and for any number of ranks."""
        generator = torch.Generator().manual_seed(seed)
        n_bars = batch.inputs.shape[1]
        mask = patch_mask(batch.total, n_bars, self.config.patch_bars, self.config.ratio, generator)
        return mask[batch.first : batch.first + len(batch.inputs)].to(batch.inputs.device)

    def _rebuild(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.encoder(torch.where(mask[..., None], self.mask_token, inputs))
        return states, self.decoder(states)


def masked_mse(guess: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over hidden steps: [B, T, D], [B, T, D], bool [B, T] -> scalar."""
    hidden = mask[..., None].to(inputs.dtype)
    return ((guess - inputs).square() * hidden).sum() / (hidden.sum() * inputs.shape[-1])


def variance_shortfall(embedding: Tensor) -> Tensor:
    """How far the standard deviation of each component falls short of 1, on average: [B, W] -> scalar."""
    if len(embedding) < 2:
        return embedding.new_zeros(())
    return torch.relu(1.0 - torch.sqrt(embedding.var(dim=0) + 1e-4)).mean()


def copy_last(inputs: Tensor, mask: Tensor) -> Tensor:
    """Each hidden step repeats the last shown one; before the first shown step, that first one. [B, T, D]."""
    steps = torch.arange(inputs.shape[1], device=inputs.device).expand_as(mask)
    last = torch.where(mask, -1, steps).cummax(dim=1).values
    first = mask.int().argmin(dim=1, keepdim=True)
    source = torch.where(last < 0, first, last)
    return inputs.gather(1, source[..., None].expand_as(inputs))


def visible_mean(inputs: Tensor, mask: Tensor) -> Tensor:
    """Each hidden step is the mean of the window's shown steps. [B, T, D]."""
    shown = (~mask)[..., None].to(inputs.dtype)
    return ((inputs * shown).sum(dim=1, keepdim=True) / shown.sum(dim=1, keepdim=True)).expand_as(inputs)
