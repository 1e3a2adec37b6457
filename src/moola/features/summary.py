"""A handful of numbers a person could read off a chart: the bar that any learned representation has to clear."""

from __future__ import annotations

import numpy as np


def summarise(
    inputs: np.ndarray, channels: tuple[int, ...], spans: tuple[tuple[int, int], ...], *, moments: bool = False
) -> np.ndarray:
    """Three features a span and channel, or five.

    - net change: last value minus first;
    - its size, whatever its sign;
    - range: largest value minus smallest;
    - with `moments` the mean, and the standard deviation. A price has no level of its own, but what sensors say has.

    Six features for a candle window (context and zone, level of the close), ten a channel for others.

    Args:
        inputs: float [n_windows, n_bars, n_inputs], transformed; the features are in their units.
        channels: inputs to summarise.
        spans: first and past-the-end bar of each span.
        moments: whether mean and standard deviation are among them.

    Returns:
        float64 [n_windows, (5 if moments else 3) * len(spans) * len(channels)].
    """
    parts: list[np.ndarray] = []
    for first, end in spans:
        level = inputs[:, first:end, list(channels)].astype(np.float64)
        net = level[:, -1] - level[:, 0]
        parts += [net, np.abs(net), level.max(axis=1) - level.min(axis=1)]
        parts += [level.mean(axis=1), level.std(axis=1)] if moments else []
    return np.concatenate(parts, axis=1)


def summary_spans(visible: int, zone: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """What comes before the zone and the zone itself, as far as both are visible; else the two halves."""
    first, end = zone[0], min(zone[1], visible)
    if first >= 2 and end - first >= 2:
        return ((0, first), (first, end))
    half = visible // 2
    return ((0, half), (half, visible))
