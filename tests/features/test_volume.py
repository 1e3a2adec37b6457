"""Volume beside its own trailing mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from moola.data.clock_channels import CLOCK_CHANNELS
from moola.errors import ConfigError, DataError
from moola.features.candles import OHLC
from moola.features.combined import Combined
from moola.features.volume import Volume
from moola.testing import check_transform

CHANNELS = (*OHLC, "volume")


def relative_volume(volume: list[float], **settings: float) -> list[float]:
    bars = torch.full((1, len(volume), 5), 3.0, dtype=torch.float64)
    bars[0, :, 4] = torch.tensor(volume, dtype=torch.float64)
    return Volume(**settings).apply(bars, CHANNELS)[0, :, 0].tolist()  # type: ignore[arg-type]


def test_it_is_read_off_by_hand() -> None:
    found = relative_volume([4, 12, 2, 0, 6], window_bars=2)
    np.testing.assert_allclose(found, np.log([4 / 4, 12 / 8, 2 / 7, 0.01, 6 / 3]), rtol=1e-12)


def test_nothing_traded_in_the_whole_window_is_a_bar_like_the_others() -> None:
    assert relative_volume([0, 0, 0]) == [0.0, 0.0, 0.0]


def test_the_unit_of_volume_is_not_in_it() -> None:
    volume = np.random.default_rng(0).lognormal(3, 2, size=50)
    np.testing.assert_allclose(relative_volume((volume * 1e-6).tolist()), relative_volume(volume.tolist()), rtol=1e-9)


def test_it_keeps_the_transform_suite() -> None:
    check_transform(Volume(), CHANNELS)
    check_transform(Volume(window_bars=7), ("volume",), n_bars=2)


def test_data_without_volume_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="needs a channel volume") as caught:
        Volume().output_channels(OHLC)
    assert "data.channels=[open,high,low,close,volume]" in caught.value.way_out
    assert "transform.parts" not in caught.value.way_out
    with pytest.raises(DataError) as caught:
        Volume().output_channels(("close", *CLOCK_CHANNELS))
    assert "data.channels=[close,volume]" in caught.value.way_out, "moola adds the others itself"


def test_a_part_that_lacks_its_channel_may_be_left_out() -> None:
    with pytest.raises(DataError, match="needs a channel volume") as caught:
        Combined(({"name": "log_returns"}, {"name": "volume"})).output_channels(OHLC)
    assert "data.channels=[open,high,low,close,volume]" in caught.value.way_out
    assert "transform.parts" in caught.value.way_out


def test_all_broken_settings_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Volume(window_bars=1, floor=1.0)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["window_bars", "floor"]
