"""How much prices move a bar, estimated three ways over the last bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moola.config import reject
from moola.features import Causality
from moola.features.candles import candle_columns, log_candles
from moola.features.rolling import lag, rolling_mean, rolling_sum


@dataclass(frozen=True)
class Volatility:
    """Volatility of a bar in natural-log units (the root of a mean variance), causal, expanding at the start.

    With O, H, L, C natural logs of the prices and the means over the last `window_bars` bars:

    - ``volatility_realised``: ``sqrt(mean((C_t - C_{t-1})^2))``, no mean return taken off (Andersen, Bollerslev,
      Diebold & Labys 2003, "Modeling and forecasting realized volatility", Econometrica 71(2)); 0 at t = 0, where
      there is no return.
    - ``volatility_parkinson``: ``sqrt(mean((H - L)^2) / (4 log 2))`` (Parkinson 1980, "The extreme value method for
      estimating the variance of the rate of return", The Journal of Business 53(1)).
    - ``volatility_garman_klass``: ``sqrt(mean((H - L)^2 / 2 - (2 log 2 - 1) (C - O)^2))``, the practical estimator of
      Garman & Klass 1980, "On the estimation of security price volatilities from historical data", The Journal of
      Business 53(1).

    The last two use the inside of bars alone, so they do not see a jump from one bar to the next. All are about 1e-3
    for minute bars: ``transform=scaled`` around them brings them to the size of 1.

    Attributes:
        window_bars: bars of the means.
    """

    window_bars: int = 20
    causality: ClassVar[Causality] = "bar"
    scale_invariant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        reject((self.window_bars < 1, f"window_bars: {self.window_bars} must be at least 1"))

    @property
    def memory_bars(self) -> int:
        """The window, and the close before it."""
        return self.window_bars + 1

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the 3 outputs."""
        candle_columns(channels, "volatility")
        return ("volatility_realised", "volatility_parkinson", "volatility_garman_klass")

    def apply(self, bars: Tensor, channels: tuple[str, ...]) -> Tensor:
        """[B, T, C] -> [B, T, 3]; computed in float64."""
        logs = log_candles(bars, channels, "volatility")
        opened, high, low, close = logs.split(1, dim=-1)
        spread, inside = (high - low).square(), (close - opened).square()
        variances = torch.cat(
            [
                self._realised(close),
                rolling_mean(spread, self.window_bars) / (4 * math.log(2)),
                rolling_mean(spread / 2 - (2 * math.log(2) - 1) * inside, self.window_bars),
            ],
            dim=-1,
        )
        return variances.clamp_min(0.0).sqrt().to(bars.dtype)  # below 0 only where a candle is broken

    def summary_channels(self, channels: tuple[str, ...]) -> tuple[int, ...]:
        """The realised one."""
        return (0,)

    def _realised(self, close: Tensor) -> Tensor:
        """Mean squared return; bar 0 has none, so bar t has t of them until the window is full."""
        returns = close - lag(close, 1)
        returns[:, 0] = 0.0
        number = torch.arange(close.shape[1], device=close.device, dtype=close.dtype).clamp(1, self.window_bars)
        return rolling_sum(returns.square(), self.window_bars) / number[:, None]
