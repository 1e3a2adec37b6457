"""Changes of sensor channels from bar to bar."""

from __future__ import annotations

import pytest
import torch

from moola.errors import DataError
from moola.features.candles import OHLC
from moola.features.combined import Combined
from moola.features.differences import Differences
from moola.features.source_channels import SourceChannels
from moola.testing import check_transform
from moola.testing.transform_checks import random_bars


def test_a_difference_is_to_the_bar_before_and_the_first_bar_has_none() -> None:
    bars = torch.tensor([[[1.0, 5.0], [4.0, 5.0], [2.0, 9.0]]])
    assert Differences().apply(bars, ("x", "y")).tolist() == [[[0.0, 0.0], [3.0, 0.0], [-2.0, 4.0]]]


def test_the_names_stand_beside_those_of_the_channels() -> None:
    both = Combined((SourceChannels(), Differences()))
    assert both.output_channels(("x", "y")) == ("x", "y", "difference_x", "difference_y")


def test_it_keeps_the_transform_suite() -> None:
    check_transform(Differences(), ("x", "y"))


def test_prices_are_refused_also_where_nobody_asked_for_names() -> None:
    with pytest.raises(DataError, match="prices as they are cannot be model inputs"):
        Differences().apply(random_bars(OHLC, 1, 3), OHLC)
