"""The ridge probe, and heads that begin where it ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV

from moola.models.heads import ClassificationHead
from moola.models.ridge import PENALTIES, fit_ridge
from moola.training.head_start import LOGITS, HeadStart, start_head


def clouds(n: int = 30, width: int = 50, classes: tuple[int, ...] = (0, 2, 3)) -> tuple[np.ndarray, np.ndarray]:
    """Windows of three of four classes with more features than windows."""
    rng = np.random.default_rng(0)
    labels = np.array(classes)[np.arange(n) % len(classes)]
    return rng.normal(size=(n, width)) * np.geomspace(0.1, 10, width) + 0.2 * labels[:, None], labels


def test_scores_and_penalty_are_those_of_scikit_learn_on_standardised_features() -> None:
    features, labels = clouds()
    fitted = fit_ridge(features, labels)
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    expected = RidgeClassifierCV(PENALTIES).fit(standardised, labels)
    assert fitted.penalty == expected.alpha_
    np.testing.assert_allclose(fitted.scores(features), expected.decision_function(standardised), rtol=1e-6, atol=1e-9)
    assert set(fitted.predict(features)) <= {0, 2, 3}


def test_the_chosen_penalty_has_the_smallest_error_on_windows_left_out() -> None:
    features, labels = clouds(n=12, width=5)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    targets = np.where(labels[:, None] == np.unique(labels), 1.0, -1.0)
    errors: list[float] = []
    for penalty in PENALTIES:
        found = 0.0
        for row in range(12):
            rest = np.delete(np.arange(12), row)
            centre, bias = features[rest].mean(axis=0), targets[rest].mean(axis=0)
            z = features[rest] - centre
            weights = np.linalg.solve(z.T @ z + penalty * np.eye(5), z.T @ (targets[rest] - bias))
            found += float(np.square(targets[row] - bias - (features[row] - centre) @ weights).sum())
        errors.append(found)
    assert fit_ridge(features, labels).penalty == PENALTIES[int(np.argmin(errors))]


def test_a_feature_that_never_moves_gets_no_say() -> None:
    features, labels = clouds(width=4)
    features[:, 1] = 3.0
    fitted = fit_ridge(features, labels)
    moved = features.copy()
    moved[:, 1] += 100.0
    np.testing.assert_allclose(fitted.scores(moved), fitted.scores(features), atol=1e-3)


@pytest.mark.parametrize("how", ["random", "zero", "ridge"])
def test_a_head_begins_where_it_is_told_to(how: HeadStart) -> None:
    features, labels = clouds()
    head = ClassificationHead(50, 4, dropout=0.0)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    start_head(head, how, features, labels)
    logits = head(torch.from_numpy(features).float()).detach().numpy()
    if how == "random":
        assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    elif how == "zero":
        assert not logits.any() and float(head.spread.max()) != 1.0
    else:
        expected = LOGITS * fit_ridge(features, labels).scores(features)
        np.testing.assert_allclose(logits[:, [0, 2, 3]], expected, atol=1e-3)
        assert np.all(logits[:, 1] == -LOGITS)


def test_a_class_without_windows_never_wins_however_unsure_the_others_are() -> None:
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(40, 6)), np.array([0, 1, 3, 4] * 10)  # 2 has none; nothing can be told apart
    head = ClassificationHead(6, 5, dropout=0.0)
    start_head(head, "ridge", features, labels)
    logits = head(torch.from_numpy(100 * features).float())
    assert set(logits.argmax(dim=1).tolist()) <= {0, 1, 3, 4}
