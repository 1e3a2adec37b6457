"""A transform that is fitted to training windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from moola.errors import ConfigError, DataError, MoolaError
from moola.features import Fittable
from moola.features.anchored import Anchored
from moola.features.candles import OHLC
from moola.features.combined import Combined
from moola.features.differences import Differences
from moola.features.relative import RelativeTransform
from moola.features.scaled import Scaled, Scaling
from moola.features.source_channels import SourceChannels
from moola.features.volatility import Volatility
from moola.testing import check_transform
from moola.testing.transform_checks import random_bars


def test_centre_and_scale_are_median_and_interquartile_range_of_the_training_windows() -> None:
    bars = random_bars(OHLC, 40, 30)
    fitted = Scaled(Volatility()).fit([bars], OHLC)
    values = Volatility().apply(bars, OHLC).numpy().astype(np.float64).reshape(-1, 3)
    lower, centre, upper = np.percentile(values, [25, 50, 75], axis=0)
    np.testing.assert_allclose(fitted.centre, centre, rtol=1e-12)
    np.testing.assert_allclose(fitted.scale, upper - lower, rtol=1e-12)
    outputs = fitted.apply(bars, OHLC).double().reshape(-1, 3).numpy()
    np.testing.assert_allclose(np.median(outputs, axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.subtract(*np.percentile(outputs, [75, 25], axis=0)), 1.0, rtol=1e-5)


def test_other_windows_are_scaled_by_the_numbers_of_the_training_windows() -> None:
    fitted = Scaled(SourceChannels()).fit([torch.tensor([[[0.0], [1.0], [2.0], [3.0], [4.0]]])], ("x",))
    assert (fitted.centre, fitted.scale) == ((2.0,), (2.0,))
    assert fitted.apply(torch.tensor([[[2.0], [6.0], [1000.0], [-1000.0]]]), ("x",)).flatten().tolist() == [
        0,
        2,
        10,
        -10,
    ]


def test_an_output_that_is_mostly_one_number_keeps_its_own_unit() -> None:
    bars = torch.zeros(1, 20, 1)
    bars[0, 7] = 3.0
    fitted = Scaled().fit([bars], ("x",))
    assert fitted.scale == (1.0,) and torch.equal(fitted.apply(bars, ("x",)), bars)


def test_by_moments_the_numbers_are_mean_and_standard_deviation() -> None:
    bars = torch.tensor([[[0.0, 7.1], [0.0, 7.1], [0.0, 7.1], [8.0, 7.1]]])
    fitted = Scaled(by="moments").fit([bars], ("x", "still"))
    assert fitted.centre == (2.0, float(np.float32(7.1)))
    assert fitted.scale == (pytest.approx(12**0.5), 1.0)
    assert Scaled().fit([bars], ("x", "still")).scale == (2.0, 1.0)


def test_a_few_wild_bars_move_nothing_much() -> None:
    bars = random_bars(("x",), 50, 40)
    wild = bars.clone()
    wild[::10, 3] = 1e9
    calm, moved = (Scaled().fit([some], ("x",)) for some in (bars, wild))
    assert moved.scale[0] == pytest.approx(calm.scale[0], rel=0.05)


@pytest.mark.parametrize(
    ("transform", "channels"),
    [
        (Scaled(), ("x", "y")),
        (Scaled(Combined((SourceChannels(), Differences())), by="moments"), ("x", "y")),
        (Scaled(RelativeTransform()), OHLC),
        (Scaled({"name": "anchored"}, clip=5.0), OHLC),
        (Scaled(Combined((RelativeTransform(), Volatility()))), (*OHLC, "volume")),
    ],
)
def test_it_keeps_the_transform_suite_fitted_and_before(transform: Scaled, channels: tuple[str, ...]) -> None:
    check_transform(transform, channels)


def test_the_unfitted_one_says_so_and_the_fitted_one_is_an_ordinary_transform() -> None:
    with pytest.raises(DataError, match="transform=scaled is not fitted"):
        Scaled(Anchored()).apply(random_bars(OHLC, 1, 5), OHLC)
    assert isinstance(Scaled(), Fittable)
    assert not isinstance(Scaled(Anchored()).fit([random_bars(OHLC, 4, 5)], OHLC), Fittable)


def test_prices_as_they_are_are_refused_inside_it_too() -> None:
    with pytest.raises(DataError, match="prices as they are cannot be model inputs") as caught:
        Scaled().fit([random_bars(OHLC, 4, 5)], OHLC)
    assert "transform.of.name=relative" in caught.value.way_out


@pytest.mark.parametrize("portions", [[], [torch.zeros(0, 5, 1)]])
def test_no_training_windows_are_refused(portions: list[torch.Tensor]) -> None:
    with pytest.raises(DataError, match="no training window"):
        Scaled().fit(portions, ("x",))


def test_training_windows_that_are_not_finite_are_refused_by_name() -> None:
    bars = random_bars(("x", "y"), 3, 5)
    bars[1, 2, 1] = torch.nan
    with pytest.raises(DataError, match="not finite in y"):
        Scaled().fit([bars], ("x", "y"))


def test_a_fit_of_other_channels_is_not_applied() -> None:
    fitted = Scaled().fit([random_bars(("x", "y"), 3, 5)], ("x", "y"))
    with pytest.raises(DataError, match="fitted on x, y; the data gives x, z"):
        fitted.apply(random_bars(("x", "z"), 3, 5), ("x", "z"))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Scaled(clip=0.0),
        lambda: Scaled(Scaled()),
        lambda: Scaled({"name": "nothing"}),
        lambda: Scaling(SourceChannels(), ("x",), (0.0, 1.0), (1.0,), 10.0),
        lambda: Scaling(SourceChannels(), ("x",), (0.0,), (0.0,), 10.0),
    ],
)
def test_settings_that_make_no_sense_are_refused(build) -> None:
    with pytest.raises(MoolaError) as caught:
        build()
    assert isinstance(caught.value, ConfigError)
