"""Windows that look the same though they share no bar: copied data, or one event in two places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moola.data.bar_store import BarStore
from moola.data.window_index import WindowIndex

_MOST_PRODUCTS = 30_000_000_000
"""Multiplications worth a look: about two seconds."""
_PORTION = 2_048


@dataclass(frozen=True)
class DuplicatePair:
    """Two windows, by number, and how alike their shapes are: the correlation of all visible values."""

    first: int
    second: int
    correlation: float


@dataclass(frozen=True)
class NearDuplicates:
    """What a search found.

    Attributes:
        looked_at: windows whose like was looked for; no two of them share a bar.
        compared_with: windows among which it was looked for; fewer than there are where time is short.
        found: how many of those looked at have their like.
        across: how many of those have it across the border between training span and sealed test.
        threshold: smallest correlation that counts.
        pairs: each of those found with the window most like it, those across the border first; at most as many as
            asked for.
    """

    looked_at: int
    compared_with: int
    found: int
    across: int
    threshold: float
    pairs: tuple[DuplicatePair, ...]


def find_near_duplicates(
    store: BarStore,
    windows: WindowIndex,
    spans: np.ndarray | None = None,
    threshold: float = 0.999,
    max_windows: int = 2_000,
    max_compared: int = 50_000,
    shown: int = 20,
) -> NearDuplicates:
    """Compare the shapes of windows: each channel of the visible bars brought to mean 0 and length 1.

    Neither level nor scale counts, so a copy of prices is found in another currency too. Windows that share bars are
    never compared. Beyond the two limits an even choice is looked at, and a copy that no chosen window meets bar for
    bar goes unseen.

    Args:
        store: the bars.
        windows: where windows start.
        spans: String [n_windows], ``"train"``, ``"test"`` or ``"excluded"``; None where nothing is split.
        threshold: correlation from which two windows are near duplicates.
        max_windows: most windows whose like is looked for.
        max_compared: most windows among which it is looked for.
        shown: pairs to give back.
    """
    starts = np.asarray(windows.starts)
    wanted = _evenly(_disjoint(starts, windows.reach), max_windows)
    n_values = windows.visible * len(store.channels)
    others = _evenly(np.arange(len(starts)), min(max_compared, max(_MOST_PRODUCTS // (len(wanted) * n_values), 1)))
    sides = np.zeros(len(starts), dtype=np.int8) if spans is None else _sides(spans)
    best, across = _most_alike(store, windows, wanted, others, sides)
    is_across = across[1] >= threshold
    partner = np.where(is_across, across[0], best[0]).astype(np.int64)
    likeness = np.where(is_across, across[1], best[1])
    rows = np.flatnonzero(likeness >= threshold)
    order = rows[np.lexsort((-likeness[rows], ~is_across[rows]))]
    pairs = {
        (min(a, b), max(a, b)): DuplicatePair(min(a, b), max(a, b), round(float(value), 6))
        for a, b, value in zip(wanted[order].tolist(), partner[order].tolist(), likeness[order], strict=True)
    }
    return NearDuplicates(
        len(wanted), len(others), len(rows), int(is_across.sum()), threshold, tuple(pairs.values())[:shown]
    )


def _most_alike(
    store: BarStore, windows: WindowIndex, wanted: np.ndarray, others: np.ndarray, sides: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number and correlation, float64 [2, n_wanted], of the window most like each; then the same across the border."""
    starts = np.asarray(windows.starts)
    shapes = window_shapes(windows.gather(store.values, wanted))
    best, across = (np.stack([np.zeros(len(wanted)), np.full(len(wanted), -2.0)]) for _ in range(2))
    for begin in range(0, len(others), _PORTION):
        part = others[begin : begin + _PORTION]
        alike = shapes @ window_shapes(windows.gather(store.values, part)).T
        alike[np.abs(starts[wanted][:, None] - starts[part]) < windows.reach] = -2.0
        _improve(best, alike, part)
        alike[sides[wanted][:, None] * sides[part] >= 0] = -2.0
        _improve(across, alike, part)
    return best, across


def _improve(best: np.ndarray, alike: np.ndarray, part: np.ndarray) -> None:
    """Take over the most alike of a portion, float32 [n_wanted, n_part], where it beats the best so far."""
    column = alike.argmax(axis=1)
    value = alike[np.arange(len(alike)), column]
    better = value > best[1]
    best[0, better], best[1, better] = part[column[better]], value[better]


def _sides(spans: np.ndarray) -> np.ndarray:
    """int8 [n_windows]: 1 trains, -1 is sealed, 0 is neither."""
    return (spans == "train").astype(np.int8) - (spans == "test").astype(np.int8)


def _evenly(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _disjoint(starts: np.ndarray, reach: int) -> np.ndarray:
    """Numbers of windows of which none shares a bar with the one before it."""
    rows = [0]
    while (following := int(np.searchsorted(starts, starts[rows[-1]] + reach))) < len(starts):
        rows.append(following)
    return np.array(rows, dtype=np.int64)


def window_shapes(bars: np.ndarray) -> np.ndarray:
    """Unit vectors float32 [n, T * C]; a channel that never moves counts nothing, a window of such resembles none."""
    centred = bars.astype(np.float64) - bars.mean(axis=1, keepdims=True, dtype=np.float64)
    spread = centred.std(axis=1, keepdims=True)
    moves = spread > 1e-7 * np.abs(bars).max(axis=1, keepdims=True)  # less is the rounding of float32
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=moves).reshape(len(bars), -1)
    norm = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.divide(scaled, norm, out=scaled, where=norm > 0).astype(np.float32)
