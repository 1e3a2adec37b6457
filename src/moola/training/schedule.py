"""The schedule of a fit, checked without importing what carries it out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from moola.config import reject, structure


@dataclass(frozen=True)
class FitConfig:
    """A schedule: AdamW (Loshchilov & Hutter 2019), linear warm-up, cosine to `min_lr_ratio`.

    A step is one update of the weights.

    Attributes:
        epochs: passes over the windows.
        batch_size: windows a batch, over all ranks; ``auto``: by memory and speed (`moola.training.batch_size`).
        accumulate: batches that make a step; it follows the mean loss of all their windows.
        lr: peak learning rate.
        weight_decay: decoupled.
        warmup: share of all steps in which the rate rises.
        min_lr_ratio: last rate as a share of the peak.
        clip_norm: largest gradient norm.
        precision: of the arithmetic; ``auto`` is what the device does fast and correctly (`moola.training.precision`).
        ema_decay: of an exponential moving average of the weights, a step; its weights are validated and kept.
            0: none.
        swa_share: last share of the epochs whose weights are averaged (stochastic weight averaging). 0: none.
        patience: epochs without a better ``val_loss`` after which training stops; the best weights are kept. 0: never.
        deterministic: refuse operations that give other bits in another run on the same device.
        checkpoint_every_epochs: how often resume state is saved, where it is saved at all.
        checkpoint_every_steps: save it inside an epoch, too; null: not.
        log_every_steps: steps that one line of the log averages, the last of an epoch fewer; at each the losses are
            looked at.
        stall_s: seconds without a batch after which the log says where the program stands; 0: never.
    """

    epochs: int
    batch_size: int | Literal["auto"]
    accumulate: int = 1
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.1
    min_lr_ratio: float = 0.01
    clip_norm: float = 1.0
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    ema_decay: float = 0.0
    swa_share: float = 0.0
    patience: int = 0
    deterministic: bool = False
    checkpoint_every_epochs: int = 1
    checkpoint_every_steps: int | None = None
    log_every_steps: int = 50
    stall_s: float = 300.0

    def __post_init__(self) -> None:
        reject(
            (self.epochs < 1, f"epochs: {self.epochs} must be at least 1"),
            (
                self.batch_size != "auto" and self.batch_size < 1,
                f"batch_size: {self.batch_size} must be at least 1, or auto",
            ),
            (self.accumulate < 1, f"accumulate: {self.accumulate} must be at least 1"),
            (not 0 < self.lr < math.inf, f"lr: {self.lr} must be positive and finite"),
            (
                not 0 <= self.weight_decay < math.inf,
                f"weight_decay: {self.weight_decay} must be finite and not negative",
            ),
            (not 0 <= self.warmup < 1, f"warmup: {self.warmup} must lie in [0, 1)"),
            (not 0 <= self.min_lr_ratio <= 1, f"min_lr_ratio: {self.min_lr_ratio} must lie in [0, 1]"),
            (not 0 < self.clip_norm < math.inf, f"clip_norm: {self.clip_norm} must be positive and finite"),
            (not 0 <= self.ema_decay < 1, f"ema_decay: {self.ema_decay} must lie in [0, 1)"),
            (not 0 <= self.swa_share < 1, f"swa_share: {self.swa_share} must lie in [0, 1)"),
            (self.ema_decay > 0 and self.swa_share > 0, "ema_decay, swa_share: two averages of the weights; use one"),
            (self.patience < 0, f"patience: {self.patience} must not be negative"),
            (self.checkpoint_every_epochs < 1, "checkpoint_every_epochs: must be at least 1"),
            (
                self.checkpoint_every_steps is not None and self.checkpoint_every_steps < 1,
                "checkpoint_every_steps: must be at least 1, or null",
            ),
            (self.log_every_steps < 1, "log_every_steps: must be at least 1"),
            (not 0 <= self.stall_s < math.inf, f"stall_s: {self.stall_s} must be finite and not negative"),
        )

    @property
    def course(self) -> dict[str, Any]:
        """What the weights depend on, by name: all but how often to look and to save. Batches know their own size."""
        beside = ("batch_size", "checkpoint_every_epochs", "checkpoint_every_steps", "log_every_steps", "stall_s")
        return {name: value for name, value in asdict(self).items() if name not in beside}


@dataclass(frozen=True)
class Monitoring:
    """What is watched while pretraining.

    Attributes:
        validation_share: last part of the training span, in time, kept for the validation loss; windows across its
            border train nothing.
        snapshot_epochs: epochs after which the encoder is kept for the probe curve; before the first and after the
            last it always is.
        snapshot_every_epochs: and after every so many epochs; 0: after those alone.
    """

    validation_share: float = 0.1
    snapshot_epochs: tuple[int, ...] = (1, 2, 4)
    snapshot_every_epochs: int = 0

    def __post_init__(self) -> None:
        reject(
            (not 0 < self.validation_share < 0.5, f"validation_share: {self.validation_share} must lie in (0, 0.5)"),
            (
                any(epoch < 1 for epoch in self.snapshot_epochs),
                f"snapshot_epochs: {list(self.snapshot_epochs)} must be at least 1",
            ),
            (
                self.snapshot_every_epochs < 0,
                f"snapshot_every_epochs: {self.snapshot_every_epochs} must not be negative",
            ),
        )

    def takes_snapshot(self, epoch: int) -> bool:
        """Whether the encoder is kept after this epoch, the first being 1."""
        every = self.snapshot_every_epochs
        return epoch in self.snapshot_epochs or (every > 0 and epoch % every == 0)


@dataclass(frozen=True)
class ProbeSection:
    """What snapshots are probed with: apart from `Monitoring`, so that a change of it pretrains nothing anew.

    Attributes:
        c: inverse strength of the linear probe's penalty.
        neighbours: k of the k-nearest-neighbour probe.
    """

    c: float = 0.1
    neighbours: int = 5

    def __post_init__(self) -> None:
        reject(
            (not 0 < self.c < float("inf"), f"c: {self.c} must be positive and finite"),
            (self.neighbours < 1, f"neighbours: {self.neighbours} must be at least 1"),
        )


@dataclass(frozen=True)
class TrainerSection:
    """The section ``trainer``.

    Attributes:
        pretrain: schedule of pretraining.
        finetune: schedule of fine-tuning, for every model that trains an encoder.
        monitoring: what is watched while pretraining.
        probe: what the encoder is probed with at each snapshot.
    """

    pretrain: FitConfig
    finetune: FitConfig
    monitoring: Monitoring = Monitoring()
    probe: ProbeSection = ProbeSection()

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> TrainerSection:
        """Check the whole section, so that no key in it is passed over.

        Raises:
            ConfigError: every problem in one go.
        """
        return structure(cls, section, "trainer")
