"""Averages of the weights are what their formulas say, are what is validated and kept, and leave training alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import ConfigError
from moola.training.loop import fit
from moola.training.schedule import FitConfig

VALUES = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))


class Noting(nn.Module):
    """A regression that keeps its weights as they stood before each step, and as they were validated."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -1.0]))
        self.register_buffer("seen", torch.zeros(()))
        self.before_steps: list[Tensor] = []
        self.validated: list[Tensor] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.before_steps.append(self.weight.detach().clone())
        self.seen += 1
        return {"loss": (batch.inputs @ self.weight - 3).square().mean()}

    def validate(self) -> dict[str, float]:
        self.validated.append(self.weight.detach().clone())
        return {}


def train(module: Noting, *, size: int = 8, **config: Any) -> list[dict[str, float]]:
    batches = DeviceBatches(VALUES, np.arange(32), 4, lambda bars: bars, size, seed=0)
    return fit(module, batches, FitConfig(epochs=4, batch_size=size, lr=0.1, **config), validate=module.validate)


def weights_after_steps(module: Noting, last: Tensor) -> list[Tensor]:
    return [*module.before_steps[1:], last]


@pytest.fixture(scope="module")
def plain() -> Noting:
    module = Noting()
    train(module)
    return module


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_moving_average_is_that_of_all_steps_with_a_decay_that_grows(decay: float, plain: Noting) -> None:
    module = Noting()
    train(module, ema_decay=decay)
    after = weights_after_steps(plain, plain.weight.detach())
    expected = after[0]
    for n, weight in enumerate(after[1:], start=1):
        share = min(decay, (1 + n) / (10 + n))
        expected = share * expected + (1 - share) * weight
    torch.testing.assert_close(module.weight.detach(), expected)
    assert torch.equal(module.validated[-1], module.weight.detach())


def test_the_tail_average_is_the_mean_over_the_last_epochs(plain: Noting) -> None:
    module = Noting()
    train(module, swa_share=0.5)
    ends = weights_after_steps(plain, plain.weight.detach())[3::4]
    torch.testing.assert_close(module.weight.detach(), torch.stack(ends[2:]).mean(dim=0))
    assert torch.equal(module.validated[1], ends[1])  # before it begins, the weights themselves are validated


@pytest.mark.parametrize("config", [{"ema_decay": 0.9}, {"swa_share": 0.75}])
def test_an_average_changes_nothing_in_training(config: dict[str, float], plain: Noting) -> None:
    module = Noting()
    train(module, **config)
    assert all(torch.equal(one, other) for one, other in zip(module.before_steps, plain.before_steps, strict=True))
    assert not torch.equal(module.weight, plain.weight)


def test_accumulated_batches_are_one_larger_batch(plain: Noting) -> None:
    """32 windows in batches of 5: the last step has two batches, one of them smaller."""
    small, large = Noting(), Noting()
    train(small, size=5, accumulate=2)
    train(large, size=10)
    torch.testing.assert_close(small.weight, large.weight, rtol=1e-5, atol=1e-6)
    assert not torch.equal(large.weight, plain.weight)


class Scripted(nn.Module):
    """Its validation loss is written down; its weight counts steps."""

    def __init__(self, losses: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.losses = losses
        self.validated: list[float] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": -self.weight}

    def train_on(self, patience: int, checkpoint: Path | None = None, **options: Any) -> list[dict[str, float]]:
        batches = DeviceBatches(VALUES, np.arange(8), 4, lambda bars: bars, 8, seed=0)
        config = FitConfig(epochs=len(self.losses), batch_size=8, lr=0.1, patience=patience, warmup=0.0)
        return fit(
            self, batches, config, validate=options.pop("validate", self._validate), checkpoint=checkpoint, **options
        )

    def _validate(self) -> dict[str, float]:
        self.validated.append(float(self.weight.detach()))
        return {"val_loss": self.losses[len(self.validated) - 1]}


def test_training_stops_once_the_validation_loss_has_not_fallen_and_the_best_weights_are_kept() -> None:
    module = Scripted([3.0, 2.0, 2.0, float("nan"), 1.0, 0.5])
    records = module.train_on(patience=2)
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert float(module.weight.detach()) == module.validated[1]


def test_without_a_stop_the_best_weights_are_kept_too_and_without_patience_the_last() -> None:
    losses = [3.0, 1.0, 2.0]
    patient, plain = Scripted(losses), Scripted(losses)
    assert len(patient.train_on(patience=3)) == 3
    assert float(patient.weight.detach()) == patient.validated[1]
    plain.train_on(patience=0)
    assert float(plain.weight.detach()) == plain.validated[2]


def test_a_stopped_fit_stays_stopped_when_it_is_asked_again(tmp_path: Path) -> None:
    losses = [3.0, 2.0, 2.5, 2.5, 0.0]
    first, second = Scripted(losses), Scripted(losses)
    records = first.train_on(2, tmp_path / "resume")
    assert second.train_on(2, tmp_path / "resume") == records
    assert not second.validated and float(second.weight.detach()) == float(first.weight.detach())


def test_patience_survives_an_interruption(tmp_path: Path) -> None:
    losses = [3.0, 2.0, 2.5, 2.5, 0.0]

    def stop(record: dict[str, float]) -> None:
        if record["epoch"] == 4:
            raise KeyboardInterrupt

    first, second = Scripted(losses), Scripted(losses)
    with pytest.raises(KeyboardInterrupt):
        first.train_on(2, tmp_path / "resume", on_epoch=stop)
    second.validated = first.validated[:3]
    assert len(second.train_on(2, tmp_path / "resume")) == 4
    assert float(second.weight.detach()) == first.validated[1]


def test_patience_without_a_validation_loss_is_told() -> None:
    with pytest.raises(ConfigError, match="patience: 2 watches val_loss, and this fit is validated with nothing"):
        Scripted([1.0, 1.0]).train_on(2, validate=None)
