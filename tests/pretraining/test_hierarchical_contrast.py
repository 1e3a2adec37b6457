"""Crops, masks and groups of the hierarchical contrast."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.data.draws import Draws
from moola.errors import ConfigError
from moola.models.bilstm import BiLstm
from moola.models.encoder import InputShape
from moola.pretraining import Reconstructing, WindowInputs
from moola.pretraining.hierarchical_contrast import (
    HiddenCrops,
    HierarchicalContrast,
    HierarchicalContrastObjective,
    draw_crops,
)
from moola.testing import check_objective, make_batch


def objective_of(n_bars: int = 16, **settings: float) -> HierarchicalContrastObjective:
    torch.manual_seed(0)
    shape = InputShape(2, n_bars)
    config = HierarchicalContrast(**settings)  # type: ignore[arg-type]
    return config.build(BiLstm(hidden=4).build(shape), WindowInputs(shape, ("a", "b"), lambda bars: bars))


@given(n_bars=st.integers(2, 60), most=st.integers(2, 80), seed=st.integers(0, 10_000))
def test_crops_overlap_lie_in_the_window_and_are_not_too_long(n_bars: int, most: int, seed: int) -> None:
    crops = draw_crops(Draws(seed, 4, slice(None), torch.device("cpu")), n_bars, most)
    assert 2 <= crops.overlap <= crops.length <= min(most, n_bars)
    assert 2 * crops.overlap >= crops.length - 1
    assert crops.starts.shape == (4,)
    assert int(crops.starts.min()) >= 0
    assert int(crops.starts.max()) + crops.span <= n_bars


def test_crops_reach_every_length_and_place() -> None:
    device = torch.device("cpu")
    found = [draw_crops(Draws(seed, 3, slice(None), device), 10, 20) for seed in range(600)]
    assert {crops.length for crops in found} == {5, 6, 7, 8}
    assert {crops.overlap for crops in found if crops.length == 5} == {2, 3, 4, 5}
    assert {int(start) for crops in found if crops.span == 7 for start in crops.starts} == {0, 1, 2, 3}
    assert {draw_crops(Draws(seed, 3, slice(None), device), 100, 20).length for seed in range(20)} == {20}


def test_the_overlaps_are_the_same_bars_of_each_window() -> None:
    objective = objective_of(hidden_share=0.0, reconstruction_weight=0.0)
    inputs = torch.arange(4 * 16 * 2.0).reshape(4, 16, 2)
    crops = objective._hide(inputs, Draws(3, 4, slice(None), torch.device("cpu")))
    first, second = crops.windows.chunk(2)
    assert torch.equal(first[:, -crops.overlap :], second[:, : crops.overlap])
    assert torch.equal(first[:, 0, 0].div(32, rounding_mode="floor"), torch.arange(4.0))


def test_hidden_bars_are_rebuilt_beside_the_trivial_predictors() -> None:
    batch = make_batch(torch.randn(5, 16, 2, generator=torch.Generator().manual_seed(0)))
    objective = objective_of(reconstruction_weight=2.0)
    figures = objective.validate(batch)
    assert {"val_reconstruction", "val_copy_last", "val_mean"} <= set(figures)
    expected = figures["val_temporal"] + figures["val_instance"] + 2 * figures["val_reconstruction"]
    assert figures["val_loss"] == pytest.approx(expected)
    assert isinstance(objective, Reconstructing)
    assert not isinstance(objective_of(reconstruction_weight=0.0), Reconstructing)


def test_the_shares_weigh_the_two_parts() -> None:
    batch = make_batch(torch.randn(5, 16, 2, generator=torch.Generator().manual_seed(0)))
    half, quarter = (objective_of(temporal_share=share).validate(batch) for share in (0.5, 0.25))
    assert quarter["val_temporal"] == pytest.approx(half["val_temporal"] / 2)
    assert quarter["val_instance"] == pytest.approx(half["val_instance"] * 1.5)


def test_windows_are_contrasted_in_groups() -> None:
    crops = torch.randn(12, 8, 8, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(12, 8, dtype=torch.bool)
    objective = objective_of(group_windows=4, reconstruction_weight=0.0)

    def parts(rows: slice) -> list[float]:
        states = torch.cat([crops[:6][rows], crops[6:][rows]])
        found = objective._parts(HiddenCrops(states, nothing, states, 8))
        return [float(value) for value in found.values()]

    whole, first, last = parts(slice(0, 6)), parts(slice(0, 4)), parts(slice(4, 6))
    assert whole == pytest.approx([(4 * a + 2 * b) / 6 for a, b in zip(first, last, strict=True)], rel=1e-5)


def test_short_crops_and_small_groups_keep_the_suite() -> None:
    check_objective(
        HierarchicalContrast(hidden_share=0.0, reconstruction_weight=0.0, crop_bars=12, group_windows=3), ("x",), 20
    )


def test_wrong_settings_are_all_told_and_single_bars_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        HierarchicalContrast(1.0, -0.1, -1.0, 1, 1, -1)
    assert len(caught.value.problems) == 6
    with pytest.raises(ConfigError, match="hidden_share: 0 leaves nothing to rebuild"):
        HierarchicalContrast(hidden_share=0.0)
    with pytest.raises(ConfigError, match="visible: 1 bar cannot be cropped"):
        objective_of(n_bars=1)
