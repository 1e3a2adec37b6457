"""The course of a fit as Lightning walks it: what happens after a step and after an epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from moola.data.device_batches import DeviceBatches
from moola.data.draws import mix_seeds
from moola.training.alarms import (
    Alarm,
    DivergedError,
    LossShares,
    StallWatch,
    batch_of_all_ranks,
    check_inputs,
    look_at_progress,
    look_at_validation,
)
from moola.training.averaging import averaging_of
from moola.training.checkpoint_io import rng_state, set_rng_state
from moola.training.optimisation import Freezing
from moola.training.ranks import Ranks
from moola.training.schedule import FitConfig
from moola.training.step_log import NotFinite, StepLog
from moola.training.stopping import EarlyStopping
from moola.training.timed_batches import TimedBatches


class Course(lightning.Callback):
    """Keeps one record an epoch, watches the figures, averages weights, stops early and saves resume state.

    Attributes:
        records: one an epoch.
        loader: what to give to Lightning.
        steps: their log.
    """

    def __init__(
        self,
        objective: nn.Module,
        batches: DeviceBatches,
        config: FitConfig,
        ranks: Ranks,
        freezing: Freezing,
        stall: StallWatch,
    ) -> None:
        self.records: list[dict[str, float]] = []
        self.loader = TimedBatches(batches)
        self.steps = StepLog(self.loader, ranks)
        self._objective, self._config, self._ranks = objective, config, ranks
        self._freezing, self._stall = freezing, stall
        self._averaging = averaging_of(config, objective)
        self._stopping = EarlyStopping(objective, config.patience)
        self._shares = LossShares()
        self._rng: dict[str, Tensor] | None = None  # to go on from
        self._step = 0
        self._rates: dict[str, float] = {}

    def attend(
        self,
        validate: Callable[[], dict[str, float]] | None,
        checkpoint: Path | None,
        on_epoch: Callable[[dict[str, float]], None],
        on_steps: Callable[[dict[str, Any]], None],
        on_alarm: Callable[[Alarm], None],
        on_resume: Callable[[dict[str, int]], None],
    ) -> None:
        """What to call and where to save; see `moola.training.loop.fit`."""
        self._validate, self._checkpoint = validate, checkpoint
        self._on_epoch, self._on_steps, self._on_alarm, self._on_resume = on_epoch, on_steps, on_alarm, on_resume

    def finish(self) -> None:
        """Give the objective the weights that are kept."""
        if not self._stopping.put_back():
            self._averaging.keep()
        self._objective.eval()
        for alarm in look_at_progress(self.records):
            self._on_alarm(alarm)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the fit depends on and that Lightning does not know."""
        return {
            "records": self.records,
            "log": self.steps.state_dict(),
            "averaging": self._averaging.state_dict(),
            "stopping": self._stopping.state_dict(),
            "rng": [_by_rank(self._ranks, name, state) for name, state in rng_state().items()],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.records = state_dict["records"]
        self.steps.load_state_dict(state_dict["log"])
        self._averaging.load_state_dict(state_dict["averaging"])
        self._stopping.load_state_dict(state_dict["stopping"])
        self._rng = {name: states[self._ranks.rank] for name, states in state_dict["rng"]}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Random numbers of a resume; those of ranks that share a batch differ."""
        if self._rng is not None:
            set_rng_state(self._rng)
            self._on_resume({"epoch": len(self.records), "step": trainer.global_step})
        elif not self._ranks.first:
            torch.manual_seed(mix_seeds(torch.initial_seed(), self._ranks.rank))
        trainer.should_stop = self._stopping.over
        self._freeze(trainer)
        self._step = trainer.global_step
        self.steps.begin_line(self._step)
        self._stall.moved()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Thaw what was frozen long enough."""
        self._freeze(trainer)
        self.steps.begin_line(self._step)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """The rates of the step, which a line may end with: after it, they are those of the next."""
        self._rates = {group["name"]: group["lr"] for group in optimizer.param_groups}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After a step: average, log, and save where it is time."""
        self._stall.moved()
        step = trainer.global_step
        if step == self._step:
            return  # only added to the gradients
        self._step = step
        self._averaging.after_step()
        every = self._config.checkpoint_every_steps
        saves = bool(every) and step % every == 0 and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if saves or self.steps.in_line(step) == self._config.log_every_steps:
            self._write_line(trainer)  # also before a checkpoint: what goes on from there begins a line
        if saves:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record, validate, and save."""
        self._write_line(trainer)  # of fewer steps than others: none holds the validation
        means, epoch = self.steps.end_epoch(), trainer.current_epoch + 1
        self._averaging.after_epoch(epoch)
        record: dict[str, float] = {"epoch": epoch, **means}
        with _evaluating(pl_module), self._averaging.applied():
            record |= self._validated()
            self.records.append(record)
            self._stopping.see(record)
            self._on_epoch(record)  # before the checkpoint: a resume never skips what it does for this epoch
        parts = {name: value for name, value in means.items() if name != "loss"}
        for alarm in (*self._shares.look(epoch, parts), *look_at_validation(self.records)):
            self._on_alarm(alarm)
        trainer.should_stop = self._stopping.over
        if epoch % self._config.checkpoint_every_epochs == 0:
            self._save(trainer)
        self._stall.moved()

    def _validated(self) -> dict[str, float]:
        """What the validation gives; all ranks go on with that of the first."""
        if self._validate is None:
            return {}
        figures = self._validate()
        values = self._ranks.of_first(torch.tensor(list(figures.values()), dtype=torch.float64))
        return dict(zip(figures, values.tolist(), strict=True))

    def _freeze(self, trainer: lightning.Trainer) -> None:
        """Freeze and thaw for the epoch that begins; DDP has to hear of it, since it hooks what gets a gradient."""
        if self._freezing.begin(trainer.current_epoch) and isinstance(trainer.strategy, DDPStrategy):
            trainer.strategy.model = trainer.strategy.lightning_module
            trainer.strategy.configure_ddp()

    def _read(self, trainer: lightning.Trainer) -> None:
        """Look at the figures that lie on the device.

        Raises:
            DataError, DivergedError: one is not finite.
        """
        found = self.steps.read()
        if found is not None:
            raise self._diverged(found, trainer.current_epoch)

    def _diverged(self, found: NotFinite, epoch: int) -> DivergedError:
        batch = batch_of_all_ranks(self.loader.batches, epoch, found.batch)
        check_inputs(batch, f"in epoch {epoch + 1}, step {found.step}")
        return DivergedError(
            f"the {found.what} became {found.value} in step {found.step}, in epoch {epoch + 1}",
            f"learning rate {self._config.lr}, gradients clipped at {self._config.clip_norm}",
            "lower the learning rate, or look for extreme values in the data",
        )

    def _write_line(self, trainer: lightning.Trainer) -> None:
        """The line of the steps since the last one, if there were any."""
        self._read(trainer)
        if self.steps.in_line(self._step):
            self._on_steps(self.steps.line(self._step, trainer.current_epoch + 1, self._rates))
            self.steps.begin_line(self._step)

    def _save(self, trainer: lightning.Trainer) -> None:
        if self._checkpoint is not None:
            trainer.save_checkpoint(self._checkpoint)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    module.eval()
    try:
        yield
    finally:
        module.train()


def _by_rank(ranks: Ranks, name: str, state: Tensor) -> tuple[str, list[Tensor]]:
    return name, ranks.each(state)
