"""A step of a fit: the loss that moves the weights, and how they are moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import StorageError
from moola.training.optimisation import ParameterGroup, optimiser_of, schedule_of
from moola.training.precision import Precision
from moola.training.schedule import FitConfig
from moola.training.step_log import StepLog
from moola.training.weights import compare_weights


class Module(lightning.LightningModule):
    """Couples an objective with its optimiser and schedule."""

    def __init__(
        self,
        objective: nn.Module,
        config: FitConfig,
        groups: Sequence[ParameterGroup],
        precision: Precision,
        log: StepLog,
        batches: DeviceBatches,
    ) -> None:
        super().__init__()
        self.objective = objective
        self._config, self._groups, self._log = config, groups, log
        self._n_batches, self._weights = len(batches), _BatchWeights(batches, config.accumulate)
        self._autocast = precision.autocast(batches.values.device)
        self._trained = [value for group in groups for value in group.parameters]
        self._batch = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, weighed so that a step follows the mean over all its windows."""
        with self._autocast:
            parts: dict[str, Tensor] = self.objective(batch)
        self._log.add_losses(self.trainer.global_step + 1, batch, parts)
        self._batch = batch.number
        weight = self._weights.of(batch)
        return parts["loss"] if weight == 1.0 else parts["loss"] * weight

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Nothing to do: a batch is gathered where the model is."""
        return batch

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip by the norm over all groups, and keep it for the log."""
        norm = nn.utils.clip_grad_norm_(self._trained, self._config.clip_norm)
        self._log.add_norm(self.trainer.global_step + 1, self._batch, norm)

    def configure_optimizers(self) -> Any:
        """AdamW and the schedule."""
        optimiser = optimiser_of(self._config, self._groups)
        steps_per_epoch = -(-self._n_batches // self._config.accumulate)
        schedule = schedule_of(self._config, self._groups, optimiser, steps_per_epoch)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the schedule that the state is worth something to."""
        checkpoint["schedule"] = self._config.course

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Look whether the checkpoint is one of this module and schedule before anything is put back.

        Raises:
            StorageError: names every weight, or every key of the schedule, that differs.
        """
        problems = compare_weights(self, checkpoint["state_dict"]).problems
        if problems:
            raise StorageError(
                "the checkpoint is that of another module",
                "\n".join(problems),
                "put the settings of the encoder and the objective back, or delete the checkpoint to begin again",
            )
        saved = checkpoint.get("schedule", {})
        changed = [
            f"- {name}: saved {saved.get(name)}, now {value}"
            for name, value in self._config.course.items()
            if name not in saved or saved[name] != value
        ]
        if changed:
            raise StorageError(
                "the checkpoint is that of another schedule",
                "\n".join(changed),
                "put the schedule back, or delete the checkpoint to begin again",
            )


class _BatchWeights:
    """What the loss of a batch is multiplied by, so that a step follows the mean loss over all windows in it.

    Lightning divides by the number of accumulated batches and DDP by the number of ranks, whether or not the last ones
    are smaller; this undoes both and divides by windows. Alone and without accumulation it is 1.
    """

    def __init__(self, batches: DeviceBatches, accumulate: int) -> None:
        size, n_batches = batches.batch_size, len(batches)
        self._windows_of_step = [
            min(min(first + accumulate, n_batches) * size, len(batches.starts)) - first * size
            for first in range(0, n_batches, accumulate)
        ]
        self._accumulate, self._shares = accumulate, accumulate * batches.world_size

    def of(self, batch: Batch) -> float:
        return self._shares * len(batch.index) / self._windows_of_step[batch.number // self._accumulate]
