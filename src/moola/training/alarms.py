"""Alarms of a fit: what a person should hear of while it goes on, and what ends it."""

from __future__ import annotations

import copy
import math
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import EXIT_FAILED, DataError, MoolaError

MOST = 0.95
LEAST = 0.01
_PACKAGE = str(Path(__file__).resolve().parents[1])
_LISTED = 5


class DivergedError(MoolaError):
    """The loss or the gradient became NaN or infinite."""

    exit_code = EXIT_FAILED


@dataclass(frozen=True)
class Alarm:
    """Something is not as it should be, and training goes on.

    Attributes:
        kind: ``checkpoint``: broken, so the fit begins again; ``precision``: other than asked for; ``stalled``: no
            batch for long; ``loss_share``: one part of the loss takes all of it or none; ``no_progress``: the last
            epoch's loss is not below the first's; ``untrained``: layers stayed as they were; ``validation``: the
            validation loss is NaN.
        message: one line.
        part: of the loss, where the alarm is about one.
    """

    kind: Literal["checkpoint", "precision", "stalled", "loss_share", "no_progress", "untrained", "validation"]
    message: str
    part: str = ""


class LossShares:
    """Tells once of each part that takes nearly all of a loss of several parts, or nearly nothing, for an epoch."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def look(self, epoch: int, parts: Mapping[str, float]) -> list[Alarm]:
        """The alarms of an epoch, given the mean of each weighted part."""
        whole = sum(abs(value) for value in parts.values())
        if len(parts) < 2 or not whole:
            return []
        shares = {name: abs(value) / whole for name, value in parts.items()}
        odd = [name for name, share in shares.items() if not LEAST <= share <= MOST and name not in self._told]
        self._told.update(odd)
        return [
            Alarm("loss_share", f"{name} is {shares[name]:.1%} of the loss in epoch {epoch}: look at its weight", name)
            for name in odd
        ]


def look_at_progress(records: Sequence[Mapping[str, float]]) -> list[Alarm]:
    """An alarm if the training loss of a whole fit is not below that of its first epoch."""
    if len(records) < 2 or records[-1]["loss"] < records[0]["loss"]:
        return []
    first, last = records[0]["loss"], records[-1]["loss"]
    return [Alarm("no_progress", f"the loss was {first:.4g} in the first epoch and is {last:.4g} in the last")]


def look_at_validation(records: Sequence[Mapping[str, float]]) -> list[Alarm]:
    """An alarm if the last epoch's ``val_loss`` is the first in a row that is NaN: no other is lower or higher."""
    last = [math.isnan(record.get("val_loss", 0.0)) for record in records[-2:]]
    if not last[-1] or (len(last) > 1 and last[0]):
        return []
    epoch = int(records[-1]["epoch"])
    return [Alarm("validation", f"the validation loss is nan in epoch {epoch}: look for odd values in these windows")]


def look_at_layers(untrained: Sequence[str]) -> list[Alarm]:
    """An alarm if pretraining left layers as they were (`moola.training.movement.untrained_layers`)."""
    if not untrained:
        return []
    return [
        Alarm(
            "untrained",
            f"pretraining did not train {', '.join(untrained)}: their part of the embedding is random; choose an "
            "objective that trains it (path_statistics trains a projection, with relations_weight a mixing layer, "
            "too), or encoder.pooling=mean_max_last encoder.mixing=0",
        )
    ]


def batch_of_all_ranks(batches: DeviceBatches, epoch: int, number: int) -> Batch:
    """A batch once more, with the windows of all ranks; `batches` stay where they are.

    The loss of a rank is not finite because of its own windows, and every rank has to find the same cause.
    """
    every = copy.copy(batches)
    every.rank, every.world_size = 0, 1
    every.load_state_dict({**every.state_dict(), "epoch": epoch, "next_batch": number})
    return next(iter(every))


def check_inputs(batch: Batch, place: str) -> None:
    """Look for the cause of a loss that is not finite in what went in.

    Raises:
        DataError: some inputs are not finite; names their channels and windows, and whether the bars are to blame.
    """
    channels, windows = _not_finite(batch.inputs)
    if not windows:
        return
    in_bars, _ = _not_finite(batch.bars)
    index = batch.index.cpu()[windows].tolist()
    listed = ", ".join(map(str, index[:_LISTED])) + (" and others" if len(index) > _LISTED else "")
    blame = f"bars have it in channel {in_bars} already" if in_bars else "the bars are finite: the transform makes it"
    raise DataError(
        f"inputs are NaN or infinite {place}",
        f"channel {channels} of {len(index)} of {len(batch.index)} windows (numbers {listed}); {blame}",
        "mend or leave out these bars ('moola data validate' lists them), or choose another transform",
    )


def _not_finite(values: Tensor) -> tuple[list[int], list[int]]:
    """Channels and windows [B, T, C] in which something is not finite."""
    odd = ~values.isfinite()
    return odd.any(dim=0).any(dim=0).nonzero().flatten().tolist(), odd.flatten(1).any(
        dim=1
    ).nonzero().flatten().tolist()


class StallWatch:
    """Looks from a thread of its own whether the fit still moves, and says where it stands if not.

    Args:
        stall_s: seconds without `moved` after which it tells, once a standstill; 0: never.
        tell: called with the alarm, from that thread.
    """

    def __init__(self, stall_s: float, tell: Callable[[Alarm], None]) -> None:
        self._stall_s, self._tell = stall_s, tell
        self._watched = threading.get_ident()
        self._moved_at = time.monotonic()
        self._told_at = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall watch", daemon=True)

    def moved(self) -> None:
        """There was a batch, or what comes after an epoch is done."""
        self._moved_at = time.monotonic()

    def __enter__(self) -> StallWatch:
        if self._stall_s:
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        if self._stall_s:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._stall_s / 4):
            moved_at = self._moved_at
            if time.monotonic() - moved_at >= self._stall_s and moved_at != self._told_at:
                self._told_at = moved_at
                self._tell(Alarm("stalled", f"no batch for {self._stall_s:g} s; it stands in {self._place()}"))

    def _place(self) -> str:
        """The innermost line that runs, and the line of moola that led there."""
        frame = sys._current_frames().get(self._watched)
        stack = traceback.extract_stack(frame) if frame else []
        if not stack:
            return "a thread that has ended"
        own = [entry for entry in stack if entry.filename.startswith(_PACKAGE)]
        places = dict.fromkeys([_spoken(entry) for entry in (stack[-1], *own[-1:])])
        return ", called from ".join(places)


def _spoken(entry: traceback.FrameSummary) -> str:
    return f"{Path(entry.filename).name}:{entry.lineno} ({entry.name})"
