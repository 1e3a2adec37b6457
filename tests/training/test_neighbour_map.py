"""The map of neighbours: the same twice, and neighbours stay neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from moola.training.neighbour_map import LEAST, neighbour_map


def test_two_clouds_stay_apart_and_the_map_is_the_same_twice() -> None:
    random = np.random.default_rng(0)
    clouds = np.concatenate([random.normal(0, 1, (15, 8)), random.normal(9, 1, (15, 8))]).astype(np.float32)
    places = neighbour_map(clouds, seed=3)
    assert places is not None and places.shape == (30, 2)
    nearest = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(30, np.inf))
    assert ((nearest.argmin(axis=1) < 15) == (np.arange(30) < 15)).all()
    assert np.array_equal(places, neighbour_map(clouds, seed=3))


@pytest.mark.parametrize(("vectors", "wanted"), [(np.ones((LEAST - 1, 4)), None), (np.ones((12, 4)), (12, 2))])
def test_too_few_vectors_have_no_map_and_equal_ones_lie_in_one_place(vectors, wanted) -> None:
    places = neighbour_map(vectors, seed=0)
    assert (places if places is None else places.shape) == wanted


def test_vectors_of_one_number_have_a_map() -> None:
    places = neighbour_map(np.linspace(0, 1, 12)[:, None], seed=0)
    assert places is not None and np.isfinite(places).all()
