"""Masked autoencoder for windows: hide bars, rebuild them (He et al. 2022, arXiv:2111.06377, for images).

What differs: the encoder sees the whole window, hidden bars being replaced by a learnable token, so that recurrent
encoders can be trained, too; a small term keeps the spread of the pooled states from collapsing (the variance term
of VICReg, Bardes et al. 2022, arXiv:2105.04906). With M the hidden bars, x the inputs and g what was rebuilt::

    loss = mean over M of error(g, x) + variance_weight * variance_shortfall(mean of the states over bars)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from moola.config import reject
from moola.data.device_batches import Batch
from moola.errors import ConfigError
from moola.models.encoder import Encoder
from moola.pretraining import WindowInputs
from moola.pretraining.fixed_draws import fixed_draws
from moola.pretraining.masks import Masking
from moola.pretraining.parts import with_loss
from moola.pretraining.reconstruction_error import (
    copy_last,
    masked_huber,
    masked_l1,
    masked_mse,
    variance_shortfall,
    visible_mean,
)


@dataclass(frozen=True)
class MaskedAutoencoder(Masking):
    """Configuration; the masks are those of `Masking`.

    Attributes:
        error: of what was rebuilt: ``mse``, ``l1`` or ``huber``.
        huber_delta: distance up to which Huber's error is square, in units of the inputs.
        channels: numbers of the inputs to rebuild; empty: all of them. The encoder sees all in any case.
        variance_weight: weight of the spread term; 0 switches it off.
        decoder_hidden: width of the decoder's one hidden layer.
        seed: of the masks, the same for every seed of the run: the spread over seeds does not hold theirs.
    """

    error: Literal["mse", "l1", "huber"] = "mse"
    huber_delta: float = 1.0
    channels: tuple[int, ...] = ()
    variance_weight: float = 0.1
    decoder_hidden: int = 128
    seed: int = 0
    short_name: ClassVar[str] = "mae"

    def __post_init__(self) -> None:
        reject(
            *self.mask_rules(),
            (self.huber_delta <= 0, f"huber_delta: {self.huber_delta} must be positive"),
            (len(set(self.channels)) < len(self.channels), f"channels: {list(self.channels)} holds one twice"),
            (self.variance_weight < 0, f"variance_weight: {self.variance_weight} must not be negative"),
            (self.seed < 0, f"seed: {self.seed} must not be negative"),
            (self.decoder_hidden < 1, f"decoder_hidden: {self.decoder_hidden} must be at least 1"),
        )

    def build(self, encoder: Encoder, inputs: WindowInputs) -> MaskedAutoencoderObjective:
        """Wrap an encoder.

        Raises:
            ConfigError: such masks cannot be drawn for these windows, or there is no such channel.
        """
        self.check_windows(inputs.shape.n_bars)
        unknown = [channel for channel in self.channels if not 0 <= channel < inputs.shape.n_inputs]
        if unknown:
            told = f"{unknown} must be among 0 to {inputs.shape.n_inputs - 1}, the inputs that the transform gives"
            raise ConfigError([f"objective.channels: {told}"], "leave them out; objective.channels=[] is all inputs")
        return MaskedAutoencoderObjective(encoder, inputs.shape.n_inputs, self)


class MaskedAutoencoderObjective(nn.Module):
    """Encoder, mask token and decoder. Legend: B windows, T bars, D inputs, W state width, R rebuilt inputs."""

    def __init__(self, encoder: Encoder, n_inputs: int, config: MaskedAutoencoder) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.channels = list(config.channels or range(n_inputs))
        self.mask_token = nn.Parameter(torch.zeros(n_inputs))
        self.decoder = nn.Sequential(
            nn.Linear(encoder.width, config.decoder_hidden),
            nn.GELU(),
            nn.Linear(config.decoder_hidden, len(self.channels)),
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a training batch; the mask depends on (seed, epoch, batch number) alone."""
        mask = self.config.draw_mask(batch.draws(self.config.seed), batch.inputs.shape[1])
        states, rebuilt = self._rebuild(batch.inputs, mask)
        parts = {"reconstruction": self._error(rebuilt, self._wanted(batch.inputs), mask)}
        if self.config.variance_weight > 0:
            parts["variance"] = self.config.variance_weight * variance_shortfall(states.float().mean(dim=1))
        return with_loss(parts)

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        """Error on held-out windows beside two trivial predictors under the same masks.

        Returns:
            ``val_loss``, ``val_reconstruction``, ``val_copy_last``, ``val_mean``, and ``val_masked_share``, the share
            of bars that were hidden.
        """
        inputs, mask = self._wanted(batch.inputs), self._fixed_mask(batch)
        rebuilt = self._rebuild(batch.inputs, mask)[1]
        guesses = {"reconstruction": rebuilt, "copy_last": copy_last(inputs, mask), "mean": visible_mean(inputs, mask)}
        errors = {f"val_{name}": float(self._error(guess, inputs, mask)) for name, guess in guesses.items()}
        return {"val_loss": errors["val_reconstruction"], **errors, "val_masked_share": float(mask.float().mean())}

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Rebuilt windows [B, T, D] and the masks [B, T] they were rebuilt under.

        Inputs that are not rebuilt stay at what was shown last.
        """
        mask = self._fixed_mask(batch)
        rebuilt = copy_last(batch.inputs, mask)
        rebuilt[..., self.channels] = self._rebuild(batch.inputs, mask)[1].to(rebuilt.dtype)
        return rebuilt, mask

    def _fixed_mask(self, batch: Batch) -> Tensor:
        return self.config.draw_mask(fixed_draws(batch), batch.inputs.shape[1]).to(batch.inputs.device)

    def _rebuild(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, T, W] and rebuilt inputs [B, T, R] of windows [B, T, D] of which the mask hides bars."""
        states = self.encoder(torch.where(mask[..., None], self.mask_token, inputs))
        return states, self.decoder(states)

    def _wanted(self, inputs: Tensor) -> Tensor:
        return inputs[..., self.channels] if self.config.channels else inputs

    def _error(self, guess: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
        if self.config.error == "huber":
            return masked_huber(guess, inputs, mask, self.config.huber_delta)
        return {"mse": masked_mse, "l1": masked_l1}[self.config.error](guess, inputs, mask)
