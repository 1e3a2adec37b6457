"""Training: the whole loop beside its ceiling and beside plain Lightning, the share of the data path, and the start.

What only a GPU can show has rows without figures where there is none.
"""

from __future__ import annotations

import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

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
from moola.pipelines.events import read_events
from moola.pretraining import WindowInputs
from moola.pretraining.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderObjective
from moola.testing import make_batch
from moola.testing.transform_checks import random_bars
from moola.training.allocator import keep_freed_memory
from moola.training.loop import fit
from moola.training.schedule import FitConfig

LENGTH, OHLC = 105, ("open", "high", "low", "close")
ENCODERS = {
    "BiLSTM 128x2": BiLstm(hidden=128, layers=2, dropout=0.2),
    "BiLSTM 64x2": BiLstm(hidden=64, layers=2, dropout=0.2),
    "BiLSTM 64x1": BiLstm(hidden=64, layers=1),
}
WARM_UP_STEPS = 2
Precision = Literal["fp32", "tf32", "bf16"]


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
    """Each encoder beside its references; then precisions and batches of a GPU, and the start of the command."""
    scale = Scale.of(quick)
    n_bars = scale.batch * (scale.steps + WARM_UP_STEPS + 1) + LENGTH
    bars = random_bars(OHLC, 1, n_bars)[0].to(scale.device)
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:  # plain Lightning knows nothing of our allocator
        for name, config in ENCODERS.items():
            yield from _of_encoder(name, config, bars, scale, elsewhere)
    yield from on_gpu(quick)
    yield from starting(quick)


def _of_encoder(name: str, config: BiLstm, bars: Tensor, scale: Scale, elsewhere: Executor) -> Iterator[Row]:
    what = f"pretrain {name}, {LENGTH}x{len(OHLC)}, {scale.device}, fp32"

    def plainly(batch: int, workers: int, bare: bool) -> Callable[[], float]:
        return lambda: elsewhere.submit(plain, config, bars.cpu(), scale, batch, workers, bare).result()

    references: Sequence[tuple[str, Callable[[], float], float | None]] = (
        ("ceiling: bare torch on one resident batch", lambda: ceiling(config, bars, scale), _ceiling_target(scale)),
        ("plain Lightning, DataLoader with 0 workers", plainly(scale.batch, 0, True), None),
        ("plain Lightning, DataLoader with 2 workers", plainly(scale.batch, 2, True), None),
        ("plain Lightning as its defaults come, batch 32", plainly(32, 0, False), None),
    )
    yield data_share(what, config, bars, scale)
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


def on_gpu(quick: bool) -> Iterator[Row]:
    """BiLSTM 128x2 in each precision and batch: fused kernels want large batches, and bytes halve in bf16."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "GPU"
    name, config = next(iter(ENCODERS.items()))
    for precision in ("fp32", "tf32", "bf16"):
        for batch in (512, 2048, 8192, 16384):
            work = f"pretrain {name}, {LENGTH}x{len(OHLC)}, {device}, {precision}, batch {batch:,}"
            if not torch.cuda.is_available():
                yield Row(work, "windows/s", None, None, None, True, None, 150_000, {})
                continue
            scale = Scale("cuda", batch, 30 if quick else 100, 3)
            bars = random_bars(OHLC, 1, batch * (scale.steps + WARM_UP_STEPS + 1) + LENGTH)[0].to("cuda")
            rates = [ours(config, bars, scale, precision) for _ in range(scale.repeats)]
            spread = {"ours": (min(rates), max(rates))}
            yield Row(work, "windows/s", statistics.median(rates), None, None, True, None, 150_000, spread)


def starting(quick: bool) -> Iterator[Row]:
    """From the command to the first step of pretraining, and what of it is imports and earlier stages."""
    marks: dict[str, list[float]] = {"the run begins": [], "pretraining begins": [], "the first step is done": []}
    for _ in range(2 if quick else 5):
        for name, seconds in zip(marks, start_once(), strict=True):
            marks[name].append(seconds)
    for name, found in marks.items():
        target = 12.0 if name == "the first step is done" else None
        work = f"moola pretrain, default data: from the command until {name}"
        spread = {"ours": (min(found), max(found))}
        yield Row(work, "s", statistics.median(found), None, None, False, None, target, spread)


def start_once() -> tuple[float, float, float]:
    """Seconds from a command in an empty folder to its run, its pretraining and the end of its first step."""
    words = ("pretrain", "seeds=[0]", "trainer.pretrain.epochs=1", "trainer.pretrain.log_every_steps=1")
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        process = subprocess.Popen([sys.executable, "-m", "moola", *words], cwd=folder, stderr=subprocess.DEVNULL)
        try:
            while not (events := _events(Path(folder))) or events[-1]["event"] != "steps":
                if process.poll() is not None:
                    raise RuntimeError(f"moola pretrain ended with {process.returncode} before its first step")
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
    pretraining = next(e for e in events if e["event"] == "stage_started" and e["stage"] == "pretrain")
    first, second, third = (
        datetime.fromisoformat(event["time"]).timestamp() - began
        for event in (events[0], pretraining, next(e for e in events if e["event"] == "steps"))
    )
    return first, second, third


def _events(folder: Path) -> list[dict[str, Any]]:
    """What the log of the only run holds so far, up to its first step."""
    events: list[dict[str, Any]] = []
    for path in folder.glob("artifacts/results/*/events.jsonl"):
        for event in read_events(path):
            events.append(event)
            if event["event"] == "steps":
                return events
    return events


def _ceiling_target(scale: Scale) -> float:
    return 0.95 if scale.device == "cpu" else 0.90


def objective_of(config: BiLstm, device: str) -> MaskedAutoencoderObjective:
    """The masked autoencoder of the published parameters on four log returns."""
    torch.manual_seed(0)
    shape = InputShape(len(OHLC), LENGTH)
    inputs = WindowInputs(shape, OHLC, _log_returns)
    return MaskedAutoencoder(patch_bars=7, ratio=0.15).build(config.build(shape), inputs).to(device)


def ours(config: BiLstm, bars: Tensor, scale: Scale, precision: Precision = "fp32") -> float:
    """One epoch through the whole loop: shuffled, gathered, transformed, masked, clipped, scheduled, logged."""
    objective, clock = objective_of(config, scale.device), Clock(scale.device)
    clock.watch(objective)
    starts = np.arange(scale.batch * (scale.steps + WARM_UP_STEPS))
    batches = DeviceBatches(bars, starts, LENGTH, _log_returns, scale.batch, seed=0)
    fit(objective, batches, FitConfig(epochs=1, batch_size=scale.batch, precision=precision))
    return clock.windows_per_s(scale.batch)


def data_share(what: str, config: BiLstm, bars: Tensor, scale: Scale) -> Row:
    """Which share of a step the loop waits for its batch."""
    shares: list[float] = []
    starts = np.arange(scale.batch * (scale.steps + WARM_UP_STEPS))
    for _ in range(scale.repeats):
        batches = DeviceBatches(bars, starts, LENGTH, _log_returns, scale.batch, seed=0)
        every = FitConfig(epochs=1, batch_size=scale.batch, precision="fp32", log_every_steps=len(batches))
        fit(objective_of(config, scale.device), batches, every, on_steps=lambda line: shares.append(line["data_share"]))
    spread = {"ours": (min(shares), max(shares))}
    work = f"{what}, batch {scale.batch}: data path"
    return Row(work, "share of a step", statistics.median(shares), None, None, False, None, 0.05, spread)


def ceiling(config: BiLstm, bars: Tensor, scale: Scale) -> float:
    """What the model and the optimiser cost alone, memory that is freed being kept as in our loop."""
    keep_freed_memory()
    objective, clock = objective_of(config, scale.device).train(), Clock(scale.device)
    clock.watch(objective)
    windows = bars.unfold(0, LENGTH, 1)[: scale.batch].transpose(1, 2).contiguous()
    batch = make_batch(_log_returns(windows), windows)
    optimiser = torch.optim.AdamW(objective.parameters(), fused=True)
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


def plain(config: BiLstm, bars: Tensor, scale: Scale, batch: int, workers: int, bare: bool) -> float:
    """One epoch of plain Lightning over a Dataset and a DataLoader; `bare`: without logger, bar and checkpoints."""
    warnings.filterwarnings("ignore")  # advice on workers, loggers and checkpoints in every fit
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
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
