"""The one training loop. Objectives and tasks plug in; nothing here knows which it trains."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import nn

from moola.data.device_batches import DeviceBatches
from moola.errors import ConfigError
from moola.training.alarms import Alarm, DivergedError, StallWatch
from moola.training.allocator import keep_freed_memory
from moola.training.batch_size import does_not_fit
from moola.training.checkpoint_io import BrokenCheckpointError, SafetensorsCheckpointIO
from moola.training.course import Course
from moola.training.determinism import deterministic
from moola.training.exchange import exchange_of
from moola.training.memory import is_out_of_memory, spoken
from moola.training.module import Module
from moola.training.optimisation import Freezing, ParameterGroup
from moola.training.precision import matrix_products, realise
from moola.training.ranks import Ranks, of_batches
from moola.training.schedule import FitConfig

__all__ = ["DivergedError", "ParameterGroup", "fit"]


def fit(
    objective: nn.Module,
    batches: DeviceBatches,
    config: FitConfig,
    *,
    groups: Sequence[ParameterGroup] | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    on_steps: Callable[[dict[str, Any]], None] | None = None,
    on_alarm: Callable[[Alarm], None] | None = None,
    on_resume: Callable[[dict[str, int]], None] | None = None,
) -> list[dict[str, float]]:
    """Train `objective` in place; it ends in evaluation mode, with the weights that are kept.

    Batches that are shared out over ranks train it in all of them: every one has to call this with the same arguments,
    its own slice of the batches apart. Then only the first rank writes checkpoints and calls the ``on_`` functions.

    Args:
        objective: called with a `Batch`, returns scalars with ``loss``, a mean over windows, among them.
        batches: on the device to train on.
        config: the schedule; the size of a batch is that of `batches` (see `moola.training.batch_size`).
        groups: parameter groups; default is one with everything.
        validate: figures to add to an epoch's record, computed in evaluation mode with the weights that would be kept.
        checkpoint: file to save resume state in; when it exists, training goes on from there to the same result. A
            broken one is set aside, an alarm says so, and training begins again.
        on_epoch: called with each epoch's record, also on resume for the epochs that follow.
        on_steps: called with each line of the step log (`moola.training.step_log`).
        on_alarm: called with each alarm; one of a standstill comes from another thread.
        on_resume: called where training goes on from the checkpoint, with the ``epoch`` and ``step`` that were done.

    Returns:
        One record an epoch: ``epoch`` (from 1), mean of each loss part, and what `validate` gave.

    Raises:
        DivergedError: a loss or a gradient is not finite.
        DataError: it is not, because an input is not.
        ConfigError: early stopping without a ``val_loss``, an operation that cannot be deterministic, or batches of
            processes that were not started.
        OutOfMemoryError: a batch does not fit; names the size that does.
        StorageError: the checkpoint cannot be read or written, or is that of another module or schedule or of other
            batches.
        KeyboardInterrupt: Ctrl-C; the last checkpoint stays.
    """
    ranks, device = of_batches(batches.rank, batches.world_size), batches.values.device
    groups = groups or [ParameterGroup(list(objective.parameters()))]
    if device.type == "cpu":
        keep_freed_memory()
    precision, tell = realise(config.precision, device), _only_on_first(ranks, on_alarm)
    if precision.fallback:
        tell(Alarm("precision", f"trained in {precision.name}: {precision.fallback}"))
    with (
        StallWatch(config.stall_s, tell) as stall,
        Freezing(groups) as freezing,
        deterministic(config.deterministic),
        matrix_products(precision, device),
        _interruptible(),
    ):
        course = Course(objective, batches, config, ranks, freezing, stall)
        calls = (on_epoch, on_steps, on_alarm, on_resume)
        course.attend(validate, checkpoint, *(_only_on_first(ranks, call) for call in calls))
        module = Module(objective, config, groups, precision, course.steps, batches)
        resume = _to_resume_from(checkpoint, ranks, tell)
        shortage = _train(module, _trainer(objective, batches, config, ranks, course), course, resume)
    if shortage:
        raise does_not_fit(objective, batches, config, shortage)
    course.finish()
    return course.records


def _to_resume_from(checkpoint: Path | None, ranks: Ranks, tell: Callable[[Alarm], None]) -> Path | None:
    """The checkpoint, where there is one that can be read; the first rank looks, and sets a broken one aside."""
    if checkpoint is None:
        return None
    found = ranks.first and checkpoint.exists()
    if found:
        try:
            SafetensorsCheckpointIO().load_checkpoint(checkpoint)
        except BrokenCheckpointError as error:
            found = False
            aside = checkpoint.with_name(f"{checkpoint.name}.broken")
            checkpoint.replace(aside)
            told = f"{error.what} ({error.why}): training begins again from the first epoch; the broken file is kept as"
            tell(Alarm("checkpoint", f"{told} {aside.name}, beside it, until training is done"))
    return checkpoint if ranks.of_first(torch.tensor(found)) else None


def _train(module: Module, trainer: lightning.Trainer, course: Course, resume: Path | None) -> str:
    """Carry the fit out; what torch said if memory ran out, else nothing.

    The error itself is dropped: its frames hold on to what filled the memory.
    """
    try:
        trainer.fit(module, course.loader, ckpt_path=resume)
    except (RuntimeError, MemoryError) as error:
        told = spoken(error)
        if is_out_of_memory(error):
            return told
        if "deterministic" in told:
            raise ConfigError([f"deterministic: true, but {told}"], "use deterministic=false") from error
        raise
    return ""


def _trainer(
    objective: nn.Module, batches: DeviceBatches, config: FitConfig, ranks: Ranks, course: Course
) -> lightning.Trainer:
    """Lightning without anything that writes, shows or measures by itself."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    device = batches.values.device
    on_gpu, alone = device.type == "cuda", ranks.world_size == 1
    return lightning.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=ranks.local_world_size if not (on_gpu and alone) else [device.index or 0],
        num_nodes=ranks.nodes,
        strategy="auto" if alone else exchange_of(objective, batches, ranks),
        max_epochs=config.epochs,
        accumulate_grad_batches=config.accumulate,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[course],
        plugins=[SafetensorsCheckpointIO()],
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into SystemExit and switches SIGINT off, which is undone here."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if on_main_thread else None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*isinstance.treespec, LeafSpec.*"
            )  # Lightning 2.6.6 on torch 2.13
            yield
    except SystemExit as stopped:
        if not isinstance(stopped.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from stopped
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def _only_on_first(ranks: Ranks, call: Callable[[Any], None] | None) -> Callable[[Any], None]:
    return call if call is not None and ranks.first else lambda _: None
