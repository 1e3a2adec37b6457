"""Models count for what they are worth; a loud one outvotes nobody."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.labels.consensus import find_consensus


def says(truth: np.ndarray, skill: float, n_classes: int, seed: int, sharpness: float = 1.0) -> np.ndarray:
    """Probabilities [1, n, n_classes] whose scores lean to the truth by `skill`."""
    rng = np.random.default_rng(seed)
    scores = sharpness * (rng.normal(size=(len(truth), n_classes)) + skill * np.eye(n_classes)[truth])
    return (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))[None]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), n_classes=st.integers(2, 4), loud=st.sampled_from([0.2, 1.0, 12.0]))
def test_a_model_without_skill_has_next_to_no_say_however_sure_it_is(seed: int, n_classes: int, loud: float) -> None:
    truth = np.arange(240) % n_classes
    said = {
        "good": says(truth, 3.0, n_classes, seed),
        "also good": says(truth, 3.0, n_classes, seed + 1),
        "noise": says(truth, 0.0, n_classes, seed + 2, loud),
    }
    found = find_consensus(said, truth)
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.weights["noise"] < 0.05 < 0.3 < min(found.weights["good"], found.weights["also good"])
    assert np.allclose(found.probabilities.sum(axis=1), 1)
    assert (found.probabilities.argmax(axis=1) == truth).mean() >= (
        said["good"][0].argmax(axis=1) == truth
    ).mean() - 0.02


def test_models_that_know_nothing_share_the_judgement_evenly() -> None:
    truth = np.array([0] * 10 + [1] * 10)
    against = np.where(truth[:, None] == [0, 1], 0.3, 0.7)[None]
    found = find_consensus({"a": against, "b": against}, truth)
    assert found.weights == {"a": 0.5, "b": 0.5}


def test_agreement_counts_each_model_once_and_its_seeds_share_the_vote() -> None:
    truth = np.array([0, 1] * 10)
    right = np.where(truth[:, None] == [0, 1], 0.8, 0.2)
    half_wrong = right.copy()
    half_wrong[0] = [0.4, 0.6]
    found = find_consensus({"a": right[None], "b": np.stack([right, half_wrong])}, truth)
    assert found.agreement[0] == pytest.approx(0.75)
    assert found.agreement[1:].tolist() == [1.0] * 19


def test_probabilities_of_nothing_but_0_and_1_are_taken() -> None:
    truth = np.array([0, 1] * 10)
    sure = (truth[:, None] == [0, 1]).astype(float)[None]
    assert np.isfinite(find_consensus({"a": sure}, truth).probabilities).all()
