"""Weak labels from a formula: consolidation or retracement, from the shape of the candles alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from moola.config import reject
from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex
from moola.errors import ConfigError, DataError
from moola.features.candles import OHLC, candle_columns
from moola.labels import WindowLabels

CLASSES = ("consolidation", "retracement")


@dataclass(frozen=True)
class StructureRule:
    """A retracement undoes a large move; a consolidation stays where it is; everything else has no label.

    On natural logs of prices, with TR the mean of log high - log low over the visible bars, ``move`` the change of
    the close over the context (bar 0 to the bar before the zone) and ``net`` over the zone, ``range`` the highest
    high minus the lowest low in the zone:

    1. retracement if ``|move| > move_tr TR`` and move and net have opposite signs and ``|net| > undone |move|``;
    2. else consolidation if ``range < range_tr TR`` and ``|net| < net_tr TR``;
    3. else none.
    """

    move_tr: float = 3.2
    undone: float = 0.35
    range_tr: float = 7.0
    net_tr: float = 2.0

    def __post_init__(self) -> None:
        limits = {"move_tr": self.move_tr, "undone": self.undone, "range_tr": self.range_tr, "net_tr": self.net_tr}
        reject(*((value <= 0, f"{name}: {value} must be positive") for name, value in limits.items()))

    def fingerprint(self) -> str:
        """Nothing is read from outside."""
        return ""

    def check_zone(self, zone: tuple[int, int], visible: int) -> None:
        """Refuse windows whose zone has no context, or is not seen whole.

        Raises:
            ConfigError: with a zone that suits the visible bars.
        """
        first, end = zone
        if first >= 1 and end <= visible:
            return
        seen = min(end, visible)
        before = first * seen // end if first else 2 * seen // 5  # as much of the window as it has, or by default
        ways = [f"give data.window.zone=[{max(before, 1)},{seen}]"]
        ways += [f"data.window.visible={end}"] if first and end > visible else []
        raise ConfigError(
            [
                "task.labels=structure_rule needs bars before the zone, and sees the zone whole; here are "
                f"data.window.zone={[first, end]} and {visible} visible bars"
            ],
            ", or ".join([*ways, "another task"]),
        )

    def label(self, store: BarStore, windows: WindowIndex, table: pl.DataFrame) -> WindowLabels:
        """Label every window.

        Raises:
            ConfigError: as `check_zone`.
            DataError: the data has no candles.
        """
        missing = [name for name in OHLC if name not in store.channels]
        if missing:
            raise DataError(
                "task.labels=structure_rule needs candles",
                f"the data has no channel {', '.join(missing)}; it has {', '.join(store.channels)}",
                "work without labels (task=unlabelled), or give your own: task=label_file task.path=FILE",
            )
        self.check_zone(windows.zone, windows.visible)
        logs = np.log(np.asarray(store.values[:, candle_columns(store.channels, "structure_rule")], dtype=np.float64))
        kinds = np.concatenate([self._kinds(chunk) for chunk in _chunks(logs, windows)])
        names = pl.Series([CLASSES[kind] if kind >= 0 else None for kind in kinds], dtype=pl.String)
        return WindowLabels(names, CLASSES, from_rule=True)

    def _kinds(self, chunk: tuple[np.ndarray, tuple[int, int]]) -> np.ndarray:
        """Class numbers [n] of windows [n, visible, 4], -1 for none."""
        logs, (first, end) = chunk
        high, low, close = (logs[..., OHLC.index(name)] for name in ("high", "low", "close"))
        unit = (high - low).mean(axis=1)
        move = close[:, first - 1] - close[:, 0]
        net = close[:, end - 1] - close[:, first]
        span = high[:, first:end].max(axis=1) - low[:, first:end].min(axis=1)
        retraced = (np.abs(move) > self.move_tr * unit) & (move * net < 0) & (np.abs(net) > self.undone * np.abs(move))
        quiet = (span < self.range_tr * unit) & (np.abs(net) < self.net_tr * unit)
        return np.where(retraced, 1, np.where(quiet, 0, -1))


def _chunks(logs: np.ndarray, windows: WindowIndex, size: int = 4096) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """Windows in portions, so that millions of them never stand in memory together."""
    which = np.arange(len(windows))
    return [(windows.gather(logs, which[i : i + size]), windows.zone) for i in range(0, len(which), size)]
