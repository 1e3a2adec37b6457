"""Sensor channels unchanged."""

from __future__ import annotations

import pytest
import torch

from moola.errors import DataError
from moola.features.candles import OHLC
from moola.features.source_channels import SourceChannels
from moola.testing import check_transform
from moola.testing.transform_checks import random_bars


def test_it_changes_nothing_and_copies() -> None:
    bars = random_bars(("x", "y"), 2, 6)
    outputs = SourceChannels().apply(bars, ("x", "y"))
    assert torch.equal(outputs, bars) and outputs.data_ptr() != bars.data_ptr()


def test_it_keeps_the_transform_suite() -> None:
    check_transform(SourceChannels(), ("x", "y"))


@pytest.mark.parametrize("channels", [OHLC, ("x", "close")])
def test_prices_are_refused_also_where_nobody_asked_for_names(channels: tuple[str, ...]) -> None:
    for use in (
        SourceChannels().output_channels,
        lambda names: SourceChannels().apply(random_bars(names, 1, 3), names),
    ):
        with pytest.raises(DataError, match="prices as they are cannot be model inputs"):
            use(channels)
