"""Every augmentation keeps the public suite, and does to candles and sensors what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from moola.augment import AUGMENTATIONS, Augmentation, AugmentSection, chain
from moola.augment.bar_dropout import BarDropout
from moola.augment.channel_dropout import ChannelDropout
from moola.augment.jitter import Jitter
from moola.augment.permutation import Permutation
from moola.augment.scaling import Scaling
from moola.augment.time_warp import TimeWarp
from moola.augment.volatility import Volatility
from moola.data.channel_names import CLOCK_CHANNELS
from moola.data.draws import Draws
from moola.errors import ConfigError
from moola.features.candles import OHLC
from moola.testing import check_augment
from moola.testing.augment_checks import CANDLES, broken
from moola.testing.transform_checks import random_bars

SENSORS = ("left", "right", "up")
OF_CANDLES = (
    (Jitter(), Jitter(0.0)),
    (Jitter(0.8), None),
    (Scaling(), Scaling(0.0)),
    (Volatility(), Volatility(0.0)),
    (TimeWarp(), TimeWarp(0.0)),
    (TimeWarp(2.0, knots=1), TimeWarp(0.0, knots=1)),
    (Permutation(), Permutation(1)),
    (BarDropout(), BarDropout(0.0)),
)


def draws_of(n_windows: int, seed: int = 0) -> Draws:
    return Draws(seed, n_windows, slice(None), torch.device("cpu"))


def test_every_name_is_checked_below() -> None:
    checked = {type(augmentation) for augmentation, _ in OF_CANDLES} | {ChannelDropout}
    assert {AUGMENTATIONS.get(name) for name in AUGMENTATIONS.built_in} == checked


@pytest.mark.parametrize(("augmentation", "off"), OF_CANDLES, ids=lambda one: str(one))
def test_the_suite_holds_on_candles(augmentation: Augmentation, off: Augmentation | None) -> None:
    check_augment(augmentation, off=off)


@pytest.mark.parametrize(
    ("augmentation", "off"), [*OF_CANDLES, (ChannelDropout(), ChannelDropout(0.0))], ids=lambda one: str(one)
)
def test_the_suite_holds_on_sensors(augmentation: Augmentation, off: Augmentation | None) -> None:
    check_augment(augmentation, SENSORS, off=off)


@given(
    data=st.data(),
    seed=st.integers(0, 10_000),
    n_bars=st.integers(1, 12),
    which=st.sampled_from([augmentation for augmentation, _ in OF_CANDLES]),
)
def test_whatever_the_candles_they_stay_candles(
    data: st.DataObject, seed: int, n_bars: int, which: Augmentation
) -> None:
    price = st.floats(2.0**-20, 2.0**30, width=32)
    prices = torch.tensor(
        data.draw(st.lists(st.lists(price, min_size=4, max_size=4), min_size=n_bars, max_size=n_bars))
    )
    volume = torch.tensor(data.draw(st.lists(st.floats(0, 2.0**30, width=32), min_size=n_bars, max_size=n_bars)))
    low, high = prices.amin(dim=1), prices.amax(dim=1)  # any four prices are a candle once its extremes are named
    bars = torch.stack([prices[:, 0], high, low, prices[:, 3], volume], dim=1)[None]
    changed = which.apply(bars, CANDLES[:5], draws_of(1, seed))
    assert broken(bars, changed, CANDLES[:5]) is None


def test_jitter_is_in_units_of_the_windows_own_spread_of_log_returns() -> None:
    bars = random_bars(OHLC, 400, 75).double()
    moved = (Jitter(0.05).apply(bars, OHLC, draws_of(400)) / bars).log()[..., [0, 3]]  # open and close are not ordered
    returns = torch.diff(bars[..., 3].log(), dim=1, prepend=bars[:, :1, 3].log())
    unit = returns.std(dim=1, correction=0)[:, None, None]
    assert float((moved / unit).std()) == pytest.approx(0.05, rel=0.02)
    assert float((moved / unit).mean()) == pytest.approx(0.0, abs=0.002)


def test_a_window_that_never_moves_gets_no_noise() -> None:
    bars = torch.full((3, 20, 4), 0.1)
    assert torch.equal(Jitter(0.8).apply(bars, OHLC, draws_of(3)), bars)
    assert torch.equal(Jitter(0.8).apply(bars, ("a", "b", "c", "d"), draws_of(3)), bars)


def test_scaling_moves_log_distances_from_the_last_close_by_one_factor_a_window() -> None:
    bars = random_bars(OHLC, 300, 30).double()
    changed = Scaling(0.1).apply(bars, OHLC, draws_of(300))
    assert torch.equal(changed[:, -1, 3], bars[:, -1, 3])
    distance, other = ((some / some[:, -1:, 3:]).log() for some in (bars, changed))
    factor = (other / distance)[:, :-1]
    torch.testing.assert_close(factor, factor[:, :1, :1].expand_as(factor))
    assert float(factor[:, 0, 0].log().std()) == pytest.approx(0.1, rel=0.15)


def test_volatility_widens_and_narrows_bars_around_closes_that_stay() -> None:
    bars = random_bars(OHLC, 500, 30).double()
    changed = Volatility(0.15).apply(bars, OHLC, draws_of(500))
    assert torch.equal(changed[..., 3], bars[..., 3])
    ranges, others = ((some[..., 1] / some[..., 2]).log() for some in (bars, changed))
    factor = others / ranges
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
    assert 0.85 <= float(factor.min()) < 0.86 and 1.14 < float(factor.max()) <= 1.15


def test_volatility_of_sensors_keeps_a_straight_line() -> None:
    line = torch.arange(20.0)[None, :, None].expand(4, 20, 2)
    changed = Volatility(0.5).apply(line, ("a", "b"), draws_of(4))
    torch.testing.assert_close(changed[:, 1:-1], line[:, 1:-1])


def test_lost_bars_are_flat_at_the_last_close_and_without_trade() -> None:
    bars = random_bars(CANDLES, 50, 40)
    changed = BarDropout(0.3).apply(bars, CANDLES, draws_of(50))
    lost = (changed[..., :5] != bars[..., :5]).any(dim=-1)
    assert 0.2 < float(lost.float().mean()) < 0.4 and not lost[:, 0].any()
    flat = changed[..., :4][lost]
    assert torch.equal(flat, flat[:, :1].expand_as(flat)) and not changed[..., 4][lost].any()
    assert torch.equal(changed[:, 1:, 3][lost[:, 1:]], changed[:, :-1, 3][lost[:, 1:]])


def test_channels_are_dropped_to_their_mean_as_often_as_asked_and_never_all() -> None:
    bars = random_bars(SENSORS, 2000, 5)
    dropped = (ChannelDropout(0.2).apply(bars, SENSORS, draws_of(2000)) != bars).any(dim=1)
    assert float(dropped.float().mean()) == pytest.approx(0.2, abs=0.02)
    everything = ChannelDropout(1.0).apply(bars, SENSORS, draws_of(2000))
    assert torch.equal((everything != bars).any(dim=1).sum(dim=1), torch.full((2000,), 2))
    torch.testing.assert_close(everything.mean(dim=1), bars.mean(dim=1))
    assert torch.equal(ChannelDropout(1.0).apply(bars[..., :1], SENSORS[:1], draws_of(2000)), bars[..., :1])
    clocked = ChannelDropout(1.0).apply(bars, ("left", "volume", CLOCK_CHANNELS[0]), draws_of(2000))
    assert torch.equal(clocked, bars)  # a volume and a clock do not make up for the only sensor


def test_permuted_candles_begin_where_the_last_one_closed_and_end_at_the_same_close() -> None:
    bars = random_bars(CANDLES, 40, 30)
    bars[:, 1:, 0] = bars[:, :-1, 3]  # no gaps
    bars[..., 1], bars[..., 2] = bars[..., [0, 1, 3]].amax(dim=-1), bars[..., [0, 2, 3]].amin(dim=-1)
    changed = Permutation(6).apply(bars, CANDLES, draws_of(40))
    torch.testing.assert_close(changed[:, 1:, 0], changed[:, :-1, 3], rtol=1e-6, atol=0)
    torch.testing.assert_close(changed[:, -1, 3], bars[:, -1, 3], rtol=1e-6, atol=0)
    ranges, others = ((some[..., 1] / some[..., 2]).sort(dim=1).values for some in (bars, changed))
    torch.testing.assert_close(others, ranges, rtol=1e-6, atol=0)
    assert torch.equal(changed[..., 4].sort(dim=1).values, bars[..., 4].sort(dim=1).values)


@given(seed=st.integers(0, 1000), n_bars=st.integers(1, 40), segments=st.integers(1, 8))
def test_a_permutation_moves_whole_pieces(seed: int, n_bars: int, segments: int) -> None:
    ramp = torch.arange(float(n_bars))[None, :, None].expand(7, n_bars, 1)
    order = Permutation(segments).apply(ramp, ("x",), draws_of(7, seed))[..., 0]
    assert torch.equal(order.sort(dim=1).values, ramp[..., 0])
    assert int((order.diff(dim=1) != 1).sum(dim=1).max()) < segments


def test_they_act_in_the_order_of_their_list_and_none_is_no_function() -> None:
    bars = random_bars(OHLC, 5, 20)
    both = chain([Jitter(), Scaling()], OHLC)
    assert both is not None and chain([], OHLC) is None
    draws = draws_of(5)
    expected = Scaling().apply(Jitter().apply(bars, OHLC, draws), OHLC, draws)
    assert torch.equal(both(bars, draws_of(5)), expected)


def test_the_shipped_lists_can_be_built_and_keep_candles() -> None:
    for path in sorted((Path(__file__).parents[2] / "configs" / "augment").glob("*.yaml")):
        section = AugmentSection.from_config(OmegaConf.to_container(OmegaConf.load(path)))  # type: ignore[arg-type]
        for augmentations in (section.pretrain, section.finetune):
            augment = chain(augmentations, CANDLES)
            assert (augment is None) == (path.stem == "none")
            bars = random_bars(CANDLES, 20, 75)
            assert augment is None or broken(bars, augment(bars, draws_of(20)), CANDLES) is None


def test_all_problems_of_a_section_are_told_in_one_go() -> None:
    section = {
        "pretrain": [{"name": "jitter", "scale": -1.0}, {"name": "time_wrap"}],
        "finetune": [{"name": "volatility", "scale": 1.0}, {"name": "permutation", "segments": 0}],
    }
    with pytest.raises(ConfigError) as caught:
        AugmentSection.from_config(section)
    told = "\n".join(caught.value.problems)
    for part in ("pretrain[0].scale", "time_warp", "finetune[0].scale", "finetune[1].segments"):
        assert part in told
    with pytest.raises(ConfigError, match="probability"):
        BarDropout(1.5)
    with pytest.raises(ConfigError, match="probability"):
        ChannelDropout(-0.1)
    with pytest.raises(ConfigError, match="knots"):
        TimeWarp(knots=0)
