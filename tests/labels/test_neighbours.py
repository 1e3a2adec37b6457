"""Nearest windows: exact in memory, nearly so from an index on disk, and never from a damaged one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moola.errors import DataError, StorageError
from moola.labels.neighbours import Neighbours, build_index

IDS = [f"w{number}" for number in range(600)]


def vectors() -> np.ndarray:
    generator = np.random.default_rng(0)
    latent = generator.normal(size=(600, 4))
    made = latent @ generator.normal(size=(4, 12)) + 0.1 * generator.normal(size=(600, 12))
    return (made * 10.0 ** np.arange(-3, 9) + 50).astype(np.float32)  # scales that a plain distance would drown in


def standardised(given: np.ndarray) -> np.ndarray:
    scaled = (given - given.mean(axis=0, dtype=np.float64)) / given.std(axis=0, dtype=np.float64)
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)


def test_all_are_looked_at_in_memory() -> None:
    given = vectors()
    found = Neighbours.open(given, IDS)
    unit = standardised(given)
    for row in (0, 17, 599):
        rows, distances = found.nearest(given[row], 5)
        assert rows.tolist() == np.argsort(-(unit @ unit[row]))[:5].tolist() and rows[0] == row
        assert np.allclose(distances, 1 - (unit @ unit[row])[rows], atol=1e-4)
    assert len(found.nearest(given[0], 10_000)[0]) == len(found) == 600


def test_an_index_on_disk_finds_nearly_the_same(tmp_path: Path) -> None:
    given, path = vectors(), tmp_path / "vectors.usearch"
    told: list[tuple[int, int]] = []
    build_index(given, path, threads=1, progress=lambda *done: told.append(done))
    exact, index = Neighbours.open(given, IDS), Neighbours.load(path, IDS)
    shared = [np.isin(index.nearest(one, 10)[0], exact.nearest(one, 10)[0]).mean() for one in given[:50]]
    assert np.mean(shared) > 0.95 and told == [(600, 600)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vectors.usearch", "vectors.usearch.json"]
    with pytest.raises(DataError, match="holds 600 windows, and there are 2 names"):
        Neighbours.load(path, IDS[:2])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="has changed since it was written"):
        Neighbours.load(path, IDS)


def test_numbers_that_never_change_and_vectors_that_are_none() -> None:
    given = vectors()
    given[:, 3] = 7.0
    rows, distances = Neighbours.open(given, IDS).nearest(given[5], 1)
    assert rows.tolist() == [5] and distances[0] == pytest.approx(0, abs=1e-5)
    given[9, 1] = np.nan
    with pytest.raises(DataError, match="no neighbours") as caught:
        Neighbours.open(given, IDS[:3])
    assert caught.value.why == "- 1 of 600 are not finite\n- 600 vectors and 3 names"
    for wrong in (vectors()[0, :5], np.full(12, np.inf)):
        with pytest.raises(DataError, match="no neighbours can be found"):
            Neighbours.open(vectors(), IDS).nearest(wrong, 3)
