"""The schedule of a fit, checked without importing what carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moola.config import reject, structure


@dataclass(frozen=True)
class FitConfig:
    """A schedule: AdamW (Loshchilov & Hutter 2019), linear warm-up, cosine to `min_lr_ratio`.

    Attributes:
        epochs: passes over the windows.
        batch_size: windows a step.
        lr: peak learning rate.
        weight_decay: decoupled.
        warmup: share of all steps in which the rate rises.
        min_lr_ratio: last rate as a share of the peak.
        clip_norm: largest gradient norm.
        checkpoint_every_epochs: how often resume state is saved, where it is saved at all.
    """

    epochs: int
    batch_size: int
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.1
    min_lr_ratio: float = 0.01
    clip_norm: float = 1.0
    checkpoint_every_epochs: int = 1

    def __post_init__(self) -> None:
        reject(
            (self.epochs < 1, f"epochs: {self.epochs} must be at least 1"),
            (self.batch_size < 1, f"batch_size: {self.batch_size} must be at least 1"),
            (self.lr <= 0, f"lr: {self.lr} must be positive"),
            (self.weight_decay < 0, f"weight_decay: {self.weight_decay} must not be negative"),
            (not 0 <= self.warmup < 1, f"warmup: {self.warmup} must lie in [0, 1)"),
            (not 0 <= self.min_lr_ratio <= 1, f"min_lr_ratio: {self.min_lr_ratio} must lie in [0, 1]"),
            (self.clip_norm <= 0, f"clip_norm: {self.clip_norm} must be positive"),
            (self.checkpoint_every_epochs < 1, "checkpoint_every_epochs: must be at least 1"),
        )


@dataclass(frozen=True)
class Monitoring:
    """What is watched while pretraining.

    Attributes:
        validation_share: last part of the training span, in time, kept for the validation loss; windows across its
            border train nothing.
        snapshot_epochs: epochs after which the encoder is kept for the probe curve; before the first and after the
            last it always is.
    """

    validation_share: float = 0.1
    snapshot_epochs: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        reject(
            (not 0 < self.validation_share < 0.5, f"validation_share: {self.validation_share} must lie in (0, 0.5)"),
            (
                any(epoch < 1 for epoch in self.snapshot_epochs),
                f"snapshot_epochs: {list(self.snapshot_epochs)} must be at least 1",
            ),
        )


@dataclass(frozen=True)
class TrainerSection:
    """The section ``trainer``.

    Attributes:
        pretrain: schedule of pretraining.
        finetune: schedule of fine-tuning, for every model that trains an encoder.
        monitoring: what is watched while pretraining.
    """

    pretrain: FitConfig
    finetune: FitConfig
    monitoring: Monitoring = Monitoring()

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> TrainerSection:
        """Check the whole section, so that no key in it is passed over.

        Raises:
            ConfigError: every problem in one go.
        """
        return structure(cls, section, "trainer")
