"""Doubtful labels: planted flips are found, and thin classes refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola import schemas
from moola.errors import DataError
from moola.labels.issues import MIN_PER_CLASS, find_label_issues


def easy(seed: int, n: int = 60, n_classes: int = 3, n_flipped: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Given labels, good probabilities, and which labels were flipped."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % n_classes
    scores = rng.normal(0, 0.3, (n, n_classes)) + 4 * np.eye(n_classes)[truth]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    flipped = np.zeros(n, dtype=bool)
    flipped[rng.choice(n, n_flipped, replace=False)] = True
    return np.where(flipped, (truth + 1) % n_classes, truth), probabilities, flipped


@settings(max_examples=4)
@given(seed=st.integers(0, 1000))
def test_planted_flips_rank_first_and_nothing_else_is_flagged(seed: int) -> None:
    given_labels, probabilities, flipped = easy(seed)
    ids = [f"w{i:03d}" for i in range(60)]
    table = find_label_issues(ids, given_labels, probabilities, ("a", "b", "c"))
    planted = {name for name, is_flipped in zip(ids, flipped, strict=True) if is_flipped}
    assert set(table["window_id"].head(6)) == planted
    flagged = set(table.filter("is_label_issue")["window_id"])
    assert flagged <= planted and len(flagged) >= 2  # the confident joint counts too few where a class has several


def test_the_table_is_that_of_the_schema_with_the_most_doubtful_first() -> None:
    given_labels, probabilities, _ = easy(0)
    classes = ("b", "a", "c")
    table = find_label_issues([f"w{i}" for i in range(60)], given_labels, probabilities, classes)
    schemas.label_issues(classes).validate(table, lazy=True)
    assert table.columns == [
        "window_id",
        "given_label",
        "pred_label",
        "prob_b",
        "prob_a",
        "prob_c",
        "label_quality",
        "is_label_issue",
    ]
    assert table["label_quality"].is_sorted()
    for name, given_label, predicted, *chances, quality, _ in table.iter_rows():
        row = int(name[1:])
        assert chances == probabilities[row].tolist()
        assert given_label == classes[given_labels[row]]
        assert predicted == classes[int(np.argmax(chances))]
        assert quality == pytest.approx(adjusted(probabilities, given_labels)[row])


def adjusted(probabilities: np.ndarray, given_labels: np.ndarray) -> np.ndarray:
    """Probability of the given label once each class is set off by what it gets on average where it was given."""
    usual = np.array([probabilities[given_labels == k, k].mean() for k in range(probabilities.shape[1])])
    shifted = probabilities - usual + usual.max()
    return shifted[np.arange(len(given_labels)), given_labels] / shifted.sum(axis=1)


def test_flags_are_those_of_the_rule_that_is_named() -> None:
    from cleanlab.filter import find_label_issues as find

    rng = np.random.default_rng(3)
    given_labels, probabilities = rng.integers(0, 3, 90), rng.dirichlet([0.7] * 3, 90)
    table = find_label_issues([f"{i:02}" for i in range(90)], given_labels, probabilities, ("a", "b", "c"))
    flags = table.sort("window_id")["is_label_issue"].to_numpy()
    by_rate, by_joint = (
        np.asarray(find(given_labels, probabilities, filter_by=rule, n_jobs=1))
        for rule in ("prune_by_noise_rate", "confident_learning")
    )
    assert (flags == by_rate).all() and (by_rate != by_joint).any()


def test_right_labels_are_not_flagged() -> None:
    given_labels, probabilities, _ = easy(0, n_flipped=0)
    table = find_label_issues([str(i) for i in range(60)], given_labels, probabilities, ("a", "b", "c"))
    assert not table["is_label_issue"].any()


@pytest.mark.parametrize("rare", [0, 4])
def test_a_class_with_fewer_than_five_labels_is_refused(rare: int) -> None:
    given_labels = np.array([0] * 10 + [1] * rare)
    probabilities = np.full((len(given_labels), 2), 0.5)
    with pytest.raises(DataError, match=rf"labels a class: \{{'a': 10, 'b': {rare}\}}") as caught:
        find_label_issues([str(i) for i in range(len(given_labels))], given_labels, probabilities, ("a", "b"))
    assert "stage.skip=[label_issues]" in caught.value.way_out


def test_a_class_with_five_labels_is_judged() -> None:
    assert MIN_PER_CLASS == 5
    given_labels = np.array([0] * 10 + [1] * 5)
    probabilities = np.where(given_labels[:, None] == [0, 1], 0.9, 0.1)
    assert find_label_issues([str(i) for i in range(15)], given_labels, probabilities, ("a", "b")).height == 15
