"""Which steps are hidden."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.pretraining.masks import masked_patches, patch_mask


@given(
    n_windows=st.integers(1, 20),
    patch_bars=st.integers(1, 12),
    n_patches=st.integers(2, 30),
    tail=st.integers(0, 11),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_every_window_hides_the_same_number_of_whole_patches_and_never_the_tail(
    n_windows: int, patch_bars: int, n_patches: int, tail: int, ratio: float, seed: int
) -> None:
    n_bars = n_patches * patch_bars + tail % patch_bars
    mask = patch_mask(n_windows, n_bars, patch_bars, ratio, torch.Generator().manual_seed(seed))
    assert mask.shape == (n_windows, n_bars) and mask.dtype == torch.bool
    found, n_masked = masked_patches(n_bars, patch_bars, ratio)
    assert found == n_patches and 1 <= n_masked < n_patches
    assert n_masked in (round(n_patches * ratio), 1, n_patches - 1)
    assert mask.sum(dim=1).tolist() == [n_masked * patch_bars] * n_windows
    assert not mask[:, n_patches * patch_bars :].any()
    patches = mask[:, : n_patches * patch_bars].reshape(n_windows, n_patches, patch_bars)
    assert torch.equal(patches.all(dim=2), patches.any(dim=2))


def test_the_reference_setting_hides_13_3_percent() -> None:
    assert masked_patches(105, 7, 0.15) == (15, 2)
    assert MaskedAutoencoder(patch_bars=7, ratio=0.15).realised_ratio(105) == pytest.approx(2 / 15)
    mask = patch_mask(50, 105, 7, 0.15, torch.Generator().manual_seed(0))
    assert float(mask.float().mean()) == pytest.approx(0.1333, abs=1e-4)


def test_the_realised_ratio_counts_the_tail_that_is_never_hidden() -> None:
    config = MaskedAutoencoder(patch_bars=10, ratio=0.5)
    assert config.realised_ratio(45) == pytest.approx(20 / 45)
    mask = patch_mask(10, 45, 10, 0.5, torch.Generator().manual_seed(0))
    assert float(mask.float().mean()) == pytest.approx(config.realised_ratio(45))


def test_the_mask_is_that_of_its_seed_and_windows_differ() -> None:
    one, same, other = (patch_mask(30, 75, 5, 1 / 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert len({tuple(row.tolist()) for row in one}) > 20


def test_every_patch_is_hidden_as_often_as_any_other() -> None:
    mask = patch_mask(6000, 15, 3, 0.4, torch.Generator().manual_seed(0))
    shares = mask[:, ::3].float().mean(dim=0)
    assert torch.all((shares - 0.4).abs() < 0.03)
