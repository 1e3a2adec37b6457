"""What describes a bar without naming its price level: the features that drift is judged on."""

from __future__ import annotations

import numpy as np

from moola.data.bar_store import BarStore
from moola.data.drift import Sample
from moola.schemas.bars import OHLC

_PAUSE = 8
"""A bar that follows a pause of more than this many median steps has no return."""


def drift_sample(store: BarStore, rows: np.ndarray, block_bars: int) -> Sample:
    """Features of some bars, and the block of time each belongs to.

    Candles give ``log_return`` (of the close), ``log_range`` (high over low), ``body`` (signed share of the range)
    and, where there is a volume, ``log_volume``; every other channel gives its level and its change. Blocks are
    counted on the calendar that all series share; a case without a calendar is a block of its own.

    Args:
        store: the bars.
        rows: int64 [n], ascending numbers of bars.
        block_bars: calendar positions in a block.
    """
    values = np.asarray(store.values[rows], dtype=np.float64)
    series = np.searchsorted(store.offsets, rows, side="right") - 1
    times = np.asarray(store.timestamps[rows])
    follows = _follows(times, series)
    columns = {name: values[:, number] for number, name in enumerate(store.channels)}
    features: dict[str, np.ndarray] = {}
    if set(OHLC) <= set(columns):
        opened, high, low, close = (columns.pop(name) for name in OHLC)
        spread = high - low
        features["log_return"] = _change(np.log(close), follows)
        features["log_range"] = np.log(high / low)
        features["body"] = np.divide(close - opened, spread, out=np.zeros_like(close), where=spread > 0)
    if "volume" in columns:
        features["log_volume"] = np.log1p(columns.pop("volume"))
    for name, column in columns.items():
        features[name] = column
        features[f"change_{name}"] = _change(column, follows)
    block = series if store.independent else np.searchsorted(store.calendar(), times) // block_bars
    return Sample(features, block)


def _follows(times: np.ndarray, series: np.ndarray) -> np.ndarray:
    """Bool [n]: the bar before is of the same series and not long ago."""
    step = np.diff(times)
    same = np.diff(series) == 0
    usual = np.median(step[same]) if same.any() else 0.0
    return np.concatenate([[False], same & (step <= _PAUSE * usual)])


def _change(values: np.ndarray, follows: np.ndarray) -> np.ndarray:
    return np.where(follows, np.diff(values, prepend=np.nan), np.nan)
