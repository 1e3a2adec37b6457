"""Consistency of views: only what the network is sure of teaches, and only the strong view learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moola.errors import ConfigError, DataError
from moola.models import FitResources, LabelledWindows
from moola.models.lstm import Lstm
from moola.models.saved import load_model, save_model
from moola.training.consistency import Consistency, ConsistencyLoss
from moola.training.finetuning import FinetunedEncoder
from moola.training.schedule import FitConfig

CHANNELS = ("x", "y")


class FirstBar(nn.Module):
    """Logits from the first bar of each window; dropout that would change everything."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.drop = nn.Dropout(0.99)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([self.scale * inputs[:, 0, 0], torch.zeros(len(inputs))], dim=1)


def loss_of(values: list[float], **settings: object) -> tuple[float, float]:
    """The loss of windows whose first value is given, and its slope by the scale of the logits."""
    bars = np.zeros((len(values), 6, 2), dtype=np.float32)
    bars[:, 0, 0] = values
    module = FirstBar().train()
    config = Consistency(weight=2.0, strong=({"name": "bar_dropout", "probability": 0.0},), **settings)  # type: ignore[arg-type]
    loss = ConsistencyLoss(config, bars, lambda some: some, CHANNELS, "cpu")(module, module, 8, 1)
    loss.backward()
    assert module.training and module.scale.grad is not None
    return float(loss.detach()), float(module.scale.grad)


def test_windows_of_which_the_network_is_not_sure_teach_nothing() -> None:
    assert loss_of([1.0, -1.0], weak=()) == (0.0, 0.0)  # .73
    value, slope = loss_of([1.0, -1.0], weak=(), sure=0.7)
    assert value == pytest.approx(2 * np.log1p(np.exp(-1.0)), rel=1e-5) and slope < 0
    assert loss_of([4.0, -4.0], weak=())[0] == pytest.approx(2 * np.log1p(np.exp(-4.0)), rel=1e-4)


def test_no_gradient_flows_through_the_view_that_is_asked() -> None:
    bars = np.ones((4, 6, 2), dtype=np.float32) * 5
    asked: list[bool] = []

    def classify(inputs: Tensor) -> Tensor:
        asked.append(torch.is_grad_enabled())
        return module(inputs)

    module = FirstBar()
    ConsistencyLoss(Consistency(weight=1.0), bars, lambda some: some, CHANNELS, "cpu")(classify, module, 2, 0)
    assert asked == [False, True]


def test_problems_are_told_in_one_go() -> None:
    with pytest.raises(ConfigError) as caught:
        Consistency(weight=-1, sure=0, ratio=0, strong=())
    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigError, match=r"weak\[0\]"):
        Consistency(weak=({"name": "jiter"},))
    with pytest.raises(DataError, match="consistency needs windows without a label"):
        ConsistencyLoss(Consistency(1.0), np.zeros((0, 6, 2), np.float32), lambda some: some, CHANNELS, "cpu")


def labelled(unlabelled: int = 40) -> tuple[LabelledWindows, FitResources]:
    generator = np.random.default_rng(0)
    bars = generator.normal(size=(16, 6, 2)).astype(np.float32)
    windows = LabelledWindows(bars, bars, (bars[:, 0, 0] > 0).astype(np.int64), 2, None, lambda some: some)
    more = generator.normal(size=(unlabelled, 6, 2)).astype(np.float32)
    resources = FitResources(
        1, lambda inputs: inputs[:, 0], "cpu", Lstm(hidden=4), trainer=FitConfig(epochs=2, batch_size=8)
    )
    return windows, dataclasses.replace(resources, unlabelled=(more, CHANNELS))


def test_a_classifier_learns_from_both_the_same_each_time_and_is_saved(tmp_path: Path) -> None:
    windows, resources = labelled()
    plain = FinetunedEncoder(init="random", frozen_epochs=0, encoder_lr_factor=1.0)
    both = dataclasses.replace(plain, consistency=Consistency(weight=1.0, sure=0.5))
    said = [model.fit(windows, resources).predict_proba(windows) for model in (both, both, plain)]
    assert np.array_equal(said[0], said[1]) and not np.allclose(said[0], said[2], atol=1e-4)
    assert both.most_unlabelled == 4_096 and plain.most_unlabelled == 0
    save_model(tmp_path / "m", both, both.fit(windows, resources), n_bars=6, n_inputs=2, classes=("a", "b"))
    loaded = load_model(tmp_path / "m", resources)
    assert loaded.model == both and np.array_equal(loaded.predict_proba(windows), said[0])
    with pytest.raises(ValueError, match="unlabelled"):
        both.fit(windows, dataclasses.replace(resources, unlabelled=None))
