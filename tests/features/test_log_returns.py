"""Log returns of candles."""

from __future__ import annotations

import numpy as np
import torch

from moola.features.candles import OHLC
from moola.features.log_returns import LogReturns
from moola.testing import check_transform
from moola.testing.transform_checks import random_bars


def test_they_are_their_definition() -> None:
    bars = random_bars(OHLC, 3, 30)
    outputs = LogReturns().apply(bars.double(), OHLC).numpy()
    logs = np.log(bars.numpy().astype(np.float64))
    assert not outputs[:, 0].any()
    np.testing.assert_allclose(outputs[:, 1:], logs[:, 1:] - logs[:, :-1], atol=1e-14)


def test_a_doubling_is_the_log_of_two() -> None:
    bars = torch.tensor([[[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]])
    torch.testing.assert_close(LogReturns().apply(bars, OHLC)[0, 1], torch.full((4,), float(np.log(2))))


def test_it_keeps_the_transform_suite() -> None:
    check_transform(LogReturns(), OHLC)
    check_transform(LogReturns(), ("volume", *OHLC), n_bars=3)
