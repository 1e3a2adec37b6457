"""Windows that look alike to an encoder: exact among thousands, by an index on disk among millions.

Vectors are standardised and compared by the cosine, as `moola.training.probe.knn_probe` does and for its reason: those
of a recurrent encoder all point nearly the same way. The index is a hierarchical navigable small world graph (Malkov &
Yashunin 2018, arXiv:1603.09320) of the package usearch: it finds most of the nearest and not all, which
``benchmarks/neighbours.py`` measures. It lies beside the embeddings, is mapped into memory and never unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from moola.errors import DataError, StorageError
from moola.layout import digest_file, read_json, replace_file_atomically, write_json

MOST_EXACT = 100_000
"""Vectors up to which every one is looked at: about 25 ms a query at 192 numbers on one core."""
_PORTION = 1 << 16
_NEVER = 1e30
"""Spread of a number that never changes, so that it counts nothing."""
_SAMPLED = 1 << 17
"""Vectors that mean and spread are taken from, evenly spaced; millions of them are read once less."""
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 64, 128
"""Edges a vector, and candidates kept while adding and while searching; more of each find more and take longer."""


@dataclass(frozen=True)
class _Scale:
    """Mean and standard deviation of each number, float32 [E]."""

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Self:
        """Of vectors [n, E]; a number that never changes counts nothing."""
        step = max(len(vectors) // _SAMPLED, 1)
        sample = np.asarray(vectors[::step], dtype=np.float64)
        spread = sample.std(axis=0)
        mean = sample.mean(axis=0)
        never = spread <= 1e-6 * np.maximum(np.abs(mean), 1e-12)
        return cls(mean.astype(np.float32), np.where(never, _NEVER, spread).astype(np.float32))

    def unit(self, vectors: np.ndarray) -> np.ndarray:
        """Standardised, of length 1 (or 0): float32 [n, E]."""
        scaled = (np.asarray(vectors, dtype=np.float32) - self.mean) / self.spread
        length = np.linalg.norm(scaled, axis=1, keepdims=True)
        return np.divide(scaled, length, out=np.zeros_like(scaled), where=length > 0)


class Neighbours:
    """Finds the windows nearest to a vector; made by `open` or `load`.

    Attributes:
        ids: names of the windows in the order of the vectors.
        width: numbers a vector, E.
    """

    def __init__(self, ids: Sequence[str], width: int, scale: Any, search: Callable[..., Any]) -> None:
        self.ids, self.width = ids, width
        self._scale, self._search = scale, search

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def open(cls, vectors: np.ndarray, ids: Sequence[str]) -> Self:
        """Exact, in memory; for up to about `MOST_EXACT` vectors.

        Args:
            vectors: [n, E].
            ids: n names.

        Raises:
            DataError: there are no vectors, some are not finite, or there is not a name for each.
        """
        _check(vectors, ids)
        scale = _Scale.of(vectors)
        unit = scale.unit(vectors)

        def search(query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            distances = 1 - unit @ query
            nearest = np.argpartition(distances, k - 1)[:k] if k < len(distances) else np.arange(len(distances))
            order = nearest[np.lexsort((nearest, distances[nearest]))]
            return order.astype(np.int64), distances[order]

        return cls(ids, vectors.shape[1], scale, search)

    @classmethod
    def load(cls, path: Path, ids: Sequence[str]) -> Self:
        """From the index that `build_index` wrote; its file is mapped, not read.

        Args:
            path: the index.
            ids: names of the windows in the order of the vectors.

        Raises:
            StorageError: the index or what is told of it is missing, or changed since it was written.
            DataError: there is not a name for each vector.
        """
        from usearch.index import Index

        said = _read_head(path)
        if len(ids) != said["rows"]:
            raise DataError(
                f"{path} holds {said['rows']} windows, and there are {len(ids)} names", "", "build the index again"
            )
        index = Index.restore(str(path), view=True)
        if index is None or len(index) != said["rows"]:
            raise StorageError(f"{path} is no index", "", "build it again")
        index.expansion_search = _EXPANSION_SEARCH

        def search(query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            found = index.search(query, k)
            return found.keys.astype(np.int64), np.asarray(found.distances, dtype=np.float32)

        scale = _Scale(*(np.array(said[name], dtype=np.float32) for name in ("mean", "spread")))
        return cls(ids, said["width"], scale, search)

    def nearest(self, vector: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest windows; one that is among them is its own nearest.

        Args:
            vector: [E].
            k: how many; fewer where there are fewer.

        Returns:
            Row numbers int64 [k], the nearest first, and distances float32 [k]: 1 minus the cosine, 0 to 2.

        Raises:
            DataError: the vector has another width, is not finite, or `k` is not positive.
        """
        vector = np.asarray(vector, dtype=np.float32)
        if vector.shape != (self.width,) or not np.isfinite(vector).all() or k < 1:
            why = f"a vector of shape {vector.shape} and k={k}"
            raise DataError("no neighbours can be found", why, f"give {self.width} finite numbers, and k of 1 or more")
        rows, distances = self._search(self._scale.unit(vector[None])[0], min(k, len(self)))
        return rows, np.asarray(distances, dtype=np.float32).clip(0.0, 2.0)


def build_index(
    vectors: np.ndarray, path: Path, *, threads: int = 0, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write an index of vectors [n, E] to `path`, and ``PATH.json`` beside it with what it is.

    Memory holds the graph, about ``2 E + 150`` bytes a vector (bfloat16); the vectors may be a mapped ``.npy``.

    Args:
        vectors: in the order of the windows table.
        path: usually that of the embeddings with the suffix ``.usearch``; replaced if it is there.
        threads: that add at once; 0: all cores. Only one thread gives the same graph each time.
        progress: called with how many are done, of how many.

    Raises:
        DataError: there are no vectors, or some are not finite.
    """
    from usearch.index import Index

    _check(vectors[:1], vectors[:1])
    scale = _Scale.of(vectors)
    index = Index(
        ndim=vectors.shape[1],
        metric="cos",
        dtype="bf16",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        expansion_search=_EXPANSION_SEARCH,
    )
    for first in range(0, len(vectors), _PORTION):
        portion = np.asarray(vectors[first : first + _PORTION])
        _check(portion, portion)
        rows = np.arange(first, first + len(portion), dtype=np.uint64)
        index.add(rows, scale.unit(portion), threads=threads)
        if progress is not None:
            progress(first + len(portion), len(vectors))
    with replace_file_atomically(path) as handle:
        handle.write(cast("bytes", index.save()))
    said = {"rows": len(vectors), "width": vectors.shape[1], "sha256": digest_file(path), "bytes": path.stat().st_size}
    write_json(_head(path), {**said, "mean": scale.mean.tolist(), "spread": scale.spread.tolist()})


def _head(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_head(path: Path) -> dict[str, Any]:
    """What is told of an index, whose file has to be as it was written."""
    for file in (path, _head(path)):
        if not file.is_file():
            raise StorageError(f"there is no file {file}", "", "build the index again")
    said = read_json(_head(path))
    if path.stat().st_size != said.get("bytes") or digest_file(path) != said.get("sha256"):
        raise StorageError(f"{path} has changed since it was written", "its digest is another", "build the index again")
    return said


def _check(vectors: np.ndarray, ids: Sequence[Any] | np.ndarray) -> None:
    """Refuse vectors among which nothing can be near."""
    problems: list[str] = []
    if vectors.ndim != 2 or 0 in vectors.shape:
        problems.append(f"- vectors of shape {vectors.shape}, not [n, E]")
    elif not np.isfinite(vectors).all():
        problems.append(f"- {int((~np.isfinite(vectors).all(axis=1)).sum())} of {len(vectors)} are not finite")
    if len(ids) != len(vectors):
        problems.append(f"- {len(vectors)} vectors and {len(ids)} names")
    if problems:
        raise DataError("these embeddings have no neighbours", "\n".join(problems), "embed the windows again")
