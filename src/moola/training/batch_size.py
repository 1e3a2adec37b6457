"""``batch_size=auto``, and the size that fits when memory runs out: found by real steps on a throw-away copy."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import ConfigError, StorageError
from moola.layout import read_json, write_json
from moola.training.memory import OutOfMemoryError, free_bytes, is_out_of_memory, peak_bytes
from moola.training.optimisation import ParameterGroup, optimiser_of
from moola.training.precision import matrix_products, realise
from moola.training.ranks import current
from moola.training.schedule import FitConfig

SMALLEST = 64
LEAST_STEPS = 8
"""Steps an epoch, at least: fewer updates cost more than a faster epoch gains."""
_MEMORY_SHARE = 0.6
_WORTH = 1.1
"""Windows a second of a size over those of half of it, below which doubling is not worth it."""
_TRIAL_S = 0.3
_MAX_TRIAL_STEPS = 20


@dataclass(frozen=True)
class Trial:
    """A few steps with one batch size.

    Attributes:
        size: windows a batch.
        windows_per_s: of steps after the first.
        bytes: that the steps needed beyond what was in use; 0 where a CPU's peak did not rise.
    """

    size: int
    windows_per_s: float
    bytes: int


@dataclass(frozen=True)
class BatchSize:
    """A batch size and where it comes from.

    Attributes:
        size: windows a batch, over all ranks.
        why: what decided.
        trials: what was measured.
    """

    size: int
    why: str = "given"
    trials: tuple[Trial, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def choose_batch_size(
    objective: nn.Module,
    batches_of: Callable[[int], DeviceBatches],
    config: FitConfig,
    remembered: Path | None = None,
    least: int = 1,
) -> BatchSize:
    """The batch size of a schedule; for ``auto`` the largest that is still worth it.

    It doubles from 64 until memory runs out or 60 % of what is free would be used, windows a second no longer rise by
    10 %, or an epoch would have fewer than 8 steps of the optimiser; where it already has fewer with 64, it halves.
    Neither the objective nor torch's random numbers change.

    Args:
        objective: on its device.
        batches_of: the batches to train on, of a given size.
        config: the schedule.
        remembered: file beside the resume state that keeps the choice: one that is timed could differ after a crash.
        least: windows that ``auto`` puts into a batch in any case, memory permitting.

    Raises:
        ConfigError: ``auto`` where several processes share the batches: each would measure something else.
        OutOfMemoryError: not even the smallest size fits.
    """
    if config.batch_size != "auto":
        return BatchSize(config.batch_size)
    if remembered is not None and remembered.exists():
        return _remembered(remembered)
    if current().world_size > 1:
        raise ConfigError(["trainer.pretrain.batch_size: auto is measured in one process; give a number to several"])
    n_windows = len(batches_of(1).starts)
    most = max(n_windows // (LEAST_STEPS * config.accumulate), 1)
    chosen = _double(objective, batches_of, config, max(1 << (most.bit_length() - 1), least), least)
    if remembered is not None:
        write_json(remembered, chosen.to_json())
    return chosen


def _double(
    objective: nn.Module, batches_of: Callable[[int], DeviceBatches], config: FitConfig, most: int, least: int
) -> BatchSize:
    size, trials = min(SMALLEST, most), list[Trial]()
    while True:
        trial = _try(objective, batches_of(size), config)
        if trial is None:
            if trials:
                return BatchSize(trials[-1].size, f"{size} does not fit into memory", tuple(trials))
            return BatchSize(size_that_fits(objective, batches_of(size), config, least), "memory", ())
        if trials and trial.windows_per_s < _WORTH * trials[-1].windows_per_s:
            why = f"{size} is not {_WORTH - 1:.0%} faster"
            return BatchSize(trials[-1].size, why, (*trials, trial))
        trials.append(trial)
        if 2 * size > most:
            return BatchSize(size, f"{2 * size} leaves fewer than {LEAST_STEPS} steps an epoch", tuple(trials))
        if 2 * trial.bytes > _MEMORY_SHARE * free_bytes(batches_of(size).values.device):
            return BatchSize(size, f"{2 * size} would use more than {_MEMORY_SHARE:.0%} of memory", tuple(trials))
        size *= 2


def size_that_fits(objective: nn.Module, batches: DeviceBatches, config: FitConfig, least: int = 1) -> int:
    """The first of half, a quarter, ... of the size of `batches` with which a step fits into memory.

    Raises:
        OutOfMemoryError: not even the `least` windows that the objective needs do.
    """
    size = min(batches.batch_size, len(batches.starts)) // 2
    while size >= least:
        smaller = copy.copy(batches)
        smaller.batch_size = size
        if _try(objective, smaller, config, steps=1) is not None:
            return size
        size //= 2
    raise OutOfMemoryError(
        f"not even a batch of {'one window' if least == 1 else f'{least} windows'} fits into memory",
        f"free: {free_bytes(batches.values.device) / 2**20:.0f} MiB",
        "use a smaller encoder, or end what else uses the memory",
    )


def does_not_fit(objective: nn.Module, batches: DeviceBatches, config: FitConfig, told: str) -> OutOfMemoryError:
    """What to tell when a fit ran out of memory: the size that fits, and how updates stay of about as many windows."""
    objective.zero_grad(set_to_none=True)
    windows = min(batches.batch_size, len(batches.starts)) * config.accumulate
    fits = size_that_fits(objective, batches, config)
    return OutOfMemoryError(
        f"a batch of {batches.batch_size} windows does not fit into memory",
        told,
        f"{fits} fits: batch_size={fits} accumulate={math.ceil(windows / fits)} in the same section of trainer "
        "(trainer.pretrain.batch_size=...) makes updates of about as many windows; the last checkpoint is of the old "
        "size, so training begins again",
    )


def _try(objective: nn.Module, batches: DeviceBatches, config: FitConfig, steps: int | None = None) -> Trial | None:
    """Real steps on a copy; None where they do not fit into memory."""
    device = batches.values.device
    rng = torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    before = _begin_measuring(device)
    try:
        speed = _windows_per_s(copy.deepcopy(objective).train(), next(iter(copy.copy(batches))), config, steps)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        torch.set_rng_state(rng[0])
        if rng[1] is not None:
            torch.cuda.set_rng_state(rng[1], device)
    return Trial(batches.batch_size, round(speed, 1), max(peak_bytes(device) - before, 0))


def _begin_measuring(device: torch.device) -> int:
    """Bytes in use; the peak is counted from here where the device can."""
    if device.type != "cuda":
        return peak_bytes(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _windows_per_s(objective: nn.Module, batch: Batch, config: FitConfig, steps: int | None) -> float:
    """Windows a second of a few steps with one batch; the first one, which warms up, is not timed."""
    device = batch.inputs.device
    precision = realise(config.precision, device)
    optimiser = optimiser_of(config, [ParameterGroup([p for p in objective.parameters() if p.requires_grad])])
    done, began = 0, 0.0
    with matrix_products(precision, device):
        for number in range(1 + (steps or _MAX_TRIAL_STEPS)):
            with precision.autocast(device):
                loss = objective(batch)["loss"]
            loss.backward()
            nn.utils.clip_grad_norm_(objective.parameters(), config.clip_norm)
            optimiser.step()
            optimiser.zero_grad()
            _finish(device)
            if not number:
                began = time.perf_counter()
            done = number
            if number and time.perf_counter() - began > _TRIAL_S:
                break
    return done * len(batch.index) / (time.perf_counter() - began)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _remembered(path: Path) -> BatchSize:
    saved = read_json(path)
    try:
        return BatchSize(saved["size"], saved["why"], tuple(Trial(**trial) for trial in saved["trials"]))
    except (KeyError, TypeError) as error:
        raise StorageError(f"{path} holds no batch size", repr(error), "delete it and run again") from error
