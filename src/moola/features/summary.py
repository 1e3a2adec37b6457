"""A handful of numbers a person could read off a chart: the bar that any learned representation has to clear."""

from __future__ import annotations

import numpy as np


def summarise(inputs: np.ndarray, channels: tuple[int, ...], spans: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Three features a span and channel: net change, its size, and the range between the extremes.

    Six features for a candle window (context and zone, level of the close).

    Args:
        inputs: float [n_windows, n_bars, n_inputs], transformed.
        channels: inputs to summarise.
        spans: first and past-the-end bar of each span.

    Returns:
        float64 [n_windows, 3 * len(spans) * len(channels)].
    """
    parts: list[np.ndarray] = []
    for first, end in spans:
        level = inputs[:, first:end, list(channels)].astype(np.float64)
        net = level[:, -1] - level[:, 0]
        parts += [net, np.abs(net), level.max(axis=1) - level.min(axis=1)]
    return np.concatenate(parts, axis=1)


def summary_spans(visible: int, zone: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """What comes before the zone and the zone itself, as far as both are visible; else the two halves."""
    first, end = zone[0], min(zone[1], visible)
    if first >= 2 and end - first >= 2:
        return ((0, first), (first, end))
    half = visible // 2
    return ((0, half), (half, visible))
