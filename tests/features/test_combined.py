"""Several transforms side by side."""

from __future__ import annotations

import pytest
import torch

from moola.config import describe
from moola.errors import ConfigError, DataError
from moola.features import TRANSFORMS
from moola.features.anchored import Anchored
from moola.features.candles import OHLC
from moola.features.combined import Combined
from moola.features.relative import RelativeTransform
from moola.features.volatility import Volatility
from moola.testing import check_transform
from moola.testing.transform_checks import random_bars

CHANNELS = (*OHLC, "volume", "minute_of_day", "day_of_week")
SECTIONS = [{"name": name} for name in ("relative", "volatility", "volume", "time_of_day")]


def test_outputs_stand_side_by_side_in_the_order_of_the_parts() -> None:
    bars = random_bars(CHANNELS, 3, 30)
    built = TRANSFORMS.build("combined", {"parts": SECTIONS}, "transform")
    parts = [TRANSFORMS.build_section(section, "transform") for section in SECTIONS]
    expected = torch.cat([part.apply(bars, CHANNELS) for part in parts], dim=-1)
    assert torch.equal(built.apply(bars, CHANNELS), expected)
    names = tuple(name for part in parts for name in part.output_channels(CHANNELS))
    assert built.output_channels(CHANNELS) == names
    assert [names[i] for i in built.summary_channels(CHANNELS)] == [
        *("zscore_close", "volatility_realised", "volume_relative", "day_sin", "day_cos")
    ]


def test_a_name_that_two_parts_share_tells_which_part() -> None:
    names = Combined((RelativeTransform(), RelativeTransform(window_bars=5), Volatility())).output_channels(OHLC)
    assert len(set(names)) == 25
    assert names[0] == "part0_log_return_open" and names[11] == "part1_log_return_open"
    assert names[-1] == "volatility_garman_klass"


def test_it_says_what_its_parts_say() -> None:
    bar = Combined((RelativeTransform(), Volatility(window_bars=50)))
    window = Combined((RelativeTransform(), Anchored()))
    assert (bar.causality, bar.memory_bars, bar.scale_invariant) == ("bar", 51, True)
    assert (window.causality, window.memory_bars) == ("window", None)


def test_it_keeps_the_transform_suite() -> None:
    check_transform(Combined(tuple(SECTIONS)), CHANNELS)
    check_transform(Combined((Anchored(), RelativeTransform())), OHLC)


def test_its_description_holds_the_parts_so_that_a_change_of_one_changes_the_key() -> None:
    described = describe(Combined(({"name": "relative", "window_bars": 7},)))
    assert described["parts"][0]["class"] == "moola.features.relative:RelativeTransform"
    assert described["parts"][0]["window_bars"] == 7


def test_all_problems_of_all_parts_are_named_in_one_go() -> None:
    with pytest.raises(ConfigError) as caught:
        TRANSFORMS.build(
            "combined",
            {"parts": [{"name": "relativ"}, {"name": "volatility", "window": 3}, {"name": "scaled"}, "volume"]},
            "transform",
        )
    text = str(caught.value)
    assert "transform.parts[0]: there is no transform named 'relativ'; did you mean 'relative'" in text
    assert "transform.parts[1].window: unknown key" in text
    assert "transform.parts[3]: 'volume' must be a group of keys" in text


@pytest.mark.parametrize(("parts", "says"), [((), "at least one"), (({"name": "scaled"},), "has to be fitted")])
def test_parts_that_cannot_be_combined_are_refused(parts: tuple, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Combined(parts)


def test_what_every_part_misses_in_the_data_is_named_in_one_go() -> None:
    with pytest.raises(DataError) as caught:
        Combined(tuple(SECTIONS)).output_channels(OHLC)
    assert "needs a channel volume" in caught.value.why and "local time" in caught.value.why
    assert "data.clock_timezone=" in caught.value.way_out
