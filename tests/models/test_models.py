"""Every model keeps the model suite and knows its classes."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
import torch

from moola.errors import ConfigError, DataError
from moola.features.summary import summarise
from moola.models import MODELS, FitResources, LabelledWindows
from moola.models.bilstm import BiLstm
from moola.models.boosting import XgBoost
from moola.models.classical import LogisticRegression, RandomForest
from moola.models.controls import Majority, Stratified
from moola.models.dtw import Dtw, nearest_of_class
from moola.models.encoder import InputShape, pool_states
from moola.models.heads import ClassificationHead
from moola.models.hydra import MultiRocketHydra
from moola.models.lstm import Lstm
from moola.models.patch_transformer import PatchTransformer
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
    XgBoost(trees=20),
    XgBoost(trees=20, inputs="summary"),
    EncoderProbe(),
    EncoderProbe(init="random"),
]
COMPILED = [MiniRocket(kernels=84), MultiRocketHydra(kernels=84, hydra_groups=4), Dtw(), Dtw(bands=(0.1,))]
"""Through aeon, whose numba code takes a minute to compile at its first use."""
FINETUNED = [
    FinetunedEncoder(frozen_epochs=1),
    FinetunedEncoder(init="random", frozen_epochs=0),
    FinetunedEncoder(
        frozen_epochs=0, l2_sp=0.01, loss=ClassLoss(0.1, 2.0, "balanced"), mixing=Mixing(0.4, 0.5), members=2
    ),
]


OWN_LSTM = FinetunedEncoder(init="random", frozen_epochs=0, encoder=Lstm(hidden=4))


def kind(model: Any) -> str:
    return type(model).__name__


@pytest.mark.parametrize("model", [*CLASSICAL, Stratified(), *FINETUNED, OWN_LSTM], ids=kind)
def test_every_model_keeps_the_model_suite(model: Any) -> None:
    check_model(model, n_bars=12)


@pytest.mark.slow
@pytest.mark.parametrize("n_inputs", [1, 3])
@pytest.mark.parametrize("model", COMPILED, ids=kind)
def test_every_model_through_aeon_keeps_the_model_suite(model: Any, n_inputs: int) -> None:
    check_model(model, n_inputs=n_inputs)


@pytest.mark.slow
@pytest.mark.parametrize("model", [*CLASSICAL, Stratified(), FINETUNED[0], OWN_LSTM], ids=kind)
def test_every_model_takes_one_channel(model: Any) -> None:
    check_model(model, n_inputs=1)


def test_every_kind_is_tried_here() -> None:
    tried = {MODELS.name_of(model) for model in [*CLASSICAL, *COMPILED, Stratified(), *FINETUNED]}
    assert tried == MODELS.built_in


@pytest.mark.parametrize("model", [*CLASSICAL[1:], FINETUNED[0], Dtw()], ids=kind)
def test_windows_of_one_class_are_refused(model: Any) -> None:
    with pytest.raises(DataError, match="hold one class only"):
        model.fit(windows_of([1, 1, 1], 2), resources())


@pytest.mark.parametrize(
    "model", [RandomForest(trees=20), XgBoost(trees=20), EncoderProbe("random"), *FINETUNED], ids=kind
)
def test_another_seed_gives_another_fit_where_a_model_says_so(model: Any) -> None:
    assert not model.deterministic
    train, judged = windows_of([0, 1] * 12, 2), windows_of([0, 1], 2, seed=1)
    one, other = (model.fit(train, resources(seed)).predict_proba(judged) for seed in (0, 1))
    assert not np.allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("model", [EncoderProbe(), FINETUNED[0]], ids=kind)
def test_more_windows_than_fit_into_one_portion_are_judged_in_order(model: Any) -> None:
    fitted = model.fit(windows_of([0, 1] * 12, 2), resources())
    many = windows_of([0, 1] * 1_050, 2, seed=1)
    probabilities = fitted.predict_proba(many)
    assert probabilities.shape == (2_100, 2)
    for rows in (np.array([0, 1]), np.array([1_500, 2_099])):
        np.testing.assert_allclose(probabilities[rows], fitted.predict_proba(many[rows]), atol=1e-5)


def test_windows_to_be_judged_have_no_labels() -> None:
    assert windows_of([0, 1, 1], 2).without_labels().labels.tolist() == [-1, -1, -1]


def test_the_majority_control_is_the_class_frequencies() -> None:
    fitted = Majority().fit(windows_of([0, 0, 2, 0], 3), resources())
    assert fitted.predict_proba(windows_of([2, 2], 3)).tolist() == [[0.75, 0.0, 0.25]] * 2


def test_the_stratified_control_draws_as_often_as_training_shows_and_keeps_to_its_draw() -> None:
    fitted = Stratified().fit(windows_of([0, 0, 0, 2], 3), resources())
    judged = windows_of([0] * 4_000, 3, seed=1)
    found = fitted.predict_proba(judged)
    drawn = found.argmax(axis=1)
    assert abs(float((drawn == 2).mean()) - 0.25) < 3 * (0.25 * 0.75 / 4_000) ** 0.5
    assert not (drawn == 1).any()
    assert np.unique(found, axis=0).tolist() == [[0.375, 0.0, 0.625], [0.875, 0.0, 0.125]]
    other = Stratified().fit(windows_of([0, 0, 0, 2], 3), resources(seed=1)).predict_proba(judged).argmax(axis=1)
    assert (
        0.5 < float((drawn == other).mean()) < 0.75
    )  # .625 where draws of two seeds have nothing to do with each other


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("dtw", "baseline"),
        ("multirocket_hydra", "baseline"),
        ("stratified", "control"),
        ("xgboost", "baseline"),
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
    assert model.needs_pretraining is model.uses_encoder is (role == "model")


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


@pytest.mark.parametrize(("model", "least"), [(MiniRocket(), 9), (MultiRocketHydra(), 10)], ids=["mini", "multi"])
def test_windows_shorter_than_a_kernel_are_refused(model: Any, least: int) -> None:
    short = windows_of([0, 1] * 4, 2)
    cut = dataclasses.replace(short, inputs=short.inputs[:, : least - 1])
    with pytest.raises(DataError, match=f"windows of at least {least} bars"):
        model.fit(cut, resources())


def test_a_model_with_an_encoder_of_its_own_needs_no_encoder_of_the_run() -> None:
    windows, alone = windows_of([0, 1] * 8, 2), dataclasses.replace(resources(), encoder=None, pretrained=None)
    fitted = OWN_LSTM.fit(windows, alone)
    assert fitted.plan.config == Lstm(hidden=4)
    section: Any = {"name": "lstm", "hidden": 4}
    same = dataclasses.replace(OWN_LSTM, encoder=section)
    assert same == OWN_LSTM and dataclasses.replace(same) == OWN_LSTM


def test_an_encoder_of_its_own_is_built_at_the_door_and_never_beside_pretrained_weights() -> None:
    wrong: Any = {"name": "lstm", "hiden": 4}
    with pytest.raises(ConfigError, match=r"encoder\.hiden: unknown key; did you mean 'hidden'"):
        FinetunedEncoder(init="random", frozen_epochs=0, encoder=wrong)
    with pytest.raises(ConfigError, match="encoder: the pretrained weights fit the run's encoder alone"):
        FinetunedEncoder(encoder=Lstm(hidden=4))
    with pytest.raises(ConfigError, match="patch"):
        FinetunedEncoder(init="random", encoder=PatchTransformer(patch_bars=40)).check_windows(20)


@pytest.mark.slow
def test_multirocket_hydra_names_the_classes_that_aeons_own_classifier_names() -> None:
    from aeon.classification.convolution_based import MultiRocketHydraClassifier

    train, judged = windows_of([0, 1, 2] * 20, 3), windows_of([0, 1, 2] * 40, 3, seed=1)
    rng = np.random.default_rng(0)
    noisy = [
        dataclasses.replace(some, inputs=some.inputs + rng.normal(0, 1, some.inputs.shape).astype(np.float32))
        for some in (train, judged)
    ]
    theirs = MultiRocketHydraClassifier(random_state=0).fit(noisy[0].inputs.transpose(0, 2, 1), noisy[0].labels)
    ours = MultiRocketHydra().fit(noisy[0], resources()).predict_proba(noisy[1])
    expected = theirs.predict(noisy[1].inputs.transpose(0, 2, 1))
    assert 0.5 < float((expected == judged.labels).mean()) < 1.0
    assert float((ours.argmax(axis=1) == expected).mean()) >= 0.98


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unsafe cast")  # of numba, while aeon's own classifier is compiled
def test_the_most_probable_class_of_dtw_is_that_of_the_nearest_neighbour() -> None:
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    rng = np.random.default_rng(0)
    train, judged = (windows_of([0, 1, 2] * n, 3, seed) for n, seed in ((10, 0), (20, 1)))
    noisy = [
        dataclasses.replace(some, inputs=some.inputs + rng.normal(0, 1, some.inputs.shape).astype(np.float32))
        for some in (train, judged)
    ]
    theirs = KNeighborsTimeSeriesClassifier("dtw", {"window": 0.1}, n_neighbors=1)
    expected = theirs.fit(noisy[0].inputs.transpose(0, 2, 1), noisy[0].labels).predict(
        noisy[1].inputs.transpose(0, 2, 1)
    )
    ours = Dtw(bands=(0.1,)).fit(noisy[0], resources()).predict_proba(noisy[1])
    np.testing.assert_array_equal(ours.argmax(axis=1), expected)
    assert ours.min() > 0


def test_the_distance_to_a_class_is_that_to_its_nearest_window() -> None:
    found = np.array([[3.0, 1.0, 2.0], [np.inf, 5.0, 4.0]])
    assert nearest_of_class(found, np.array([0, 1, 1])).tolist() == [[3.0, 1.0], [np.inf, 4.0]]


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: LogisticRegression(c=0.0), "c: 0.0"),
        (lambda: RandomForest(trees=0), "trees: 0"),
        (lambda: MiniRocket(kernels=83), "kernels: 83"),
        (lambda: MultiRocketHydra(hydra_groups=3), "hydra_groups: 3"),
        (lambda: XgBoost(learning_rate=0.0), "learning_rate: 0.0"),
        (lambda: XgBoost(row_share=1.5), "row_share: 1.5"),
        (lambda: Dtw(bands=()), "bands: needs"),
        (lambda: Dtw(bands=(1.5,)), "bands: [1.5]"),
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
