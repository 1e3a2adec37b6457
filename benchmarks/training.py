"""Training: the whole loop beside its ceiling and beside plain Lightning, in windows a second."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from measurement import Row, benchmark_main, compare
from moola.data.device_batches import DeviceBatches
from moola.features.log_returns import LogReturns
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderObjective
from moola.testing import make_batch
from moola.testing.transform_checks import random_bars
from moola.training.loop import fit
from moola.training.schedule import FitConfig

LENGTH, OHLC = 105, ("open", "high", "low", "close")
ENCODERS = {
    "BiLSTM 128x2": BiLstm(hidden=128, layers=2, dropout=0.2),
    "BiLSTM 64x2": BiLstm(hidden=64, layers=2, dropout=0.2),
    "BiLSTM 64x1": BiLstm(hidden=64, layers=1),
}
WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Scale:
    """How much is trained: batches that suit the device, steps that outlast its noise."""

    device: str
    batch: int
    steps: int
    repeats: int

    @classmethod
    def of(cls, quick: bool) -> Scale:
        """A GPU where there is one."""
        if torch.cuda.is_available():
            return cls("cuda", 4096, 100 if quick else 500, 3 if quick else 7)
        return cls("cpu", 64, 6 if quick else 24, 3 if quick else 7)


@dataclass
class Clock:
    """Notes when each step begins; what comes before the first steps, such as building a trainer, is left out."""

    device: str
    begun_s: list[float] = field(default_factory=list)

    def watch(self, module: nn.Module) -> None:
        """Look at the time whenever the module is called."""
        module.register_forward_pre_hook(self._note)

    def windows_per_s(self, batch: int) -> float:
        """From the step after the warm-up to the end of the last."""
        self._note()
        steps = self.begun_s[WARM_UP_STEPS:]
        return batch * (len(steps) - 1) / (steps[-1] - steps[0])

    def _note(self, *_: Any) -> None:
        if self.device == "cuda" and len(self.begun_s) == WARM_UP_STEPS:
            torch.cuda.synchronize()
        self.begun_s.append(time.perf_counter())


def measure(quick: bool) -> Iterator[Row]:
    """Ceiling, plain Lightning at equal batch and precision, plain Lightning as its defaults come."""
    scale = Scale.of(quick)
    warnings.filterwarnings("ignore")  # plain Lightning advises on workers, loggers and checkpoints in every fit
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    n_bars = scale.batch * (scale.steps + WARM_UP_STEPS + 1) + LENGTH
    bars = random_bars(OHLC, 1, n_bars)[0].to(scale.device)
    for name, config in ENCODERS.items():
        yield from _of_encoder(name, config, bars, scale)


def _of_encoder(name: str, config: BiLstm, bars: Tensor, scale: Scale) -> Iterator[Row]:
    what = f"pretrain {name}, {LENGTH}x{len(OHLC)}, {scale.device}, fp32"
    references: Sequence[tuple[str, Callable[[], float], float | None]] = (
        ("ceiling: bare torch on one resident batch", lambda: ceiling(config, bars, scale), _ceiling_target(scale)),
        ("plain Lightning, DataLoader with 0 workers", lambda: plain(config, bars, scale, scale.batch, 0), None),
        ("plain Lightning, DataLoader with 2 workers", lambda: plain(config, bars, scale, scale.batch, 2), None),
        ("plain Lightning as its defaults come, batch 32", lambda: plain(config, bars, scale, 32, 0, bare=False), None),
    )
    for reference_name, reference, target in references:
        yield compare(
            f"{what}, batch {scale.batch}",
            "windows/s",
            lambda: ours(config, bars, scale),
            reference,
            reference_name,
            higher_is_better=True,
            target=target,
            repeats=scale.repeats,
        )


def _ceiling_target(scale: Scale) -> float:
    return 0.95 if scale.device == "cpu" else 0.90


def objective_of(config: BiLstm, device: str) -> MaskedAutoencoderObjective:
    """The masked autoencoder of the published parameters on four log returns."""
    torch.manual_seed(0)
    shape = InputShape(len(OHLC), LENGTH)
    inputs = WindowInputs(shape, OHLC, _log_returns)
    return MaskedAutoencoder(patch_bars=7, ratio=0.15).build(config.build(shape), inputs).to(device)


def ours(config: BiLstm, bars: Tensor, scale: Scale) -> float:
    """One epoch through the whole loop: shuffled, gathered, transformed, masked, clipped, scheduled, logged."""
    objective, clock = objective_of(config, scale.device), Clock(scale.device)
    clock.watch(objective)
    starts = np.arange(scale.batch * (scale.steps + WARM_UP_STEPS))
    batches = DeviceBatches(bars, starts, LENGTH, _log_returns, scale.batch, seed=0)
    fit(objective, batches, FitConfig(epochs=1, batch_size=scale.batch, precision="fp32"))
    return clock.windows_per_s(scale.batch)


def ceiling(config: BiLstm, bars: Tensor, scale: Scale) -> float:
    """What the model and the optimiser cost alone."""
    objective, clock = objective_of(config, scale.device).train(), Clock(scale.device)
    clock.watch(objective)
    windows = bars.unfold(0, LENGTH, 1)[: scale.batch].transpose(1, 2).contiguous()
    batch = make_batch(_log_returns(windows), windows)
    optimiser = torch.optim.AdamW(objective.parameters())
    for _ in range(scale.steps + WARM_UP_STEPS):
        optimiser.zero_grad()
        objective(batch)["loss"].backward()
        nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimiser.step()
    _finish(scale.device)
    return clock.windows_per_s(scale.batch)


class WindowDataset(Dataset):
    """One window at a time out of log returns made beforehand, the way a user would write it."""

    def __init__(self, returns: Tensor, n_windows: int) -> None:
        self.returns, self.n_windows = returns, n_windows

    def __len__(self) -> int:
        return self.n_windows

    def __getitem__(self, number: int) -> Tensor:
        return self.returns[number : number + LENGTH]


class PlainModule(lightning.LightningModule):
    """The same objective and optimiser in a module as a user would write it."""

    def __init__(self, objective: MaskedAutoencoderObjective) -> None:
        super().__init__()
        self.objective = objective

    def training_step(self, inputs: Tensor, batch_idx: int) -> Tensor:
        """One step."""
        loss = self.objective(make_batch(inputs, number=batch_idx))["loss"]
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the loop it stands beside."""
        return torch.optim.AdamW(self.parameters())


def plain(config: BiLstm, bars: Tensor, scale: Scale, batch: int, workers: int, *, bare: bool = True) -> float:
    """One epoch of plain Lightning over a Dataset and a DataLoader; `bare`: without logger, bar and checkpoints."""
    objective, clock = objective_of(config, scale.device), Clock(scale.device)
    clock.watch(objective)
    n_windows = batch * (scale.steps + WARM_UP_STEPS)
    returns = torch.zeros(len(bars), len(OHLC))
    returns[1:] = bars.log().diff(dim=0).cpu()
    loader = DataLoader(WindowDataset(returns, n_windows), batch_size=batch, shuffle=True, num_workers=workers)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="gpu" if scale.device == "cuda" else "cpu",
            devices=1,
            gradient_clip_val=1.0,
            enable_model_summary=False,
            default_root_dir=folder,
            logger=None if not bare else False,
            enable_checkpointing=not bare,
            enable_progress_bar=not bare,
        )
        trainer.fit(PlainModule(objective), loader)
    _finish(scale.device)
    return clock.windows_per_s(batch)


def _log_returns(bars: Tensor) -> Tensor:
    return LogReturns().apply(bars, OHLC)


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    raise SystemExit(benchmark_main(str(__doc__), lambda quick: list(measure(quick))))
