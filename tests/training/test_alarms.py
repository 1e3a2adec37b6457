"""What a fit tells, and what ends it: the cause, the step and the way out; the last good checkpoint stays."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import DataError, StorageError
from moola.training import checkpoint_io
from moola.training.alarms import Alarm, LossShares, batch_of_all_ranks
from moola.training.loop import DivergedError, fit
from moola.training.memory import OutOfMemoryError
from moola.training.schedule import FitConfig

VALUES = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))


class Regression(nn.Module):
    """A linear model whose parts a test can bend."""

    def __init__(self, bend: Callable[[Batch, Tensor], dict[str, Tensor]] | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        nn.init.constant_(self.layer.weight, 0.5)
        self.bend = bend

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        loss = (self.layer(batch.inputs) - 1).square().mean()
        return self.bend(batch, loss) if self.bend else {"loss": loss}


def batches_of(values: Tensor = VALUES, size: int = 8) -> DeviceBatches:
    return DeviceBatches(values, np.arange(40), 4, lambda bars: bars, size, seed=0)


def train(module: nn.Module, batches: DeviceBatches | None = None, **config: Any) -> tuple[list[Alarm], list[Any]]:
    alarms, lines = list[Alarm](), list[dict[str, Any]]()
    schedule = FitConfig(**{"epochs": 2, "batch_size": 8, **config})
    fit(module, batches or batches_of(), schedule, on_alarm=alarms.append, on_steps=lines.append)
    return alarms, lines


def kinds(alarms: list[Alarm]) -> list[str]:
    return [alarm.kind for alarm in alarms]


def test_nan_in_the_bars_is_told_with_its_channel_and_windows() -> None:
    values = VALUES.clone()
    values[20, 1] = math.nan
    with pytest.raises(DataError, match="inputs are NaN or infinite in epoch 1, step ") as caught:
        train(Regression(), batches_of(values))
    assert "channel [1] of " in caught.value.why
    assert "bars have it in channel [1] already" in caught.value.why
    told = caught.value.why.split("(numbers ")[1].split(")")[0].removesuffix(" and others")
    assert {int(number) for number in told.split(", ")} <= {17, 18, 19, 20}  # windows of four bars that hold bar 20


def test_nan_from_the_transform_is_told_as_such() -> None:
    batches = DeviceBatches(VALUES, np.arange(40), 4, lambda bars: bars / (bars[..., :1] * 0), 8, seed=0)
    with pytest.raises(DataError, match=r"8 of 8 windows .* the bars are finite: the transform makes it"):
        train(Regression(), batches)


def test_a_rank_looks_at_the_windows_of_all_ranks_for_what_is_not_finite() -> None:
    batches = [
        DeviceBatches(VALUES, np.arange(40), 4, lambda bars: bars, 8, seed=0, rank=rank, world_size=world_size)
        for rank, world_size in ((0, 1), (0, 2), (1, 2))
    ]
    alone, first, second = (batch_of_all_ranks(some, epoch=1, number=2) for some in batches)
    assert alone.index.tolist() == first.index.tolist() == second.index.tolist() and len(second.index) == 8
    assert torch.equal(second.inputs, alone.inputs)
    assert (batches[2].rank, batches[2].world_size) == (1, 2)


def test_a_validation_loss_that_is_nan_is_told_once() -> None:
    losses = iter([1.0, math.nan, math.nan, 0.5, math.nan])
    alarms = list[Alarm]()
    fit(
        Regression(),
        batches_of(),
        FitConfig(epochs=5, batch_size=8),
        validate=lambda: {"val_loss": next(losses)},
        on_alarm=alarms.append,
    )
    assert [alarm.message.split(":")[0] for alarm in alarms if alarm.kind == "validation"] == [
        "the validation loss is nan in epoch 2",
        "the validation loss is nan in epoch 5",
    ]


def test_a_loss_that_diverges_names_its_own_step_though_it_is_read_later() -> None:
    def bend(batch: Batch, loss: Tensor) -> dict[str, Tensor]:
        return {"loss": loss * (math.inf if (batch.epoch, batch.number) == (0, 2) else 1.0)}

    with pytest.raises(DivergedError, match="the loss became inf in step 3, in epoch 1"):
        train(Regression(bend), log_every_steps=5)


def test_a_gradient_that_diverges_is_told_though_every_loss_is_finite() -> None:
    def bend(batch: Batch, loss: Tensor) -> dict[str, Tensor]:
        return {"loss": loss + (loss - loss.detach()).abs().sqrt() if batch.number == 4 else loss}  # no slope at 0

    with pytest.raises(DivergedError, match="the gradient norm became nan in step 5"):
        train(Regression(bend), epochs=1)


def test_no_checkpoint_is_written_after_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    def bend(batch: Batch, loss: Tensor) -> dict[str, Tensor]:
        return {"loss": loss * (math.nan if batch.number == 2 else 1.0)}

    checkpoint, config = tmp_path / "resume", FitConfig(epochs=1, batch_size=8, checkpoint_every_steps=1)
    with pytest.raises(DivergedError, match="in step 3"):
        fit(Regression(bend), batches_of(), config, checkpoint=checkpoint)
    state = checkpoint_io.SafetensorsCheckpointIO().load_checkpoint(checkpoint)
    assert state["global_step"] == 2


def test_windows_that_never_move_train_without_a_word() -> None:
    alarms, _ = train(Regression(), batches_of(torch.ones(50, 2)))
    assert not alarms


def test_one_window_and_a_batch_larger_than_the_data_train() -> None:
    one = DeviceBatches(VALUES, np.arange(1), 4, lambda bars: bars, 1, seed=0)
    assert not train(Regression(), one)[0]
    assert not train(Regression(), batches_of(size=1000), accumulate=3, ema_decay=0.5)[0]


def test_a_part_that_takes_all_of_the_loss_or_nothing_is_told_once() -> None:
    def bend(batch: Batch, loss: Tensor) -> dict[str, Tensor]:
        return {"loss": loss * 1.001, "large": loss, "small": loss * 0.001}

    alarms, lines = train(Regression(bend), epochs=3, log_every_steps=5)
    assert kinds(alarms) == ["loss_share", "loss_share"]
    assert alarms[0].message == "large is 99.9% of the loss in epoch 1: look at its weight"
    assert lines[0]["shares"] == pytest.approx({"large": 1 / 1.001, "small": 0.001 / 1.001})


def test_balanced_parts_and_a_single_one_are_not_told() -> None:
    shares = LossShares()
    assert not shares.look(1, {"a": 0.1, "b": 0.9, "c": -0.2})
    assert not shares.look(1, {"a": 1.0})
    assert not shares.look(1, {"a": 0.0, "b": 0.0})


def test_a_fit_that_does_not_learn_is_told_at_its_end() -> None:
    def bend(batch: Batch, loss: Tensor) -> dict[str, Tensor]:
        return {"loss": loss * 0 + batch.epoch + 1.0}

    alarms, _ = train(Regression(bend))
    assert [alarm.message for alarm in alarms] == ["the loss was 1 in the first epoch and is 2 in the last"]
    assert kinds(train(Regression(bend), epochs=1)[0]) == []


def test_a_standstill_is_told_once_with_its_place() -> None:
    def oversleep(batch: Batch, loss: Tensor) -> dict[str, Tensor]:
        if (batch.epoch, batch.number) == (1, 1):
            time.sleep(0.8)
        return {"loss": loss}

    alarms, _ = train(Regression(oversleep), stall_s=0.2)
    assert kinds(alarms) == ["stalled"]
    assert "no batch for 0.2 s; it stands in test_alarms.py:" in alarms[0].message
    assert "(oversleep), called from module.py:" in alarms[0].message


def test_a_full_disk_is_told_and_the_last_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, contents = tmp_path / "resume", list[bytes]()

    def write_once(path: Path, content: bytes) -> None:
        if contents:
            raise OSError(errno.ENOSPC, "No space left on device")
        contents.append(content)
        path.write_bytes(content)

    monkeypatch.setattr(checkpoint_io, "write_bytes", write_once)
    with pytest.raises(StorageError, match="cannot be written\nNo space left on device; it needs") as caught:
        fit(Regression(), batches_of(), FitConfig(epochs=2, batch_size=8), checkpoint=checkpoint)
    assert "goes on from there" in caught.value.way_out
    assert checkpoint.read_bytes() == contents[0]


class Hungry(Regression):
    """Has room for so many windows and no more."""

    def __init__(self, room: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.room, self.error = room, error

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if len(batch.index) > self.room:
            raise self.error("not enough memory: you tried to allocate 99 bytes\nmore")
        return super().forward(batch)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_is_told_with_the_one_that_does(error: type[RuntimeError], tmp_path: Path) -> None:
    checkpoint, config = tmp_path / "resume", FitConfig(epochs=1, batch_size=32, accumulate=2)
    with pytest.raises(OutOfMemoryError, match="a batch of 32 windows does not fit into memory") as caught:
        fit(Hungry(10, error), batches_of(size=32), config, checkpoint=checkpoint)
    assert caught.value.why == "not enough memory: you tried to allocate 99 bytes"
    assert "batch_size=8 accumulate=8" in caught.value.way_out
    with pytest.raises(OutOfMemoryError, match="not even a batch of one window"):
        fit(Hungry(0, error), batches_of(size=32), config)


def test_the_batch_that_fits_is_told_of_the_windows_there_are_not_of_those_asked_for() -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        fit(Hungry(10), batches_of(size=10**12), FitConfig(epochs=1, batch_size=10**12))
    assert "batch_size=10 accumulate=4" in caught.value.way_out


def test_another_runtime_error_is_no_lack_of_memory() -> None:
    def bend(batch: Batch, loss: Tensor) -> dict[str, Tensor]:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        train(Regression(bend))


def test_the_log_has_a_line_for_every_few_steps() -> None:
    _, lines = train(Regression(), epochs=2, log_every_steps=3, lr=0.1, clip_norm=1e-3)
    assert [(line["step"], line["epoch"], line["steps"]) for line in lines] == [
        (3, 1, 3),
        (5, 1, 2),
        (8, 2, 3),
        (10, 2, 2),
    ]
    for line in lines:
        assert list(line["lr"]) == ["group0"] and 0 < line["lr"]["group0"] <= 0.1
        assert line["gradient_norm"] > 1e-3  # as it was before clipping
        assert line["windows_per_s"] > 0 and line["step_s"] > 0
        assert 0 < line["data_wait_s"] < line["step_s"]
        assert line["data_share"] == pytest.approx(line["data_wait_s"] / line["step_s"])


@pytest.mark.parametrize(("log_every", "accumulate"), [(50, 1), (2, 1), (1, 1), (2, 2)])
def test_every_step_is_in_exactly_one_line(log_every: int, accumulate: int, tmp_path: Path) -> None:
    lines = list[dict[str, Any]]()
    steps = 3 * -(-5 // accumulate)
    config = FitConfig(
        epochs=3, batch_size=8, log_every_steps=log_every, accumulate=accumulate, checkpoint_every_steps=4
    )
    module = Regression(lambda batch, loss: {"loss": loss * 0 + batch.index.float().mean()})
    fit(module, batches_of(), config, checkpoint=tmp_path / "resume", on_steps=lines.append)
    assert sum(line["steps"] for line in lines) == steps
    assert [line["step"] for line in lines] == np.cumsum([line["steps"] for line in lines]).tolist()
    windows = [line["windows_per_s"] * line["step_s"] * line["steps"] for line in lines]
    assert sum(windows) == pytest.approx(120)
    assert np.average([line["loss"] for line in lines], weights=windows) == pytest.approx(np.arange(40).mean())


def test_a_line_averages_losses_over_windows() -> None:
    module = Regression(lambda batch, loss: {"loss": loss * 0 + batch.index.float().mean()})
    batches = batches_of(size=16)
    _, (line,) = train(module, batches, epochs=1, log_every_steps=3)
    assert line["loss"] == pytest.approx(np.arange(40).mean())
