"""Every model keeps the model suite and knows its classes."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
import torch

from moola.errors import ConfigError, DataError
from moola.features.summary import summarise
from moola.models import MODELS, Classifier, FitResources, LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.classical import LogisticRegression, RandomForest
from moola.models.controls import Majority
from moola.models.encoder import InputShape, pool_states
from moola.models.heads import ClassificationHead
from moola.models.rocket import MiniRocket
from moola.testing import check_model
from moola.training.finetuning import FinetunedEncoder
from moola.training.losses import ClassLoss
from moola.training.mixing import Mixing
from moola.training.probe import EncoderProbe
from moola.training.schedule import FitConfig

ENCODER = BiLstm(hidden=4)


def summary(inputs: np.ndarray) -> np.ndarray:
    half = inputs.shape[1] // 2
    return summarise(inputs, tuple(range(inputs.shape[2])), ((0, half), (half, inputs.shape[1])))


def resources(seed: int = 0) -> FitResources:
    torch.manual_seed(1234)
    pretrained = ENCODER.build(InputShape(3, 12)).state_dict()
    return FitResources(seed, summary, "cpu", ENCODER, pretrained, FitConfig(epochs=2, batch_size=8, lr=1e-2))


def windows_of(labels: list[int], n_classes: int, seed: int = 0) -> LabelledWindows:
    """Windows whose level is their class."""
    rng = np.random.default_rng(seed)
    numbers = np.array(labels, dtype=np.int64)
    values = (
        rng.normal(0, 0.2, (len(labels), 20, 3)) + np.linspace(0, 1, 20)[:, None] * numbers[:, None, None]
    ).astype(np.float32)
    return LabelledWindows(values, values, numbers, n_classes)


CLASSICAL = [
    Majority(),
    LogisticRegression(),
    RandomForest(trees=20),
    RandomForest(trees=20, inputs="summary"),
    EncoderProbe(),
    EncoderProbe(init="random"),
]
FINETUNED = [
    FinetunedEncoder(frozen_epochs=1),
    FinetunedEncoder(init="random", frozen_epochs=0),
    FinetunedEncoder(
        frozen_epochs=0, l2_sp=0.01, loss=ClassLoss(0.1, 2.0, "balanced"), mixing=Mixing(0.4, 0.5), members=2
    ),
]


def kind(model: Any) -> str:
    return type(model).__name__


@pytest.mark.parametrize("model", [*CLASSICAL, *FINETUNED], ids=kind)
def test_every_model_keeps_the_model_suite(model: Any) -> None:
    check_model(model, resources())


@pytest.mark.slow
def test_minirocket_keeps_the_model_suite() -> None:
    check_model(MiniRocket(kernels=168), resources())


@pytest.mark.parametrize("model", CLASSICAL, ids=kind)
def test_a_class_that_training_lacks_has_probability_zero_in_its_own_column(model: Any) -> None:
    train, judged = windows_of([0, 2] * 12, 3), windows_of([0, 2, 0, 2], 3, seed=1)
    probabilities = model.fit(train, resources()).predict_proba(judged)
    assert probabilities.shape == (4, 3)
    assert not probabilities[:, 1].any()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    if not isinstance(model, Majority):
        assert probabilities.argmax(axis=1).tolist() == [0, 2, 0, 2]


def test_a_fine_tuned_encoder_has_a_column_for_a_class_that_training_lacks() -> None:
    fitted = FinetunedEncoder(frozen_epochs=0).fit(windows_of([0, 2] * 12, 3), resources())
    assert fitted.predict_proba(windows_of([0, 2], 3)).shape == (2, 3)


@pytest.mark.parametrize("model", [RandomForest(trees=20), EncoderProbe("random"), *FINETUNED], ids=kind)
def test_another_seed_gives_another_fit_where_a_model_says_so(model: Any) -> None:
    assert not model.deterministic
    train, judged = windows_of([0, 1] * 12, 2), windows_of([0, 1], 2, seed=1)
    one, other = (model.fit(train, resources(seed)).predict_proba(judged) for seed in (0, 1))
    assert not np.allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("model", [*CLASSICAL, *FINETUNED], ids=kind)
def test_a_window_is_judged_alike_alone_and_among_others(model: Any) -> None:
    fitted: Classifier = model.fit(windows_of([0, 1] * 12, 2), resources())
    judged = windows_of([0, 1, 0, 1, 1], 2, seed=1)
    np.testing.assert_allclose(
        fitted.predict_proba(judged[np.array([3])]), fitted.predict_proba(judged)[3:4], atol=1e-5
    )


@pytest.mark.parametrize("model", [EncoderProbe(), FINETUNED[0]], ids=kind)
def test_more_windows_than_fit_into_one_portion_are_judged_in_order(model: Any) -> None:
    fitted = model.fit(windows_of([0, 1] * 12, 2), resources())
    many = windows_of([0, 1] * 1_050, 2, seed=1)
    probabilities = fitted.predict_proba(many)
    assert probabilities.shape == (2_100, 2)
    for rows in (np.array([0, 1]), np.array([1_500, 2_099])):
        np.testing.assert_allclose(probabilities[rows], fitted.predict_proba(many[rows]), atol=1e-5)


def test_no_model_looks_at_the_labels_of_the_windows_it_judges() -> None:
    judged = windows_of([0, 1, 1], 2, seed=1)
    assert judged.without_labels().labels.tolist() == [-1, -1, -1]
    for model in [*CLASSICAL, *FINETUNED]:
        fitted = model.fit(windows_of([0, 1] * 12, 2), resources())
        np.testing.assert_array_equal(fitted.predict_proba(judged.without_labels()), fitted.predict_proba(judged))


def test_the_majority_control_is_the_class_frequencies() -> None:
    fitted = Majority().fit(windows_of([0, 0, 2, 0], 3), resources())
    assert fitted.predict_proba(windows_of([2, 2], 3)).tolist() == [[0.75, 0.0, 0.25]] * 2


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("majority", "control"),
        ("logistic_regression", "baseline"),
        ("random_forest", "baseline"),
        ("minirocket", "baseline"),
        ("encoder_probe", "model"),
        ("finetuned_encoder", "model"),
    ],
)
def test_roles_and_needs_are_known(name: str, role: str) -> None:
    model = MODELS.build(name, {}, "model")
    assert model.role == role
    assert model.needs_pretraining is (role == "model")


def test_a_random_encoder_needs_no_pretraining_and_its_probe_is_a_control() -> None:
    assert not EncoderProbe("random").needs_pretraining and not FinetunedEncoder("random").needs_pretraining
    assert EncoderProbe("random").role == "control"


@pytest.mark.parametrize("model", [EncoderProbe(), FinetunedEncoder()], ids=kind)
def test_a_pretrained_model_without_pretrained_weights_is_refused_and_never_random(model: Any) -> None:
    without = dataclasses.replace(resources(), pretrained=None)
    with pytest.raises(ConfigError, match="init=pretrained needs the pretrain stage"):
        model.fit(windows_of([0, 1] * 12, 2), without)


@pytest.mark.parametrize("init", ["pretrained", "random"])
def test_a_probe_embeds_with_the_weights_it_says(init: Literal["pretrained", "random"]) -> None:
    given = resources()
    train, judged = windows_of([0, 1] * 12, 2), windows_of([0, 1], 2, seed=1)
    torch.manual_seed(given.seed)
    encoder = ENCODER.build(InputShape(3, 12))
    if init == "pretrained":
        encoder.load_state_dict(dict(given.pretrained or {}))
    with torch.no_grad():
        expected = pool_states(encoder.eval()(torch.from_numpy(judged.inputs))).numpy()
    fitted: Any = EncoderProbe(init).fit(train, given)
    np.testing.assert_allclose(fitted.features(judged), expected, atol=1e-6)


def test_pooling_is_mean_maximum_and_last_state() -> None:
    states = torch.tensor([[[1.0, 5.0], [4.0, 1.0], [1.0, 0.0]]])
    assert pool_states(states).tolist() == [[2.0, 2.0, 4.0, 5.0, 1.0, 0.0]]
    assert ClassificationHead(embedding_width=6, n_classes=3, dropout=0.0)(pool_states(states)).shape == (1, 3)


def test_minirocket_refuses_windows_shorter_than_a_kernel() -> None:
    short = windows_of([0, 1] * 4, 2)
    cut = dataclasses.replace(short, inputs=short.inputs[:, :8])
    with pytest.raises(DataError, match="windows of at least 9 bars"):
        MiniRocket().fit(cut, resources())


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: LogisticRegression(c=0.0), "c: 0.0"),
        (lambda: RandomForest(trees=0), "trees: 0"),
        (lambda: MiniRocket(kernels=83), "kernels: 83"),
        (lambda: EncoderProbe(c=-1.0), "c: -1.0"),
        (lambda: FinetunedEncoder(head_dropout=1.0), "head_dropout: 1.0"),
        (lambda: FinetunedEncoder(frozen_epochs=-1), "frozen_epochs: -1"),
        (lambda: FinetunedEncoder(encoder_lr_factor=0.0), "encoder_lr_factor: 0.0"),
        (lambda: BiLstm(hidden=0), "hidden: 0"),
        (lambda: BiLstm(layers=0), "layers: 0"),
        (lambda: BiLstm(layers=1, dropout=0.1), "dropout: acts between layers"),
        (lambda: BiLstm(layers=2, dropout=1.0), "dropout: 1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(build: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build()
    assert caught.value.problems[0].startswith(problem)


def test_the_model_suite_finds_a_model_that_reads_the_labels_it_judges() -> None:
    @dataclasses.dataclass(frozen=True)
    class Cheat(Majority):
        def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
            return self

        def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
            return np.eye(windows.n_classes)[windows.labels]

    with pytest.raises(AssertionError, match="labels are read"):
        check_model(Cheat(), resources())
