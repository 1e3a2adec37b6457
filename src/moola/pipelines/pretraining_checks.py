"""What pretraining refuses before it begins, because nothing could be learned, and what it notes of its windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moola.config import reject
from moola.data.channel_names import CLOCK_CHANNELS
from moola.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from moola.data.device_batches import DeviceBatches

FEW_WINDOWS = 32
"""Fewer windows than this are worth a word: an encoder has more to remember them with than they hold."""
AS_FEW_AS_LABELS = 210
"""No more than a file of labels holds, which may have been taken for that of the windows without labels."""


def check_batch_size(batch_size: int, least: int, processes: int = 1) -> None:
    """Refuse a batch size that does not go round, or leaves a process less than it can learn from.

    Args:
        batch_size: windows a batch, over all processes.
        least: fewest windows that the objective learns from (`moola.pretraining.least_batch`).
        processes: that share each batch.

    Raises:
        ConfigError: see above.
    """
    key = f"trainer.pretrain.batch_size: {batch_size}"
    each = f" for each of {processes} processes, {least * processes} in all" if processes > 1 else ""
    reject(
        (batch_size % processes != 0, f"{key} must be a multiple of the {processes} processes that share a batch"),
        (
            batch_size % processes == 0 and batch_size < least * processes,
            f"{key} must be at least {least}{each}: the objective tells the windows of a batch from each other",
        ),
    )


def check_count(n_windows: int, least: int, processes: int = 1) -> None:
    """Refuse fewer windows than one batch takes.

    Raises:
        DataError: there are fewer.
    """
    if n_windows >= least * processes:
        return
    shared = f", and {processes} processes share a batch" if processes > 1 else ""
    raise DataError(
        "there are too few windows to pretrain on",
        f"{n_windows} to train on; the objective needs {least} in a batch{shared}",
        "use more bars, shorter windows or a smaller data.window.stride_bars",
    )


def check_movement(batches: DeviceBatches, channels: Sequence[str]) -> None:
    """Refuse windows of which none moves: every objective is easy on them and teaches nothing.

    Looks no further than the first windows that move, which in all usual bars are those of the first batch.

    Args:
        batches: of all windows to train on, not augmented.
        channels: names of the channels of their bars; those of a clock always move.

    Raises:
        DataError: every window is constant, in its bars or in the inputs made of them.
    """
    told = [number for number, name in enumerate(channels) if name not in CLOCK_CHANNELS]
    bars_move = inputs_move = False
    for batch in batches:
        bars_move = bars_move or _moves(batch.bars[..., told])
        inputs_move = inputs_move or _moves(batch.inputs)
        if (bars_move and inputs_move) or batch.bars.shape[1] == 1:
            return
    which = "every input that the transform makes" if bars_move else "every channel of the bars"
    raise DataError(
        "there is nothing to pretrain on: no window moves",
        f"in each of {len(batches.starts)} training windows {which} keeps one value from the first bar to the last",
        "choose a transform= of channels that move" if bars_move else "use bars that move ('moola data describe')",
    )


def notes(n_windows: int, n_validation: int, batch_size: int, least: int) -> list[str]:
    """What a person should hear of the windows to train and to validate on, one line each."""
    found = []
    if n_windows < FEW_WINDOWS:
        found.append(
            f"pretraining has only {n_windows} windows to learn from, too few to expect anything of the encoder; use "
            "more bars, shorter windows or a smaller data.window.stride_bars"
        )
    elif n_windows <= AS_FEW_AS_LABELS:
        found.append(
            f"pretraining has only {n_windows} windows to learn from, as few as there are labels as a rule: is it the "
            "file that was meant?"
        )
    if batch_size > n_windows:
        found.append(
            f"trainer.pretrain.batch_size={batch_size} is more than the {n_windows} windows to train on: every batch "
            "holds all of them, and an epoch is one step"
        )
    if n_validation < least:
        found.append(f"val_loss says nothing: {n_validation} windows to validate on; the objective compares {least}")
    return found


def _moves(windows: Tensor) -> bool:
    """Whether something in windows [B, T, C] is not as in their first bar."""
    return bool((windows != windows[:, :1]).any())
