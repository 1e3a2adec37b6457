"""Learning from windows without labels: masks and objectives, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from moola.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from moola.data.device_batches import Batch


class Objective(Protocol):
    """A module around an encoder that turns a batch into losses."""

    encoder: nn.Module

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars; ``loss`` is what is minimised, the others are its parts."""
        ...

    def validate(self, inputs: Tensor) -> dict[str, float]:
        """Figures on held-out windows [B, T, D] under fixed masks, trivial predictors among them."""
        ...

    def reconstruct(self, inputs: Tensor) -> tuple[Tensor, torch.Tensor]:
        """Rebuilt inputs [B, T, D] and the mask [B, T] under which they were rebuilt."""
        ...


class ObjectiveConfig(Protocol):
    """Configuration of an objective."""

    def build(self, encoder: nn.Module, n_inputs: int, n_bars: int) -> Objective:
        """Wrap an encoder for windows of `n_bars` bars with `n_inputs` inputs.

        Raises:
            ConfigError: the objective does not fit such windows.
        """
        ...


OBJECTIVES: Registry[ObjectiveConfig] = Registry(
    "objective", {"masked_autoencoder": "moola.pretraining.masked_autoencoder:MaskedAutoencoder"}
)
