"""Killed at any step, a fit goes on to the same losses and the same weights, bit for bit.

Run as a program, it is a fit that kills itself: ``python test_resume.py FOLDER SEED STEP``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.data.draws import Draws
from moola.errors import StorageError
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.training.alarms import Alarm
from moola.training.loop import ParameterGroup, fit
from moola.training.schedule import FitConfig

SHAPE = InputShape(3, 15)
VALUES = torch.randn(120, 3, generator=torch.Generator().manual_seed(0)).cumsum(dim=0) * 0.1
EPOCHS, SIZE, WINDOWS = 4, 8, 90  # 12 batches and 6 steps an epoch

Result = tuple[list[dict[str, float]], dict[str, Tensor]]


class Killable(nn.Module):
    """A masked autoencoder that ends its process, or raises, at a step."""

    def __init__(self, seed: int, at_batch: int | None = None, *, kill: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = BiLstm(hidden=4, layers=2, dropout=0.5).build(SHAPE)
        inputs = WindowInputs(SHAPE, ("a", "b", "c"), lambda bars: bars)
        self.objective = MaskedAutoencoder(decoder_hidden=8).build(self.encoder, inputs)
        self._at_batch, self._kill = at_batch, kill

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if batch.epoch * 12 + batch.number == self._at_batch:
            if self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("stopped")
        return self.objective(batch)


def jitter(bars: Tensor, draws: Draws) -> Tensor:
    return bars + 0.01 * draws.normal(*bars.shape[1:])


def train(
    module: Killable,
    seed: int,
    checkpoint: Path | None = None,
    on_alarm: Callable[[Alarm], None] | None = None,
    **changes: Any,
) -> Result:
    """With dropout, masks, augmentation, accumulation, a frozen group, an average and saves inside epochs."""
    batches = DeviceBatches(VALUES, np.arange(WINDOWS), 15, lambda bars: bars, SIZE, seed, augment=jitter)
    watched = DeviceBatches(VALUES, np.arange(WINDOWS, 105), 15, lambda bars: bars, 15, seed, shuffle=False)
    schedule = {"accumulate": 2, "ema_decay": 0.9, "patience": 3, "log_every_steps": 5, "checkpoint_every_steps": 4}
    config = FitConfig(epochs=EPOCHS, batch_size=SIZE, lr=1e-2, **{**schedule, **changes})
    head = [value for name, value in module.named_parameters() if "encoder" not in name]
    groups = [ParameterGroup(list(module.encoder.parameters()), 0.5, 1, "encoder"), ParameterGroup(head, name="head")]
    records = fit(
        module,
        batches,
        config,
        groups=groups,
        validate=lambda: module.objective.validate(next(iter(watched))),
        checkpoint=checkpoint,
        on_alarm=on_alarm,
    )
    return records, module.objective.state_dict()


def start_again(seed: int, checkpoint: Path) -> Killable:
    """Where there is a checkpoint, everything comes from it: the weights and the random numbers are others."""
    if not checkpoint.exists():
        return Killable(seed)
    module = Killable(seed + 100)
    torch.manual_seed(99)
    return module


def assert_same(found: Result, expected: Result) -> None:
    assert found[0] == expected[0]
    for name, value in expected[1].items():
        assert torch.equal(found[1][name], value), name


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the processes that are killed: sums over two threads are other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole() -> Result:
    return train(Killable(seed=0), seed=0)


@pytest.mark.parametrize("at_batch", [0, 8, 11, 13, 24, 47])
def test_a_fit_that_breaks_in_a_batch_goes_on_to_the_identical_result(
    at_batch: int, tmp_path: Path, whole: Result
) -> None:
    checkpoint = tmp_path / "resume.safetensors"
    with pytest.raises(RuntimeError, match="stopped"):
        train(Killable(0, at_batch), 0, checkpoint)
    assert checkpoint.exists() == (at_batch >= 8)  # after 4 steps of two batches
    assert_same(train(start_again(0, checkpoint), 0, checkpoint), whole)


def test_the_tail_average_survives_too(tmp_path: Path) -> None:
    config = {"ema_decay": 0.0, "swa_share": 0.75, "patience": 0}
    with pytest.raises(RuntimeError, match="stopped"):
        train(Killable(0, 40), 0, tmp_path / "resume", **config)
    assert_same(train(Killable(5), 0, tmp_path / "resume", **config), train(Killable(0), 0, **config))


def test_where_the_figures_are_read_changes_no_bit(tmp_path: Path, whole: Result) -> None:
    changed = train(Killable(0), 0, tmp_path / "resume", log_every_steps=1, checkpoint_every_steps=1)
    assert_same(changed, whole)


def test_a_checkpoint_of_other_batches_or_of_another_module_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "resume.safetensors"
    with pytest.raises(RuntimeError, match="stopped"):
        train(Killable(0, 20), 0, checkpoint)
    with pytest.raises(StorageError, match="seed: saved 0, now 1"):
        train(Killable(0), 1, checkpoint)
    before = checkpoint.read_bytes()
    other = Killable(0)
    other.objective.decoder[0] = nn.Linear(8, 5)
    with pytest.raises(StorageError, match=r"another module\n.*objective.decoder.0.weight: the file has \[8, 8\]"):
        train(other, 0, checkpoint)
    assert checkpoint.read_bytes() == before


def test_a_broken_checkpoint_is_set_aside_and_told_and_the_fit_begins_again(tmp_path: Path, whole: Result) -> None:
    checkpoint = tmp_path / "resume.safetensors"
    with pytest.raises(RuntimeError, match="stopped"):
        train(Killable(0, 20), 0, checkpoint)
    broken = checkpoint.read_bytes()[:-100]
    checkpoint.write_bytes(broken)
    alarms: list[Alarm] = []
    assert_same(train(Killable(0), 0, checkpoint, on_alarm=alarms.append), whole)
    assert (tmp_path / "resume.safetensors.broken").read_bytes() == broken
    (alarm,) = (alarm for alarm in alarms if alarm.kind == "checkpoint")
    assert f"{checkpoint} is broken" in alarm.message
    assert "kept as resume.safetensors.broken" in alarm.message
    train(Killable(0), 0, checkpoint, on_alarm=alarms.append)  # goes on from the new one
    assert len([alarm for alarm in alarms if alarm.kind == "checkpoint"]) == 1


def test_a_checkpoint_of_another_schedule_is_refused_with_every_difference(tmp_path: Path) -> None:
    checkpoint = tmp_path / "resume.safetensors"
    with pytest.raises(RuntimeError, match="stopped"):
        train(Killable(0, 20), 0, checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(StorageError, match="another schedule") as caught:
        train(Killable(0), 0, checkpoint, accumulate=1, ema_decay=0.0, weight_decay=0.5)
    assert caught.value.why.splitlines() == [
        "- accumulate: saved 2, now 1",
        "- weight_decay: saved 0.0001, now 0.5",
        "- ema_decay: saved 0.9, now 0.0",
    ]
    assert checkpoint.read_bytes() == before
    train(Killable(0), 0, checkpoint, log_every_steps=3, checkpoint_every_steps=None, stall_s=0.0)


def kill_and_go_on(seed: int, at_batch: int, folder: Path) -> None:
    program = [sys.executable, __file__, str(folder), str(seed), str(at_batch)]
    killed = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    checkpoint = folder / "resume.safetensors"
    found = train(start_again(seed, checkpoint), seed, checkpoint)
    assert_same(found, train(Killable(seed), seed))


def test_a_fit_killed_at_a_random_step_goes_on_to_the_identical_result(tmp_path: Path) -> None:
    kill_and_go_on(3, 8 + int(np.random.default_rng(3).integers(40)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_a_fit_killed_at_any_of_many_random_steps_goes_on_to_the_identical_result(seed: int, tmp_path: Path) -> None:
    kill_and_go_on(seed, int(np.random.default_rng(seed).integers(48)), tmp_path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(
        Killable(int(sys.argv[2]), int(sys.argv[3]), kill=True),
        int(sys.argv[2]),
        Path(sys.argv[1]) / "resume.safetensors",
    )
