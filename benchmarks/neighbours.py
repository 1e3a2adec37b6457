"""Nearest windows on demand: an index on disk among millions of embeddings, every vector among thousands."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from measurement import Row, benchmark_main, compare, seconds
from moola.labels.neighbours import Neighbours, Standardisation, build_index

MANY, FEW = 2_200_000, 10_000
WIDTH, K, QUERIES = 192, 10, 50
"""A BiLSTM of 32 units a direction, pooled three ways, has embeddings of 192 numbers."""


class Names:
    """``w0``, ``w1`` and so on, none of which is stored."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, number: int) -> str:
        return f"w{number}"


def measure(quick: bool) -> list[Row]:
    """An index of all embeddings, built and asked; then few windows without one."""
    n = 100_000 if quick else MANY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vectors = _embeddings(folder / "vectors.npy", n)
        rows = _index_rows(vectors, folder / "vectors.usearch")
        few = np.array(vectors[:FEW])
    exact = Neighbours.open(few, Names(FEW))  # type: ignore[arg-type]
    queries = few[:: FEW // QUERIES]
    rows.append(
        compare(
            f"{K} nearest of {FEW:,} in memory",
            "ms",
            lambda: 1e3 * statistics.median(seconds(lambda q=q: exact.nearest(q, K)) for q in queries),
            None,
            None,
            higher_is_better=False,
            target=200.0,
            repeats=5,
        )
    )
    return rows


def _embeddings(path: Path, n: int) -> np.ndarray:
    """Windows one bar apart: neighbours overlap and resemble each other, as embeddings of a market do."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(24, WIDTH)).astype(np.float32)
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (n, WIDTH))
    last = np.zeros(24)
    for first in range(0, n, 100_000):
        steps = 0.2 * generator.normal(size=(min(100_000, n - first), 24))
        walk = last + np.cumsum(steps, axis=0)
        last = walk[-1]
        noise = 0.1 * generator.normal(size=(len(walk), WIDTH))
        vectors[first : first + len(walk)] = np.sin(walk).astype(np.float32) @ mixing + noise
    return vectors


def _index_rows(vectors: np.ndarray, path: Path) -> list[Row]:
    n = len(vectors)
    built = seconds(lambda: build_index(vectors, path, progress=_told))
    opened = seconds(lambda: Neighbours.load(path, Names(n)))  # type: ignore[arg-type]
    index = Neighbours.load(path, Names(n))  # type: ignore[arg-type]
    generator = np.random.default_rng(1)
    asked = np.sort(generator.choice(n, QUERIES, replace=False))
    queries = vectors[asked] + 0.05 * generator.normal(size=(QUERIES, WIDTH)).astype(np.float32)
    first = [1e3 * seconds(lambda q=q: index.nearest(q, K)) for q in queries]  # pages of the index come from the disk
    again = [1e3 * seconds(lambda q=q: index.nearest(q, K)) for q in queries]
    truth, looked = _exact(vectors, queries)
    found = [index.nearest(query, K)[0] for query in queries]
    recall = float(np.mean([np.isin(some, best).mean() for some, best in zip(found, truth, strict=True)]))
    what = f"{K} nearest of {n:,}"
    return [
        _row(f"index of {n:,} x {WIDTH}", "s", [built], None),
        _row(f"index of {n:,} on disk", "MB", [path.stat().st_size / 1e6], None),
        _row("open it, its digest checked", "s", [opened], None),
        _row(f"{what}, first query of each", "ms", first, 200.0, reference=1e3 * looked / QUERIES),
        _row(f"{what}, again", "ms", again, 200.0, reference=1e3 * looked / QUERIES),
        Row(f"{what}, share of the true ones", "", recall, None, None, True, None, 0.9, {}),
    ]


def _exact(vectors: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, float]:
    """The true neighbours [QUERIES, K], and how long looking at every vector took for all queries together."""
    scale = Standardisation.of(vectors)
    asked = scale.unit(queries)
    best, rows = np.full((len(queries), K), -2.0, np.float32), np.zeros((len(queries), K), np.int64)

    def look() -> None:
        nonlocal best, rows
        for first in range(0, len(vectors), 100_000):
            alike = asked @ scale.unit(vectors[first : first + 100_000]).T
            both = np.concatenate([best, alike], axis=1)
            place = np.argpartition(-both, K, axis=1)[:, :K]
            numbers = np.concatenate([rows, np.tile(np.arange(first, first + alike.shape[1]), (len(asked), 1))], axis=1)
            best, rows = np.take_along_axis(both, place, axis=1), np.take_along_axis(numbers, place, axis=1)

    took = seconds(look)
    return rows, took


def _row(work: str, unit: str, figures: list[float], target: float | None, reference: float | None = None) -> Row:
    middle = statistics.median(figures)
    name = None if reference is None else "every vector looked at, queries in one go"
    spread = {"ours": (min(figures), max(figures))}
    if reference is not None:
        spread["reference"] = (reference, reference)
    ratio = middle / reference if reference else None
    return Row(work, unit, middle, reference, name, False, ratio, target, spread)


def _told(done: int, total: int) -> None:
    print(f"{done:,} of {total:,}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(benchmark_main(__doc__ or "", measure))
