"""Layers begin to train in their order, and at their rates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.data.device_batches import Batch, DeviceBatches
from moola.errors import ConfigError
from moola.models.bilstm import BiLstm
from moola.models.encoder import Encoder, InputShape
from moola.training.loop import fit
from moola.training.optimisation import ParameterGroup
from moola.training.schedule import FitConfig
from moola.training.unfreezing import encoder_groups, frozen_layers


def encoder_of(layers: int) -> Encoder:
    torch.manual_seed(0)
    return BiLstm(hidden=2, layers=layers).build(InputShape(2, 5))


@given(
    layers=st.integers(1, 4),
    frozen=st.integers(0, 3),
    every=st.integers(0, 2),
    decay=st.sampled_from([1.0, 0.5]),
    trained=st.none() | st.integers(0, 5),
)
def test_each_layer_begins_later_and_slower_than_the_one_after_it(
    layers: int, frozen: int, every: int, decay: float, trained: int | None
) -> None:
    encoder = encoder_of(layers)
    groups = encoder_groups(
        encoder, 20, frozen_epochs=frozen, every_epochs=every, lr_factor=0.5, lr_decay=decay, trained_layers=trained
    )
    n_trained = layers if trained is None else min(trained, layers)
    expected = [
        (0.5 * decay**depth, frozen + depth * every if depth < n_trained else 20) for depth in reversed(range(layers))
    ]
    assert [(group.factor, group.frozen_epochs) for group in groups] == expected
    assert [group.name for group in groups] == [f"encoder.recurrent_{number}" for number in range(layers)]
    held = [id(value) for group in groups for value in group.parameters]
    assert sorted(held) == sorted(map(id, encoder.parameters()))
    assert len(frozen_layers(encoder, trained)) == layers - n_trained


def test_every_layer_that_would_never_begin_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        encoder_groups(encoder_of(4), 5, frozen_epochs=1, every_epochs=2)
    assert [problem.split()[2] for problem in caught.value.problems] == ["recurrent_0", "recurrent_1"]
    assert "more epochs" in caught.value.way_out
    encoder_groups(encoder_of(4), 5, frozen_epochs=1, every_epochs=2, trained_layers=2)
    encoder_groups(encoder_of(4), 8, frozen_epochs=1, every_epochs=2)


def test_an_encoder_whose_layers_leave_weights_out_is_refused() -> None:
    encoder = encoder_of(2)
    encoder.forgotten = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"must hold every weight once.*'forgotten\.weight', 'forgotten\.bias'"):
        encoder_groups(encoder, 5)


class Sum(torch.nn.Module):
    """An objective that moves every weight, and looks at them before each step."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[torch.Tensor]] = []

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.seen.append([torch.cat([p.detach().flatten() for p in layer]) for _, layer in self.encoder.layers()])
        return {"loss": self.encoder.encode(batch.inputs)[1].square().mean() + self.bias.sum()}


def test_while_training_the_last_layer_moves_first_and_the_first_one_last() -> None:
    objective = Sum(encoder_of(3))
    values = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    batches = DeviceBatches(values, np.arange(8), 5, lambda bars: bars, 8, 0)
    groups = encoder_groups(objective.encoder, 5, frozen_epochs=1, every_epochs=1)
    fit(
        objective,
        batches,
        FitConfig(epochs=5, batch_size=8, lr=1e-2, warmup=0.0),
        groups=[*groups, ParameterGroup([objective.bias])],
    )
    final = [torch.cat([p.detach().flatten() for p in layer]) for _, layer in objective.encoder.layers()]
    weights = [*objective.seen, final]
    moved = [[not torch.equal(a, b) for a, b in zip(weights[i], weights[i + 1], strict=True)] for i in range(5)]
    assert moved == [
        [False, False, False],
        [False, False, True],
        [False, True, True],
        [True, True, True],
        [True, True, True],
    ]
