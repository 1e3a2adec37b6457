"""More windows like one, among all of a run: where its embeddings are on disk (``moola encoders embed --index``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moola.data.window_index import WindowIndex
from moola.errors import DataError, StorageError
from moola.labels.neighbours import MOST_EXACT, Neighbours

SHOWN = 12
"""Windows that are like one."""
_FIRST_ASKED, _MORE = 64, 8
"""Nearest vectors that are looked at, and how many times as many where too few of them lie apart."""
_PROBED, _NEAREST, _SAME = 5, 10, 0.01
"""Vectors that an index is asked for, the nearest that each has to be among, and what bfloat16 makes of no distance."""


@dataclass(frozen=True)
class EmbeddedWindows:
    """Where all windows of a run lie.

    Attributes:
        vectors: float32 [n_windows, E], in the order of the windows table; may be mapped from its file.
        starts: int64 [n_windows], first bar of each.
        reach: bars that a window spans: nearer ones overlap.
        index: of the same vectors.
    """

    vectors: np.ndarray
    starts: np.ndarray
    reach: int
    index: Neighbours

    def like(self, row: int, k: int = SHOWN) -> list[tuple[int, float]]:
        """Number and distance of the nearest windows that share no bar with this one nor with each other.

        Where windows begin a bar apart, hundreds of the nearest overlap, so more are asked for until there are `k`.

        Args:
            row: number of the window.
            k: how many; fewer where the run is too short.
        """
        asked = min(_FIRST_ASKED, len(self.vectors))
        while True:
            found = self._apart(row, *self.index.nearest(self.vectors[row], asked), k)
            if len(found) == k or asked == len(self.vectors):
                return found
            asked = min(asked * _MORE, len(self.vectors))

    def _apart(self, row: int, rows: np.ndarray, distances: np.ndarray, k: int) -> list[tuple[int, float]]:
        """Greedily: the nearest, then the nearest of those that touch none before."""
        starts, free = self.starts[rows], np.abs(self.starts[rows] - self.starts[row]) >= self.reach
        found: list[tuple[int, float]] = []
        while len(found) < k and free.any():
            place = int(free.argmax())
            found.append((int(rows[place]), float(distances[place])))
            free &= np.abs(starts - starts[place]) >= self.reach
        return found


def open_embeddings(path: Path, windows: WindowIndex, ids: Sequence[str], run: Path) -> EmbeddedWindows:
    """The vectors of every window of a run, with the index beside them where there is one.

    Args:
        path: what ``moola encoders embed NAME --out FILE.npy`` wrote.
        windows: of the run.
        ids: their names.
        run: its folder, for what is said.

    Raises:
        DataError: the vectors are not of the windows of this run, or too many to go without an index.
        StorageError: the file or its index cannot be read.
    """
    command = f"moola encoders embed NAME --out {path.with_suffix('.npy')} --index --config-path {run}"
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{path} holds no embeddings", str(error), f"write them: {command}") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or len(vectors) != len(ids):
        shape = getattr(vectors, "shape", ())
        raise DataError(
            f"{path} is not of the windows of {run.name}",
            f"an array of shape {list(shape)}, and {len(ids):,} windows",
            f"embed those: {command}",
        )
    index_path = path.with_suffix(".usearch")
    if not index_path.exists() and len(vectors) > MOST_EXACT:
        raise DataError(
            f"{len(vectors):,} windows need an index",
            f"{index_path} is not there, and without it up to {MOST_EXACT:,} can be looked through",
            f"build it: {command}",
        )
    if index_path.exists():
        index = Neighbours.load(index_path, ids)
        _check_index(index, vectors, index_path, command)
    else:
        index = Neighbours.open(vectors, ids)
    return EmbeddedWindows(vectors, np.asarray(windows.starts), windows.reach, index)


def _check_index(index: Neighbours, vectors: np.ndarray, path: Path, command: str) -> None:
    """Vectors may have been written anew since the index was built of them."""
    step = max(len(vectors) // _PROBED, 1)
    found = index.width == vectors.shape[1] and [
        _finds(index, vectors[row], row) for row in range(0, len(vectors), step)
    ]
    if not found or np.mean(found) < 0.5:
        raise DataError(
            f"{path} is an index of other vectors", "those beside it were written anew", f"again: {command}"
        )


def _finds(index: Neighbours, vector: np.ndarray, row: int) -> bool:
    """Whether a window is among the nearest of its own vector, or behind others that are the same."""
    rows, distances = index.nearest(vector, _NEAREST)
    return row in rows or float(distances[-1]) < _SAME
