"""Calibrators on scores that are planted too sure, and on few labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

from moola.errors import ConfigError, DataError
from moola.evaluation.calibration import KINDS, Calibrator, fit_calibrator
from moola.evaluation.metrics import compute_metrics


def drawn(n: int, power: float, seed: int = 0, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities raised to a power, and labels drawn from them as they were before."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(n_classes), n)
    labels = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)
    return p**power / (p**power).sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [1.0, 3.0])
def test_what_is_too_sure_is_mended_and_what_is_right_is_left(kind: str, power: float) -> None:
    learn, judge = drawn(2000, power), drawn(4000, power, seed=1)
    fitted = fit_calibrator(kind, *learn)  # type: ignore[arg-type]
    assert fitted.kind == kind and not fitted.note
    after = fitted.apply(judge[0])
    np.testing.assert_allclose(after.sum(axis=1), 1)
    errors = [compute_metrics(p[None], judge[1], names=["ece", "log_loss"]) for p in (judge[0], after)]
    if power == 1.0:
        assert errors[1]["ece"] < 0.03 and errors[1]["log_loss"] < errors[0]["log_loss"] + 0.02
    elif kind != "none":
        assert errors[0]["ece"] > 0.12 and errors[1]["ece"] < 0.03
        assert errors[1]["log_loss"] < errors[0]["log_loss"] - 0.2
    if kind in ("none", "temperature"):
        np.testing.assert_array_equal(after.argmax(axis=1), judge[0].argmax(axis=1))


def test_the_temperature_is_the_power_that_was_planted() -> None:
    fitted = fit_calibrator("temperature", *drawn(5000, 2.5))
    assert fitted.parameters["temperature"][0] == pytest.approx(2.5, rel=0.07)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_calibrator_survives_json(kind: str, n_classes: int) -> None:
    p, labels = drawn(400, 2.0, n_classes=n_classes)
    fitted = fit_calibrator(kind, p, labels)  # type: ignore[arg-type]
    read = Calibrator.from_json(json.loads(json.dumps(fitted.to_json())))
    assert read == fitted
    np.testing.assert_array_equal(read.apply(p), fitted.apply(p))
    np.testing.assert_array_equal(read.apply(p[None])[0], fitted.apply(p))


@pytest.mark.parametrize(
    ("rare", "asked", "kind"),
    [(49, "isotonic", "beta"), (14, "isotonic", "temperature"), (14, "beta", "temperature"), (4, "beta", "none")],
)
def test_few_labels_take_a_stiffer_kind_and_say_so(rare: int, asked: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(2), 200)
    fitted = fit_calibrator(asked, p, (np.arange(200) < rare).astype(int))  # type: ignore[arg-type]
    assert (fitted.kind, fitted.asked) == (kind, asked)
    assert f"class 1 has {rare}: {kind} is used" in fitted.note


@pytest.mark.parametrize("kind", KINDS)
def test_perfect_hopeless_and_constant_predictions_stay_probabilities(kind: str) -> None:
    labels = np.arange(120) % 2
    for p in (np.eye(2)[labels], np.eye(2)[1 - labels], np.full((120, 2), 0.5)):
        after = fit_calibrator(kind, p, labels).apply(np.concatenate([p, [[0, 1], [1, 0]]]))  # type: ignore[arg-type]
        assert np.isfinite(after).all() and (after >= 0).all()
        np.testing.assert_allclose(after.sum(axis=1), 1)


def test_what_is_wrong_is_named() -> None:
    p, labels = drawn(100, 1.0)
    with pytest.raises(ConfigError, match="did you mean 'isotonic'"):
        fit_calibrator("isotonc", p, labels)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="n_windows, n_classes"):
        fit_calibrator("beta", p[None], labels)
    with pytest.raises(DataError, match="outside"):
        fit_calibrator("beta", p, labels + 1)
    fitted = fit_calibrator("temperature", p, labels)
    with pytest.raises(DataError, match="fitted on 3 classes"):
        fitted.apply(p[:, :2])
    written = fitted.to_json()
    for change in ({"kind": "platt"}, {"parameters": {}}, {"parameters": {"temperature": [1, 2]}}, {"n_classes": "x"}):
        with pytest.raises(DataError, match="cannot be read"):
            Calibrator.from_json({**written, **change})
    with pytest.raises(DataError, match="KeyError"):
        Calibrator.from_json({})
