"""Which bars are hidden."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from moola.data.draws import Draws
from moola.errors import ConfigError
from moola.pretraining.masked_autoencoder import MaskedAutoencoder
from moola.pretraining.masks import Masking, block_mask, hidden_bars, masked_patches, patch_mask

SEEDS = st.integers(0, 10_000)
RATIOS = st.floats(0.01, 0.99)
LENGTHS = st.sampled_from(["fixed", "geometric"])


def draws(n_windows: int = 20, seed: int = 0, rows: slice = slice(None)) -> Draws:
    return Draws(seed, n_windows, rows, torch.device("cpu"))


@st.composite
def masking_of_windows(draw: st.DrawFn) -> tuple[Masking, int]:
    """A masking and a number of bars that suit each other; short windows and the ends of the ratio often."""
    n_bars = draw(st.integers(2, 8) | st.integers(9, 80))
    kind = draw(st.sampled_from(["patch", "block", "random"]))
    ratio = draw(st.sampled_from([0.01, 0.99]) | RATIOS)
    block_bars = draw(st.integers(1, min(hidden_bars(n_bars, ratio), 8)))
    masking = Masking(kind, ratio, draw(st.integers(1, n_bars // 2)), block_bars, draw(LENGTHS))
    try:
        masking.check_windows(n_bars)
    except ConfigError:  # fixed blocks that would touch each other
        masking = dataclasses.replace(masking, block_lengths="geometric")
    return masking, n_bars


@example(case=(Masking("block", 0.9, block_bars=2), 40), n_windows=5, seed=0)  # more runs than there are gaps for
@example(case=(Masking("block", 0.4, block_bars=1), 40), n_windows=5, seed=0)
@example(case=(Masking("random", 0.99), 5), n_windows=5, seed=0)
@given(case=masking_of_windows(), n_windows=st.integers(1, 12), seed=SEEDS)
def test_every_kind_hides_exactly_what_it_says_and_never_all_or_nothing(
    case: tuple[Masking, int], n_windows: int, seed: int
) -> None:
    masking, n_bars = case
    mask = masking.draw_mask(draws(n_windows, seed), n_bars)
    assert mask.shape == (n_windows, n_bars) and mask.dtype == torch.bool
    share = masking.realised_ratio(n_bars)
    assert mask.sum(dim=1).tolist() == [round(share * n_bars)] * n_windows
    assert 0 < round(share * n_bars) < n_bars


@given(case=masking_of_windows(), n_windows=st.integers(2, 12), seed=SEEDS, data=st.data())
def test_masks_are_those_of_their_seed_and_the_same_however_many_ranks_share_a_batch(
    case: tuple[Masking, int], n_windows: int, seed: int, data: st.DataObject
) -> None:
    masking, n_bars = case
    cut = data.draw(st.integers(1, n_windows - 1))
    whole = masking.draw_mask(draws(n_windows, seed), n_bars)
    parts = [masking.draw_mask(draws(n_windows, seed, rows), n_bars) for rows in (slice(0, cut), slice(cut, None))]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(masking.draw_mask(draws(n_windows, seed), n_bars), whole)


@pytest.mark.parametrize("kind", ["patch", "block", "random"])
def test_windows_and_seeds_differ(kind) -> None:
    one, other = (Masking(kind, 0.4, block_bars=6).draw_mask(draws(30, seed), 75) for seed in (1, 2))
    assert not torch.equal(one, other)
    assert len({tuple(row.tolist()) for row in one}) > 20


@given(patch_bars=st.integers(1, 12), n_patches=st.integers(2, 30), tail=st.integers(0, 11), ratio=RATIOS, seed=SEEDS)
def test_patches_are_hidden_whole_and_the_tail_never(
    patch_bars: int, n_patches: int, tail: int, ratio: float, seed: int
) -> None:
    n_bars = n_patches * patch_bars + tail % patch_bars
    found, n_masked = masked_patches(n_bars, patch_bars, ratio)
    assert found == n_patches and n_masked in (round(n_patches * ratio), 1, n_patches - 1)
    mask = patch_mask(draws(5, seed), n_bars, patch_bars, ratio)
    assert not mask[:, n_patches * patch_bars :].any()
    patches = mask[:, : n_patches * patch_bars].reshape(5, n_patches, patch_bars)
    assert torch.equal(patches.all(dim=2), patches.any(dim=2))


def runs_of(row: Tensor) -> list[int]:
    """Lengths of the runs of True."""
    text = "".join("x" if hidden else " " for hidden in row)
    return [len(run) for run in text.split()]


@given(n_bars=st.integers(10, 80), ratio=st.floats(0.1, 0.6), block_bars=st.integers(2, 12), seed=SEEDS)
def test_fixed_blocks_have_their_length_but_for_one_that_holds_the_rest(
    n_bars: int, ratio: float, block_bars: int, seed: int
) -> None:
    n_hidden = hidden_bars(n_bars, ratio)
    whole, rest = divmod(n_hidden, block_bars)
    for row in block_mask(draws(5, seed), n_bars, ratio, block_bars, "fixed"):
        assert sorted(runs_of(row)) == sorted([block_bars] * whole + [rest] * (rest > 0))


def test_geometric_blocks_have_their_mean_and_their_memoryless_lengths() -> None:
    mask = block_mask(draws(1000), 400, 0.3, 6, "geometric")
    runs = torch.tensor([length for row in mask for length in runs_of(row)]).double()
    assert float(runs.mean()) == pytest.approx(6, rel=0.06)  # the last of a window is cut
    assert float((runs == 1).double().mean()) == pytest.approx(1 / 6, abs=0.02)
    assert float((runs > 6).double().mean()) == pytest.approx((5 / 6) ** 6, abs=0.02)


def test_every_arrangement_of_blocks_is_equally_likely() -> None:
    mask = block_mask(draws(20_000), 9, 5 / 9, 3, "fixed")  # runs of 3 and 2 around 4 shown bars: 5 * 4 places
    found = mask.unique(dim=0, return_counts=True)[1]
    assert len(found) == 20
    assert all(abs(int(count) - 1000) < 150 for count in found)


def test_every_patch_and_every_bar_is_hidden_as_often_as_any_other() -> None:
    patches = patch_mask(draws(6000), 15, 3, 0.4)[:, ::3].double().mean(dim=0)
    bars = Masking("random", 0.4).draw_mask(draws(6000), 15).double().mean(dim=0)
    assert torch.all((patches - 0.4).abs() < 0.03) and torch.all((bars - 0.4).abs() < 0.03)


def test_the_reference_setting_hides_13_3_percent() -> None:
    assert masked_patches(105, 7, 0.15) == (15, 2)
    assert MaskedAutoencoder(patch_bars=7, ratio=0.15).realised_ratio(105) == pytest.approx(2 / 15)
    assert float(patch_mask(draws(50), 105, 7, 0.15).double().mean()) == pytest.approx(2 / 15)


def test_the_realised_ratio_counts_the_tail_that_is_never_hidden() -> None:
    assert MaskedAutoencoder(patch_bars=10, ratio=0.5).realised_ratio(45) == pytest.approx(20 / 45)


@pytest.mark.parametrize(
    ("masking", "n_bars", "said"),
    [
        (Masking("patch", patch_bars=11), 20, "patch_bars: 11 leaves fewer than 2 patches in 20 bars"),
        (Masking("block", 0.2, block_bars=5), 20, "block_bars: 5 is more than the 4 of 20 bars that ratio=0.2 hides"),
        (
            Masking("block", 0.8, block_bars=2, block_lengths="fixed"),
            20,
            "block_bars: 2 makes more blocks than the 4 shown bars keep apart",
        ),
        (Masking("random"), 1, "data.window.visible: 1 bars cannot be both hidden and shown"),
    ],
)
def test_masks_that_cannot_be_drawn_are_refused(masking: Masking, n_bars: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        masking.check_windows(n_bars)
    assert caught.value.way_out
