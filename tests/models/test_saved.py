"""Saved models: whole or absent, checked when they are loaded, and the same to the last bit."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import moola
from moola.errors import ConfigError, DataError, StorageError
from moola.models import LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.classical import LogisticRegression, RandomForest
from moola.models.controls import Majority
from moola.models.estimators import load_estimator, save_estimator
from moola.models.lstm import Lstm
from moola.models.saved import load_model, save_model
from moola.models.softmax_scale import fit_scale, scaled_softmax
from moola.testing import easy_windows, small_resources
from moola.training.finetuning import FinetunedEncoder
from moola.training.losses import ClassLoss

TRAIN, JUDGED = easy_windows(24, 12), easy_windows(8, 12, seed=1)
RESOURCES = small_resources(12)


def saved(folder: Path, model: Any, windows: LabelledWindows = TRAIN) -> np.ndarray:
    """Save a fit; what it predicts."""
    fitted = model.fit(windows, RESOURCES)
    save_model(folder, model, fitted, n_bars=12, n_inputs=3, classes=("a", "b", "c"))
    return fitted.predict_proba(JUDGED)


@pytest.mark.parametrize(
    "model",
    [
        RandomForest(trees=5),
        FinetunedEncoder(
            init="random", frozen_epochs=0, members=2, loss=ClassLoss(0.1), encoder=Lstm(hidden=4), pointer_weight=0.5
        ),
    ],
    ids=["forest", "encoder"],
)
def test_what_is_loaded_predicts_the_same_and_knows_what_it_is(tmp_path: Path, model: Any) -> None:
    folder = tmp_path / "models" / "mine"
    expected = saved(folder, model)
    loaded = load_model(folder, RESOURCES)
    np.testing.assert_array_equal(loaded.predict_proba(JUDGED), expected)
    assert loaded.model == model
    assert (loaded.record.classes, loaded.record.moola) == (("a", "b", "c"), moola.__version__)
    assert {path.name for path in folder.iterdir()} == {*loaded.record.files, "model.json"}
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]
    again = tmp_path / "again"
    save_model(again, loaded.model, loaded, n_bars=12, n_inputs=3, classes=loaded.record.classes)
    np.testing.assert_array_equal(load_model(again, RESOURCES).predict_proba(JUDGED), expected)


def test_pointers_are_saved_with_the_classifier(tmp_path: Path) -> None:
    marked = dataclasses.replace(TRAIN, pointers=np.tile(np.array([2, 7]), (24, 1)))
    model = FinetunedEncoder(frozen_epochs=0)
    fitted = model.fit(marked, RESOURCES)
    save_model(tmp_path / "m", model, fitted, n_bars=12, n_inputs=3, classes=("a", "b", "c"))
    loaded: Any = load_model(tmp_path / "m", RESOURCES).classifier
    np.testing.assert_array_equal(loaded.predict_pointers(JUDGED), fitted.predict_pointers(JUDGED))
    assert loaded.members[0].movement == fitted.members[0].movement
    assert loaded.members[0].transfer == fitted.members[0].transfer
    loaded.check_start(RESOURCES.pretrained, "it")


def test_loading_leaves_the_generator_of_torch_where_it_was(tmp_path: Path) -> None:
    saved(tmp_path / "m", FinetunedEncoder(frozen_epochs=0))
    before = torch.get_rng_state()
    load_model(tmp_path / "m", RESOURCES)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    fitted: Any = Majority().fit(TRAIN, RESOURCES)

    def fails(self: Any, folder: Path) -> None:
        (folder / "half.json").write_text("{")
        raise OSError("no space left on device")

    monkeypatch.setattr(type(fitted), "save", fails)
    with pytest.raises(OSError, match="no space"):
        save_model(tmp_path / "m", Majority(), fitted, n_bars=12, n_inputs=3, classes=("a", "b", "c"))
    assert list(tmp_path.iterdir()) == []


def test_a_saved_model_is_never_written_over(tmp_path: Path) -> None:
    saved(tmp_path / "m", Majority())
    with pytest.raises(StorageError, match="is there already"):
        saved(tmp_path / "m", Majority())


def test_a_model_without_a_name_is_not_saved(tmp_path: Path) -> None:
    class Mine(Majority):
        pass

    with pytest.raises(ConfigError, match="the model Mine has no name"):
        saved(tmp_path / "m", Mine())
    assert list(tmp_path.iterdir()) == []


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _flip(folder: Path) -> None:
    content = bytearray((folder / "estimator.skops").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "estimator.skops").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_flip, "estimator.skops: is not what was written"),
        (lambda folder: (folder / "classes.json").unlink(), "classes.json: is missing"),
        (lambda folder: (folder / "more.pkl").write_bytes(b""), "more.pkl: does not belong to it"),
        (lambda folder: (folder / "model.json").unlink(), "model.json is missing"),
        (lambda folder: (folder / "model.json").write_text("[]"), "is not the record of a model"),
        (lambda folder: _edit(folder, n_bars="twelve"), "n_bars: 'twelve' must be a whole number"),
        (lambda folder: _edit(folder, model={"kind": "logistic_regresion"}), "did you mean 'logistic_regression'"),
        (lambda folder: _edit(folder, model={"kind": "logistic_regression", "d": 1}), "model.d: unknown key"),
    ],
)
def test_a_folder_that_was_changed_is_refused(tmp_path: Path, damage: Any, told: str) -> None:
    saved(tmp_path / "m", LogisticRegression())
    damage(tmp_path / "m")
    with pytest.raises(StorageError) as caught:
        load_model(tmp_path / "m", RESOURCES)
    assert told in str(caught.value) and caught.value.way_out


def test_windows_of_another_form_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "m", Majority())
    with pytest.raises(DataError, match="they have 9 bars x 3 inputs; it was fitted on 12 x 3"):
        load_model(tmp_path / "m", RESOURCES).predict_proba(easy_windows(4, 9))


def test_a_classifier_of_another_encoder_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "m", FinetunedEncoder(frozen_epochs=0))
    other = dataclasses.replace(RESOURCES, encoder=BiLstm(hidden=4, layers=2))
    with pytest.raises(StorageError, match="belongs to another encoder"):
        load_model(tmp_path / "m", other)


def test_an_estimator_file_loads_the_classes_that_moola_fits_and_no_other(tmp_path: Path) -> None:
    from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

    for estimator in (MinMaxScaler().fit([[0.0], [1.0]]), FunctionTransformer(np.log)):
        with pytest.raises(ValueError, match="TRUSTED"):
            save_estimator(tmp_path / "e.skops", estimator)
    fitted: Any = LogisticRegression().fit(TRAIN, RESOURCES)
    save_estimator(tmp_path / "e.skops", fitted.estimator)
    _rewrite(tmp_path / "e.skops", lambda schema: schema.replace('"StandardScaler"', '"MinMaxScaler"'))
    with pytest.raises(StorageError, match=r"would load sklearn\.preprocessing\._data\.MinMaxScaler"):
        load_estimator(tmp_path / "e.skops")


def test_a_tree_that_points_outside_itself_is_refused(tmp_path: Path) -> None:
    fitted: Any = RandomForest(trees=2).fit(TRAIN, RESOURCES)
    nodes = fitted.estimator.estimators_[1].tree_
    nodes.children_left[0] = 10_000
    save_estimator(tmp_path / "e.skops", fitted.estimator)
    with pytest.raises(StorageError, match="a tree points outside itself"):
        load_estimator(tmp_path / "e.skops")


def _rewrite(path: Path, change: Any) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["schema.json"] = change(parts["schema.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_the_scale_of_scores_is_found_again_from_labels_drawn_by_it() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20_000, 3))
    drawn = (scaled_softmax(scores, 2.5).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert fit_scale(scores, drawn) == pytest.approx(2.5, rel=0.05)


def test_scores_without_an_error_do_not_end_in_certainty() -> None:
    columns = np.arange(20) % 2
    scores = np.where(columns[:, None] == np.arange(2), 1.0, -1.0)
    found = scaled_softmax(scores, fit_scale(scores, columns))
    np.testing.assert_allclose(found.max(axis=1), 11 / 12, atol=1e-3)  # Platt's target for ten windows a class


def test_a_class_that_was_not_scored_says_nothing_and_has_probability_zero() -> None:
    scores = np.array([[1.0, 0.0, -np.inf], [0.0, 1.0, -np.inf], [0.5, 0.0, -np.inf]])
    assert 0 < fit_scale(scores, np.array([0, 1, 2])) < np.inf
    assert fit_scale(scores[2:], np.array([2])) == 1.0
    assert scaled_softmax(scores, 3.0)[:, 2].tolist() == [0.0] * 3
