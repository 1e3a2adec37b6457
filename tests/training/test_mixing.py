"""Mixed windows are what their shares say, and the same for the same seed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.data.draws import Draws
from moola.errors import ConfigError
from moola.training.mixing import Mixing, random_runs, symmetric_beta


def draws_of(n: int, seed: int = 0) -> Draws:
    return Draws(seed, n, slice(0, n), torch.device("cpu"))


def marked(n: int, n_bars: int = 12) -> torch.Tensor:
    """Windows whose every value is their number."""
    return torch.arange(n, dtype=torch.float32)[:, None, None].expand(n, n_bars, 2).clone()


@given(n=st.integers(1, 9), seed=st.integers(0, 50), alpha=st.sampled_from([0.1, 0.4, 1.0]))
def test_mixup_is_the_line_between_a_window_and_its_partner(n: int, seed: int, alpha: float) -> None:
    inputs = marked(n)
    mixed = Mixing(mixup_alpha=alpha)(inputs, draws_of(n, seed))
    expected = mixed.share * torch.arange(n) + (1 - mixed.share) * mixed.partner
    torch.testing.assert_close(mixed.inputs, expected[:, None, None].expand_as(inputs), atol=1e-5, rtol=0)
    assert sorted(mixed.partner.tolist()) == list(range(n))
    assert n == 1 or (mixed.partner != torch.arange(n)).all()
    assert torch.equal(inputs, marked(n))


@given(n=st.integers(2, 9), seed=st.integers(0, 50), n_bars=st.integers(1, 20))
def test_cutmix_takes_one_run_of_bars_and_says_how_long_it_is(n: int, seed: int, n_bars: int) -> None:
    mixed = Mixing(cutmix_share=1.0)(marked(n, n_bars), draws_of(n, seed))
    own = mixed.inputs[..., 0] == torch.arange(n)[:, None]
    foreign = mixed.inputs[..., 0] == mixed.partner[:, None]
    assert (own | foreign).all() and torch.equal(mixed.inputs[..., 0], mixed.inputs[..., 1])
    torch.testing.assert_close(own.float().mean(dim=1), mixed.share)
    edges = (own[:, 1:] != own[:, :-1]).sum(dim=1) + (~own[:, 0]).int() + (~own[:, -1]).int()
    assert set(edges.tolist()) <= {0, 2}


def test_windows_are_cut_as_often_as_asked_and_else_mixed() -> None:
    inputs = marked(4000, 8)
    mixed = Mixing(mixup_alpha=0.4, cutmix_share=0.5)(inputs, draws_of(4000))
    whole_number = (mixed.inputs == mixed.inputs.round()).all(dim=2).all(dim=1)
    assert whole_number.float().mean() == pytest.approx(0.5, abs=0.1)  # some mixed windows keep all of their own
    only_cut = Mixing(cutmix_share=0.25)(inputs, draws_of(4000))
    changed = (only_cut.inputs != inputs).any(dim=2).any(dim=1)
    assert changed.float().mean() == pytest.approx(0.25 * 8 / 9, abs=0.03)
    torch.testing.assert_close(
        (only_cut.inputs == inputs).all(dim=2).float().mean(dim=1), only_cut.share, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    found = symmetric_beta(alpha, draws_of(50_000)).double()
    assert ((found >= 0) & (found <= 1)).all()
    expected = torch.distributions.Beta(alpha, alpha)
    assert found.mean() == pytest.approx(0.5, abs=0.01)
    assert found.var() == pytest.approx(float(expected.variance), rel=0.03)
    kurtosis = ((found - 0.5) ** 4).mean() / found.var() ** 2
    assert kurtosis == pytest.approx(3 - 6 / (2 * alpha + 3), rel=0.03)


def test_runs_have_every_length_and_every_place() -> None:
    runs = random_runs(3, draws_of(20_000))
    codes = runs.long() @ torch.tensor([4, 2, 1])
    shares = torch.bincount(codes, minlength=8).double() / 20_000
    expected = [1 / 4, 1 / 12, 1 / 12, 1 / 8, 1 / 12, 0, 1 / 8, 1 / 4]
    assert shares.tolist() == pytest.approx(expected, abs=0.02)


def test_the_same_seed_mixes_alike_and_rows_of_a_rank_get_their_own_numbers() -> None:
    mixing = Mixing(0.4, 0.5)
    one, same, other = (mixing(marked(64), draws_of(64, seed)).inputs for seed in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other)
    half = symmetric_beta(0.4, Draws(3, 64, slice(32, 64), torch.device("cpu")))
    assert torch.equal(half, symmetric_beta(0.4, draws_of(64, 3))[32:])


def test_mixing_is_off_unless_it_is_asked_for() -> None:
    assert not Mixing().active and Mixing(0.4).active and Mixing(cutmix_share=0.1).active
    with pytest.raises(ConfigError) as caught:
        Mixing(mixup_alpha=1.5, cutmix_share=-0.1)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["mixup_alpha", "cutmix_share"]
