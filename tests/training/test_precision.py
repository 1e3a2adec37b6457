"""Precision is what was asked for, or what the device can do, and then it is told; nothing stays switched on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import ConfigError
from moola.training import precision
from moola.training.alarms import Alarm
from moola.training.loop import fit
from moola.training.precision import realise
from moola.training.schedule import FitConfig

CPU = torch.device("cpu")


class Looking(nn.Module):
    """Notes what the arithmetic is set to while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.types: set[torch.dtype] = set()
        self.deterministic: set[bool] = set()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        found = self.layer(batch.inputs)
        self.types.add(found.dtype)
        self.deterministic.add(torch.are_deterministic_algorithms_enabled())
        return {"loss": found.float().square().mean()}


def train(config: FitConfig) -> tuple[Looking, list[Alarm]]:
    looking, alarms = Looking(), []
    fit(looking, DeviceBatches(torch.randn(20, 2), np.arange(16), 4, lambda b: b, 8, 0), config, on_alarm=alarms.append)
    return looking, alarms


@pytest.fixture
def untried() -> Iterator[None]:
    """Whatever an earlier test found out about bf16 is forgotten, and so is what this one finds."""
    precision._bf16_trouble.cache_clear()
    yield
    precision._bf16_trouble.cache_clear()


def test_auto_is_full_precision_on_a_cpu_and_says_nothing() -> None:
    looking, alarms = train(FitConfig(epochs=1, batch_size=8))
    assert realise("auto", CPU).name == "fp32"
    assert looking.types == {torch.float32} and not alarms


def test_tf32_on_a_cpu_falls_back_and_says_so() -> None:
    looking, alarms = train(FitConfig(epochs=1, batch_size=8, precision="tf32"))
    assert looking.types == {torch.float32}
    assert [alarm.kind for alarm in alarms] == ["precision"]
    assert alarms[0].message.startswith("trained in fp32: tf32 needs an NVIDIA GPU")


def test_bf16_is_used_where_an_lstm_can_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_bf16_trouble", lambda device_type: "")
    looking, alarms = train(FitConfig(epochs=1, batch_size=8, precision="bf16"))
    assert looking.types == {torch.bfloat16} and not alarms


@pytest.mark.usefixtures("untried")
def test_bf16_falls_back_where_an_lstm_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("could not create a primitive descriptor\nand more")

    monkeypatch.setattr(nn.LSTM, "forward", fail)
    looking, alarms = train(FitConfig(epochs=1, batch_size=8, precision="bf16"))
    assert looking.types == {torch.float32}
    assert "an LSTM in bf16 does not work on a CPU: could not create a primitive descriptor" in alarms[0].message


@pytest.mark.usefixtures("untried")
def test_bf16_falls_back_where_an_lstm_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right = nn.LSTM.forward

    def wrong(self: nn.LSTM, inputs: Tensor) -> tuple[Tensor, object]:
        states, last = right(self, inputs)
        return states + float(torch.is_autocast_enabled("cpu")), last

    monkeypatch.setattr(nn.LSTM, "forward", wrong)
    found = realise("bf16", CPU)
    assert found.name == "fp32" and "its states are off by" in found.fallback


@pytest.mark.usefixtures("untried")
def test_trying_bf16_draws_no_random_number() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    realise("bf16", CPU)
    assert torch.equal(torch.rand(3), expected)


def test_tf32_is_switched_for_every_kind_of_product_and_put_back() -> None:
    gpu, switches = torch.device("cuda"), precision._Switches()
    before = switches.read()
    for name, expected in (("tf32", True), ("fp32", False), ("bf16", False)):
        with precision.matrix_products(precision.Precision(name), gpu):
            assert switches.read() == switches.values(tf32=expected)
        assert switches.read() == before
    with precision.matrix_products(precision.Precision("fp32"), CPU):
        assert switches.read() == before


def test_an_operation_that_cannot_be_deterministic_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("upsample does not have a deterministic implementation, but you set ...")

    monkeypatch.setattr(Looking, "forward", fail)
    with pytest.raises(ConfigError, match="deterministic: true, but upsample does not have"):
        train(FitConfig(epochs=1, batch_size=8, deterministic=True))


def test_deterministic_mode_lasts_as_long_as_the_fit() -> None:
    looking, _ = train(FitConfig(epochs=1, batch_size=8, deterministic=True))
    assert looking.deterministic == {True}
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic
    looking, _ = train(FitConfig(epochs=1, batch_size=8))
    assert looking.deterministic == {False}


def test_deterministic_mode_ends_with_a_fit_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("broken")

    monkeypatch.setattr(Looking, "forward", fail)
    with pytest.raises(OSError, match="broken"):
        train(FitConfig(epochs=1, batch_size=8, deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()
