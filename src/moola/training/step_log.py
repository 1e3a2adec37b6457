"""Figures of the steps: kept on the device, read a few times an epoch, so that no step waits for them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from moola.data.device_batches import Batch
from moola.training.memory import peak_bytes
from moola.training.ranks import Ranks
from moola.training.timed_batches import TimedBatches


@dataclass(frozen=True)
class NotFinite:
    """A figure that is no number.

    Attributes:
        what: ``loss`` or ``gradient norm``.
        value: NaN or infinity.
        step: of the optimiser, from 1 over the whole fit.
        batch: number of the batch in the epoch.
    """

    what: str
    value: float
    step: int
    batch: int


@dataclass(frozen=True)
class _Kept:
    """Figures of one batch that still lie on the device; `windows` over all ranks, `here` on this one."""

    step: int
    batch: int
    windows: int
    here: int
    figures: Mapping[str, Tensor]


@dataclass
class _Sums:
    """Weighted sums of the losses. Double precision, batch after batch: where they are read changes no bit."""

    windows: int = 0
    losses: dict[str, float] = field(default_factory=dict)

    def add(self, windows: int, losses: Mapping[str, float]) -> None:
        self.windows += windows
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        return {name: value / self.windows for name, value in self.losses.items()}


class StepLog:
    """Means of the losses over epochs, and one line for every few steps: each step is in one line.

    A line holds ``step`` (the last one, of the optimiser), ``steps`` (how many it averages), ``epoch`` (from 1),
    ``loss``, ``parts`` and their ``shares`` of the loss, ``lr`` by group, ``gradient_norm`` before clipping,
    ``windows_per_s``, ``step_s``, ``data_wait_s`` and ``data_share`` of a step, and on a GPU ``memory_bytes``, the most
    that was in use. Losses and windows are those of all ranks, times those of this one.
    """

    def __init__(self, batches: TimedBatches, ranks: Ranks) -> None:
        self._batches, self._ranks = batches, ranks
        self._kept: list[_Kept] = []
        self._kept_norms: list[_Kept] = []
        self._epoch = _Sums()
        self._norms: list[float] = []
        self.begin_line(0)

    def add_losses(self, step: int, batch: Batch, parts: Mapping[str, Tensor]) -> None:
        """Keep the losses of a batch; does not wait for the device."""
        figures = {name: value.detach() for name, value in parts.items()}
        self._kept.append(_Kept(step, batch.number, batch.total, len(batch.index), figures))

    def add_norm(self, step: int, batch: int, norm: Tensor) -> None:
        """Keep the norm of a step's gradient before clipping; does not wait for the device."""
        self._kept_norms.append(_Kept(step, batch, 1, 1, {"gradient norm": norm}))

    def read(self) -> NotFinite | None:
        """Wait for the device and add up what was kept; the first figure that is not finite, if there is one.

        Every rank has to call it after the same steps.
        """
        odd: list[NotFinite] = []
        for kept, losses in zip(self._kept, self._losses_of_all(), strict=True):
            self._epoch.add(kept.windows, losses)
            self._line.add(kept.windows, losses)
            odd += _not_finite("loss", losses["loss"], kept)
        if self._kept_norms:
            norms = torch.stack([kept.figures["gradient norm"] for kept in self._kept_norms]).tolist()
            self._norms += norms
            for kept, norm in zip(self._kept_norms, norms, strict=True):
                odd += _not_finite("gradient norm", norm, kept)
        self._kept, self._kept_norms = [], []
        return min(odd, key=lambda found: found.step, default=None)  # of one step, the loss comes first

    def _losses_of_all(self) -> list[dict[str, float]]:
        """Sums over the windows of each kept batch, over all ranks."""
        if not self._kept:
            return []
        names = list(dict.fromkeys(name for kept in self._kept for name in kept.figures))
        none = torch.zeros_like(self._kept[0].figures["loss"])
        flat = [kept.figures.get(name, none) for kept in self._kept for name in names]
        values = torch.stack([value.double() for value in flat] if _mixed(flat) else flat).double()
        here = torch.tensor([kept.here for kept in self._kept], dtype=torch.float64)
        sums = self._ranks.sum(values.cpu().view(len(self._kept), len(names)) * here[:, None])
        return [dict(zip(names, row, strict=True)) for row in sums.tolist()]

    def begin_line(self, step: int) -> None:
        """The next line averages what comes after this step."""
        self._line, self._norms = _Sums(), []
        self._line_after, self._waited_s, self._began_s = step, self._batches.waited_s, time.perf_counter()

    def in_line(self, step: int) -> int:
        """Steps since `begin_line`, the last of them being `step`."""
        return step - self._line_after

    def line(self, step: int, epoch: int, rates: Mapping[str, float]) -> dict[str, Any]:
        """The line since `begin_line`, to be called after `read`."""
        steps = self.in_line(step)
        seconds = time.perf_counter() - self._began_s
        waited_s = self._batches.waited_s - self._waited_s
        means = self._line.means()
        loss = means.pop("loss")
        line: dict[str, Any] = {
            "step": step,
            "steps": steps,
            "epoch": epoch,
            "loss": loss,
            "parts": means,
            "shares": {name: value / loss if loss else 0.0 for name, value in means.items()},
            "lr": dict(rates),
            "gradient_norm": math.fsum(self._norms) / max(len(self._norms), 1),
            "windows_per_s": self._line.windows / seconds,
            "step_s": seconds / steps,
            "data_wait_s": waited_s / steps,
            "data_share": waited_s / seconds,
        }
        device = self._batches.batches.values.device
        return line if device.type != "cuda" else {**line, "memory_bytes": peak_bytes(device)}

    def end_epoch(self) -> dict[str, float]:
        """The mean of each loss over the epoch's windows, to be called after `read`; the next epoch begins."""
        means, self._epoch = self._epoch.means(), _Sums()
        return means

    def state_dict(self) -> dict[str, Any]:
        """What was read of the epoch so far."""
        return {"windows": self._epoch.windows, "losses": self._epoch.losses}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self._epoch = _Sums(state["windows"], dict(state["losses"]))


def _not_finite(what: str, value: float, kept: _Kept) -> list[NotFinite]:
    return [] if math.isfinite(value) else [NotFinite(what, value, kept.step, kept.batch)]


def _mixed(values: list[Tensor]) -> bool:
    return len({value.dtype for value in values}) > 1
