"""The schedule of a fit, checked without importing what carries it out."""

from __future__ import annotations

from dataclasses import dataclass

from moola.config import reject


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
