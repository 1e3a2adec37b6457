"""What snapshots are probed with, and when they are taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from moola.errors import ConfigError
from moola.training.principal_components import principal_components
from moola.training.probe import knn_probe
from moola.training.schedule import Monitoring, ProbeSection


def test_snapshots_are_taken_at_the_epochs_named_and_at_every_so_many() -> None:
    monitoring = Monitoring(snapshot_epochs=(1, 2), snapshot_every_epochs=5)
    assert [epoch for epoch in range(1, 16) if monitoring.takes_snapshot(epoch)] == [1, 2, 5, 10, 15]
    assert [epoch for epoch in range(1, 16) if Monitoring().takes_snapshot(epoch)] == [1, 2, 4]


def test_all_problems_of_the_probes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ProbeSection(c=0.0, neighbours=0)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["c", "neighbours"]
    with pytest.raises(ConfigError, match="snapshot_every_epochs"):
        Monitoring(snapshot_every_epochs=-1)


def test_neighbours_are_chosen_by_direction_and_have_one_vote_each() -> None:
    vectors = np.array([[9.0, 1.0], [1.0, 0.1], [5.0, -1.0], [-1.0, 8.0], [0.1, 1.0], [-0.2, 3.0]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    probe = knn_probe(3, len(vectors))
    assert probe.fit(vectors, labels).predict([[100.0, 0.0], [0.0, 100.0]]).tolist() == [0, 1]
    votes = knn_probe(6, 6).fit(vectors, labels).predict_proba(vectors)
    assert np.allclose(votes, 0.5)


def test_of_fewer_windows_than_neighbours_all_vote() -> None:
    votes = knn_probe(50, 3).fit(np.eye(3), [0, 1, 1]).predict_proba(np.eye(3))
    assert np.allclose(votes, [[1 / 3, 2 / 3]] * 3)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=st.floats(-100, 100, width=32))
)
def test_components_are_of_falling_variance_and_do_not_depend_on_where_vectors_lie(vectors: np.ndarray) -> None:
    points, shares = principal_components(vectors)
    assert points.shape == (len(vectors), 2) and shares.shape == (2,)
    assert np.isfinite(points).all() and shares[0] >= shares[1] >= 0 and shares.sum() <= 1 + 1e-9
    spread = np.square(vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)).sum()
    assert np.isclose(np.square(points).sum(), shares.sum() * spread, rtol=1e-6, atol=1e-6)
    assert np.allclose(points.mean(axis=0), 0, atol=1e-6)


def test_components_find_the_directions_vectors_were_made_of() -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(200, 2)) * [5.0, 1.0]
    axes = np.linalg.qr(generator.normal(size=(7, 2)))[0].T
    points, shares = principal_components(scores @ axes + 3.0)
    for place in (0, 1):
        assert abs(np.corrcoef(points[:, place], scores[:, place])[0, 1]) > 0.99
    assert shares.sum() == pytest.approx(1.0) and shares[0] > 0.9
