"""Labelled windows that an encoder puts next to the one that is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

_SPARE = 20
"""Neighbours that are asked for beyond those shown, because windows that share bars are alike for no reason."""


class Nearest(Protocol):
    """An index of vectors."""

    def nearest(self, vector: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows int64 [k] and distances float32 [k] of the vectors next to `vector` float32 [E], the nearest first."""
        ...


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
    index: Nearest
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


class Exact:
    """Looks at every vector: standardised and compared by the cosine, as recurrent encoders point nearly one way.

    Args:
        vectors: [n, E].
    """

    def __init__(self, vectors: np.ndarray) -> None:
        spread = vectors.std(axis=0)
        self._mean, self._spread = vectors.mean(axis=0), np.where(spread > 0, spread, np.inf)
        self._unit = self._scaled(vectors)

    def nearest(self, vector: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Nearest.nearest`; distances are 1 minus the cosine."""
        distances = 1.0 - self._unit @ self._scaled(vector[None])[0]
        some = np.argpartition(distances, min(k, len(distances) - 1))[:k]
        rows = some[np.argsort(distances[some], kind="stable")]
        return rows, distances[rows]

    def _scaled(self, vectors: np.ndarray) -> np.ndarray:
        scaled = ((vectors - self._mean) / self._spread).astype(np.float32)
        length = np.linalg.norm(scaled, axis=1, keepdims=True)
        return np.divide(scaled, length, out=np.zeros_like(scaled), where=length > 0)
