"""The batch size that is chosen follows the rule, whatever the clock says; nothing but the choice remains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import ConfigError, StorageError
from moola.training import batch_size
from moola.training.batch_size import BatchSize, Trial, choose_batch_size
from moola.training.memory import OutOfMemoryError
from moola.training.schedule import FitConfig

VALUES = torch.randn(5000, 2)


class Dropping(nn.Module):
    """Draws random numbers and counts its calls."""

    def __init__(self, room: int = 10**9) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.room, self.calls = room, 0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        if len(batch.index) > self.room:
            raise torch.OutOfMemoryError("full")
        return {"loss": self.layers(batch.inputs).square().mean()}


def batches_of(n_windows: int) -> Callable[[int], DeviceBatches]:
    return lambda size: DeviceBatches(VALUES, np.arange(n_windows), 4, lambda bars: bars, size, seed=0)


def choose(
    n_windows: int, module: nn.Module | None = None, path: Path | None = None, least: int = 1, **config: Any
) -> BatchSize:
    schedule = FitConfig(**{"epochs": 1, "batch_size": "auto", **config})
    return choose_batch_size(module or Dropping(), batches_of(n_windows), schedule, path, least)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts figures in the place of those that would be measured."""

    def use(speed: Callable[[int], float], bytes_each: int = 0, free: int = 10**12) -> None:
        monkeypatch.setattr(
            batch_size,
            "_try",
            lambda objective, batches, config: Trial(
                batches.batch_size, speed(batches.batch_size), bytes_each * batches.batch_size
            ),
        )
        monkeypatch.setattr(batch_size, "free_bytes", lambda device: free)

    return use


def test_a_given_size_is_taken_without_a_trial() -> None:
    module = Dropping()
    assert choose(1000, module, batch_size=48) == BatchSize(48)
    assert module.calls == 0


def test_it_doubles_as_long_as_an_epoch_has_eight_steps(measured: Callable[..., None]) -> None:
    measured(float)
    assert choose(4000).size == 256  # 500 would be eight steps, 512 is more
    assert choose(4096).size == 512
    assert choose(4096, accumulate=2).size == 256
    assert choose(4000).why == "512 leaves fewer than 8 steps an epoch"


def test_few_windows_make_small_batches(measured: Callable[..., None]) -> None:
    measured(float)
    assert [choose(n).size for n in (1, 7, 16, 17, 100, 511, 512)] == [1, 1, 2, 2, 8, 32, 64]
    assert [choose(n, least=3).size for n in (7, 100)] == [3, 8]


def test_it_stops_where_doubling_is_not_ten_percent_faster(measured: Callable[..., None]) -> None:
    measured(lambda size: min(size, 200))
    chosen = choose(4990)
    assert (chosen.size, chosen.why) == (256, "512 is not 10% faster")
    assert [trial.size for trial in chosen.trials] == [64, 128, 256, 512]
    measured(lambda size: 5.0)
    assert choose(4990).size == 64


def test_it_stops_before_the_next_size_would_use_too_much_memory(measured: Callable[..., None]) -> None:
    measured(float, bytes_each=10, free=3000)
    chosen = choose(4990)
    assert (chosen.size, chosen.why) == (128, "256 would use more than 60% of memory")


@pytest.mark.parametrize(("room", "size"), [(100, 64), (40, 32), (1, 1)])
def test_real_steps_that_run_out_of_memory_leave_the_size_that_fits(room: int, size: int) -> None:
    assert choose(4990, Dropping(room)).size == size


def test_memory_for_fewer_windows_than_the_objective_compares_is_too_little(tmp_path: Path) -> None:
    remembered = tmp_path / "batch_size.json"
    with pytest.raises(OutOfMemoryError, match="not even a batch of 2 windows fits"):
        choose(4990, Dropping(1), remembered, least=2)
    assert not remembered.exists()


def test_a_trial_changes_neither_the_objective_nor_the_random_numbers() -> None:
    module = Dropping()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    chosen = choose(600, module)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert module.calls == 0 and all(value.grad is None for value in module.parameters())
    assert chosen.trials[0].size == 64 and chosen.trials[0].windows_per_s > 0


def test_the_choice_is_remembered(tmp_path: Path, measured: Callable[..., None]) -> None:
    path = tmp_path / "resume" / "batch_size.json"
    measured(float)
    first = choose(4990, path=path)
    measured(lambda size: 5.0)
    assert choose(4990, path=path) == first
    path.write_text("{}")
    with pytest.raises(StorageError, match="holds no batch size"):
        choose(4990, path=path)


def test_several_processes_need_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"trainer\.pretrain\.batch_size: auto is measured in one process"):
        choose(4990)
