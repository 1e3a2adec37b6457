"""The one training loop. Objectives and tasks plug in; nothing here knows which it trains."""

from __future__ import annotations

import logging
import math
import signal
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import EXIT_FAILED, MoolaError
from moola.training.checkpoint_io import SafetensorsCheckpointIO, rng_state, set_rng_state
from moola.training.schedule import FitConfig


class DivergedError(MoolaError):
    """The loss became NaN or infinite."""

    exit_code = EXIT_FAILED


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with a learning rate of their own.

    Attributes:
        parameters: what is in the group.
        factor: of the schedule's rate.
        frozen_epochs: epochs at the start in which the rate is 0.
    """

    parameters: Sequence[nn.Parameter]
    factor: float = 1.0
    frozen_epochs: int = 0


def fit(
    objective: nn.Module,
    batches: DeviceBatches,
    config: FitConfig,
    *,
    groups: Sequence[ParameterGroup] | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train `objective` in place.

    Args:
        objective: called with a `Batch`, returns scalars with ``loss`` among them.
        batches: on the device to train on.
        config: the schedule.
        groups: parameter groups; default is one with everything.
        validate: figures to add to an epoch's record, computed in evaluation mode.
        checkpoint: file to save resume state in; when it exists, training goes on from there to the same result.
        on_epoch: called with each epoch's record, also on resume for the epochs that follow.

    Returns:
        One record an epoch: ``epoch`` (from 1), mean of each loss part, and what `validate` gave.

    Raises:
        DivergedError: the loss is not finite.
        KeyboardInterrupt: Ctrl-C; the last checkpoint stays.
    """
    device = batches.values.device
    record = _EpochRecords(config, validate, checkpoint, on_epoch)
    _quieten_lightning()
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=config.epochs,
        gradient_clip_val=config.clip_norm,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[record],
        plugins=[SafetensorsCheckpointIO()],
    )
    module = _Module(objective, config, groups or [ParameterGroup(list(objective.parameters()))], len(batches))
    resume = str(checkpoint) if checkpoint and checkpoint.exists() else None
    _fit_interruptibly(trainer, module, batches, resume)
    return record.records


class _Module(lightning.LightningModule):
    """Couples an objective with its optimiser and schedule."""

    def __init__(
        self, objective: nn.Module, config: FitConfig, groups: Sequence[ParameterGroup], steps_per_epoch: int
    ) -> None:
        super().__init__()
        self.objective = objective
        self._config, self._groups, self._steps_per_epoch = config, groups, steps_per_epoch
        self.sums: dict[str, Tensor] = {}
        self.windows = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        parts: dict[str, Tensor] = self.objective(batch)
        for name, value in parts.items():  # summed on the device: a .item() here would wait for it in every step
            self.sums[name] = self.sums.get(name, 0.0) + value.detach() * len(batch.index)
        self.windows += len(batch.index)
        return parts["loss"]

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch  # gathered where the model is

    def configure_optimizers(self) -> Any:
        c = self._config
        optimiser = torch.optim.AdamW(
            [{"params": list(group.parameters)} for group in self._groups], lr=c.lr, weight_decay=c.weight_decay
        )
        total = max(c.epochs * self._steps_per_epoch, 1)
        warmup = max(int(c.warmup * total), 1)

        def rate(group: ParameterGroup, step: int) -> float:
            if step < group.frozen_epochs * self._steps_per_epoch:
                return 0.0
            rising = min((step + 1) / warmup, 1.0)
            progress = min(max(step - warmup, 0) / max(total - warmup, 1), 1.0)
            cosine = 0.5 * (1 + math.cos(math.pi * progress))
            return group.factor * rising * (c.min_lr_ratio + (1 - c.min_lr_ratio) * cosine)

        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, [lambda step, group=group: rate(group, step) for group in self._groups]
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _EpochRecords(lightning.Callback):
    """Keeps one record an epoch, checks that the loss is finite, and saves resume state."""

    def __init__(
        self,
        config: FitConfig,
        validate: Callable[[], dict[str, float]] | None,
        checkpoint: Path | None,
        on_epoch: Callable[[dict[str, float]], None] | None,
    ) -> None:
        self.records: list[dict[str, float]] = []
        self._config, self._validate, self._checkpoint, self._on_epoch = config, validate, checkpoint, on_epoch
        self._resumed_rng: dict[str, Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"records": self.records, "rng": rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.records, self._resumed_rng = state_dict["records"], state_dict["rng"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._resumed_rng is not None:
            set_rng_state(self._resumed_rng)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, _Module)
        epoch = trainer.current_epoch + 1
        record = {"epoch": epoch, **{name: float(total) / pl_module.windows for name, total in pl_module.sums.items()}}
        if not math.isfinite(record["loss"]):
            raise DivergedError(
                f"the loss became {record['loss']} in epoch {epoch}",
                f"learning rate {self._config.lr}, gradients clipped at {self._config.clip_norm}",
                "lower the learning rate, or look for extreme values in the data",
            )
        if self._validate is not None:
            pl_module.eval()
            record |= self._validate()
            pl_module.train()
        self.records.append(record)
        pl_module.sums, pl_module.windows = {}, 0
        if self._on_epoch is not None:  # before the checkpoint: a resume never skips what it does for this epoch
            self._on_epoch(record)
        if self._checkpoint is not None and epoch % self._config.checkpoint_every_epochs == 0:
            trainer.save_checkpoint(self._checkpoint)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        pl_module.eval()


def _fit_interruptibly(
    trainer: lightning.Trainer, module: lightning.LightningModule, batches: DeviceBatches, resume: str | None
) -> None:
    """Run the trainer; Lightning turns Ctrl-C into SystemExit and switches SIGINT off, which is undone here."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if on_main_thread else None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*isinstance.treespec, LeafSpec.*"
            )  # Lightning 2.6.6 on torch 2.13
            trainer.fit(module, train_dataloaders=batches, ckpt_path=resume)
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def _quieten_lightning() -> None:
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
