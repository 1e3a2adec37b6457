"""Views, cuts and refusals of TS-TCC; its losses are in test_contrast."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from moola.data.draws import Draws
from moola.errors import ConfigError
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import WindowInputs
from moola.pretraining.ts_tcc import TsTcc, TsTccObjective, temporal_contrast
from moola.testing import check_objective, make_batch


@dataclass(frozen=True)
class Louder:
    """Moves after bar 0 grow or shrink by a random factor."""

    spread: float

    def apply(self, bars: Tensor, channels: tuple[str, ...], draws: Draws) -> Tensor:
        return bars[:, :1] + (bars - bars[:, :1]) * torch.exp(self.spread * draws.normal(1, 1))


CONFIG = TsTcc((Louder(0.1),), (Louder(0.5),), steps=4, context=8, heads=2, projection_hidden=8, projection=4)


def objective_of(config: TsTcc = CONFIG, n_bars: int = 16) -> TsTccObjective:
    torch.manual_seed(0)
    shape = InputShape(2, n_bars)
    inputs = WindowInputs(shape, ("a", "b"), lambda bars: bars - bars[:, :1])
    return config.build(BiLstm(hidden=4).build(shape), inputs)


def bars_of(n: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(n, 16, 2, generator=torch.Generator().manual_seed(seed)).cumsum(dim=1)


def test_it_keeps_the_suite() -> None:
    check_objective(CONFIG, ("x",), 16)


def test_the_two_sides_of_a_cut_are_encoded_apart() -> None:
    objective = objective_of()
    seen: list[Tensor] = []
    objective.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    objective(make_batch(bars_of()))
    cut = seen[0].shape[1]
    assert [part.shape[1] for part in seen] == [cut, 16 - cut] * 2
    assert 4 <= cut <= 16 - CONFIG.steps
    assert not torch.equal(seen[0], seen[2])  # weak and strong


def test_the_past_of_each_view_predicts_the_future_of_the_other() -> None:
    objective = objective_of().requires_grad_(False)
    seen: list[Tensor] = []
    hook = objective.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = objective(make_batch(bars_of()))
    hook.remove()
    weak, weak_future, strong, strong_future = (objective.encoder(part) for part in seen)
    expected = sum(
        temporal_contrast(
            objective.predict(objective.summary(past)).unflatten(1, (CONFIG.steps, -1)), future[:, : CONFIG.steps]
        )
        for past, future in ((weak, strong_future), (strong, weak_future))
    )
    torch.testing.assert_close(found["temporal"], expected)


def test_views_are_augmented_bars_transformed() -> None:
    objective = objective_of()
    seen: list[Tensor] = []
    objective.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    bars = bars_of()
    objective(make_batch(bars + 100, bars + 100))
    for past, future in (seen[:2], seen[2:]):
        factor = torch.cat([past, future], dim=1)[:, 1:] / (bars - bars[:, :1])[:, 1:]
        spread = factor.flatten(1).std(dim=1)
        assert float(spread.max()) < 1e-2  # one factor a window
        assert float(factor.mean(dim=(1, 2)).std()) > 0.01  # and another in each


def test_weights_act_on_their_parts_and_chance_is_that_of_guessing() -> None:
    batch = make_batch(bars_of())
    heavy = TsTcc((Louder(0.1),), (Louder(0.5),), 4, 8, 2, 8, 4, temporal_weight=3.0, contextual_weight=1.4)
    one, other = objective_of().validate(batch), objective_of(heavy).validate(batch)
    assert other["val_temporal"] == pytest.approx(3 * one["val_temporal"])
    assert other["val_contextual"] == pytest.approx(2 * one["val_contextual"])
    assert one["val_chance"] == pytest.approx(2 * math.log(5) + 0.7 * math.log(9))


def test_sections_become_augmentations_and_unknown_ones_are_told_with_their_place() -> None:
    with pytest.raises(ConfigError) as caught:
        TsTcc(weak=({"name": "no_such"},), strong=(Louder(0.1), {"scale": 1}))  # type: ignore[arg-type]
    (first,) = (problem for problem in caught.value.problems)
    assert first.startswith("weak[0]: there is no augmentation named 'no_such'")


def test_wrong_settings_are_all_told() -> None:
    with pytest.raises(ConfigError) as caught:
        TsTcc(steps=0, context=10, heads=4, projection=0, temperature=0.0, contextual_weight=-1.0, seed=-1)
    assert len(caught.value.problems) == 7
    with pytest.raises(ConfigError, match=r"objective\.steps: 13 leaves no past in 16 bars\nuse objective\.steps=12"):
        objective_of(TsTcc(weak=(Louder(0.1),), steps=13))
    objective_of(TsTcc(weak=(Louder(0.1),), steps=12))
