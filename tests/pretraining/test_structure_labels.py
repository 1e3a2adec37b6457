"""The multitask pretext over hidden candles."""

from __future__ import annotations

import math

import pytest
import torch

from moola.data.device_batches import Batch
from moola.errors import ConfigError, DataError
from moola.features.candles import OHLC
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.structure_labels import (
    StructureLabels,
    StructureLabelsObjective,
    constant_log_loss,
    masked_cross_entropy,
)
from moola.testing import check_objective, make_batch
from moola.testing.transform_checks import random_bars


def objective_of(config: StructureLabels, channels: tuple[str, ...] = OHLC) -> StructureLabelsObjective:
    torch.manual_seed(0)
    shape = InputShape(4, 20)
    return config.build(BiLstm(hidden=4).build(shape), WindowInputs(shape, channels, lambda bars: bars.log()))


def batch_of() -> Batch:
    bars = random_bars(OHLC, 6, 20)
    return make_batch(bars.log(), bars)


def test_cross_entropy_counts_hidden_bars_only() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [5.0, 0.0], [math.log(3), 0.0]]])
    mask = torch.tensor([[True, False, True]])
    found = masked_cross_entropy(logits, torch.tensor([[1, 1, 1]]), mask)
    assert float(found) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_the_constant_guess_loses_the_entropy_of_the_answers() -> None:
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert constant_log_loss(torch.tensor([0, 2, 0, 0])) == pytest.approx(expected)
    assert constant_log_loss(torch.tensor([1, 1])) == 0.0


def test_two_questions_keep_the_suite() -> None:
    check_objective(StructureLabels(mask="block", block_bars=4, swing_weight=0.0), ("volume", *OHLC), 20)


def test_what_is_asked_about_is_hidden() -> None:
    objective, batch = objective_of(StructureLabels(mask="random")), batch_of()
    seen: list[torch.Tensor] = []
    objective.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    asked: list[torch.Tensor] = []
    objective._parts(batch, mask := objective.config.draw_mask(batch.draws(0), 20))
    asked.append(mask)
    assert not seen[0][asked[0]].any() and torch.equal(seen[0][~asked[0]], batch.inputs[~asked[0]])


def test_weights_act_on_their_parts_and_on_the_constant_guess() -> None:
    one, other = (objective_of(StructureLabels(swing_weight=weight)).validate(batch_of()) for weight in (1.0, 0.5))
    for name in ("val_swing", "val_swing_constant"):
        assert other[name] == pytest.approx(one[name] / 2)
    assert other["val_shape"] == one["val_shape"]
    assert "val_shape" not in objective_of(StructureLabels(shape_weight=0.0)).validate(batch_of())


def test_a_source_without_candles_is_refused() -> None:
    with pytest.raises(DataError, match="objective=structure_labels needs candles"):
        objective_of(StructureLabels(), ("a", "b", "c", "d"))


def test_wrong_settings_are_all_told() -> None:
    with pytest.raises(ConfigError) as caught:
        StructureLabels(ratio=0.0, expansion_atr=0.0, atr_bars=0, swing_bars=4, doji=1.0, shape_weight=-1.0, seed=-1)
    assert len(caught.value.problems) == 7
    with pytest.raises(ConfigError, match="one must be above 0"):
        StructureLabels(expansion_weight=0.0, swing_weight=0.0, shape_weight=0.0)
