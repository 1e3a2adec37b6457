"""Labelled windows that an encoder puts next to the one that is looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moola.labels.neighbours import Neighbours

_SPARE = 20
"""Neighbours that are asked for beyond those shown, because windows that share bars are alike for no reason."""


@dataclass(frozen=True)
class LabelledSpace:
    """Where windows of the queue lie.

    Attributes:
        vectors: float32 [n, E], of windows of the queue in its order.
        starts: int64 [n], first bar of each.
        reach: bars that a window spans: nearer ones overlap.
        index: of the same vectors.
        name: what the space is, for the page.
    """

    vectors: np.ndarray
    starts: np.ndarray
    reach: int
    index: Neighbours
    name: str

    def around(self, position: int, k: int = 5) -> list[tuple[int, float]]:
        """Position and distance of the `k` nearest windows that share no bar with this one."""
        rows, distances = self.index.nearest(self.vectors[position], min(k + _SPARE, len(self.vectors)))
        apart = np.abs(self.starts[rows] - self.starts[position]) >= self.reach
        return list(zip(rows[apart][:k].tolist(), distances[apart][:k].tolist(), strict=True))


def shape_vectors(bars: np.ndarray) -> np.ndarray:
    """Vectors of windows where no encoder has learned any: each channel brought to mean 0 and deviation 1.

    Args:
        bars: [n, T, C].

    Returns:
        float32 [n, T * C]; a channel that never moves is 0.
    """
    centred = bars - bars.mean(axis=1, keepdims=True, dtype=np.float64)
    spread = centred.std(axis=1, keepdims=True)
    moves = spread > 1e-7 * np.abs(bars).max(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=moves).reshape(len(bars), -1).astype(np.float32)
