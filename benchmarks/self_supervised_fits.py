"""One configuration for every set, chosen on training folds alone: pretrain, probe, fine-tune, and their controls."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moola.data.device_batches import DeviceBatches
from moola.data.draws import Draws
from moola.models import EncoderConfig, FitResources, LabelledWindows
from moola.models.ridge import fit_ridge
from moola.models.tcn import Tcn
from moola.pretraining import ObjectiveConfig, WindowInputs
from moola.pretraining.hierarchical_contrast import HierarchicalContrast
from moola.training.embedding import embed
from moola.training.finetuning import FinetunedEncoder
from moola.training.loop import fit
from moola.training.schedule import FitConfig
from self_supervised_sets import LabelledSet, stratified_share

ENCODER = Tcn(width=128, hidden=64, depth=None, dropout=0.0, pooling="levels", normalise=False)
OBJECTIVE = HierarchicalContrast()
PRETRAIN_STEPS, FINETUNE_STEPS, BATCH = 300, 60, 8
FINETUNE_BARS = 512
"""Longer windows are fine-tuned on a random part of so many bars."""
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
DRAWS = 5
"""Draws of labels that a probe is averaged over at each share below 1."""


@dataclass(frozen=True)
class Scores:
    """What one set gave with one seed.

    Attributes:
        name: of the set.
        seed: of weights, order and draws.
        accuracy: on the test split, by arm.
        curve: accuracy by arm and share of the labels.
        correct: bool [n_test], by arm of fine-tuning.
    """

    name: str
    seed: int
    accuracy: dict[str, float] = field(default_factory=dict)
    curve: dict[str, dict[float, float]] = field(default_factory=dict)
    correct: dict[str, np.ndarray] = field(default_factory=dict)


def measure_set(name: str, seed: int, finetuned_curve: bool) -> Scores:
    """Every arm on one set; `finetuned_curve`: also fine-tune at each share of the labels, on one draw."""
    data, found = LabelledSet.read(name), Scores(name, seed)
    objective = dataclasses.replace(OBJECTIVE, seed=seed)  # the spread over seeds holds that of crops and masks
    weights = {
        "pretrained": pretrain(data, ENCODER, objective, seed, PRETRAIN_STEPS),
        "random": pretrain(data, ENCODER, objective, seed, 0),
    }
    for start, state in weights.items():
        train, test = (embedded(data, ENCODER, state, part) for part in (data.train, data.test))
        for probe, predict in PROBES.items():
            found.accuracy[f"{start}, {probe}"] = _share(predict(train, data.train.labels, test) == data.test.labels)
        found.curve[f"{start}, ridge"] = probe_curve(train, test, data, seed)
    for arm, (start, head) in ARMS.items():
        state = weights["pretrained"] if start == "pretrained" else None
        shares = SHARES if finetuned_curve and arm in CURVE_ARMS else (1.0,)
        correct = {
            share: finetune(
                data.train[stratified_share(data.train.labels, share, 100 * seed)], data.test, state, head, seed
            )
            for share in shares
        }
        found.curve[arm] = {share: _share(windows) for share, windows in correct.items()}
        found.accuracy[arm], found.correct[arm] = found.curve[arm][1.0], correct[1.0]
    return found


ARMS = {
    "fine-tuned": ("pretrained", "ridge"),
    "scratch": ("random", "zero"),
    "scratch, ridge start": ("random", "ridge"),
}
"""Where the encoder starts, and where the head: the last one is a stricter control than is usual."""
CURVE_ARMS = ("fine-tuned", "scratch")


def pretrain(
    data: LabelledSet, config: EncoderConfig, objective: ObjectiveConfig, seed: int, steps: int
) -> Mapping[str, Tensor]:
    """Weights after at least so many steps on the training split without labels; with 0 those of the random start."""
    torch.manual_seed(seed)
    encoder = config.build(data.shape)
    if steps:
        transform: Any = data.train.transform
        windows, n_bars = len(data.train), data.shape.n_bars
        wrapped: Any = objective.build(encoder, WindowInputs(data.shape, data.channels, transform))
        batches = DeviceBatches(
            torch.from_numpy(data.train.bars).flatten(0, 1),
            np.arange(windows) * n_bars,
            n_bars,
            transform,
            min(BATCH, windows),
            seed,
            drop_last=True,
        )
        epochs = math.ceil(steps / len(batches))
        fit(wrapped, batches, FitConfig(epochs, min(BATCH, windows), warmup=0.0, min_lr_ratio=1.0, precision="fp32"))
    encoder.settle(torch.from_numpy(data.train.inputs))
    return encoder.state_dict()


def embedded(
    data: LabelledSet, config: EncoderConfig, weights: Mapping[str, Tensor], windows: LabelledWindows
) -> np.ndarray:
    """Frozen embeddings, float32 [n, E]."""
    encoder = config.build(data.shape)
    encoder.load_state_dict(dict(weights))
    return embed(encoder, windows.inputs, "cpu")


def finetune(
    train: LabelledWindows, test: LabelledWindows, pretrained: Mapping[str, Tensor] | None, head: Any, seed: int
) -> np.ndarray:
    """Which test windows a fine-tuned encoder gets right, bool [n_test]; None: from random weights."""
    model = FinetunedEncoder(
        init="random" if pretrained is None else "pretrained",
        head_start=head,
        head_dropout=0.2,
        frozen_epochs=0,
        encoder_lr_factor=1.0,
    )
    size = min(BATCH, len(train))
    schedule = FitConfig(
        epochs=math.ceil(FINETUNE_STEPS / math.ceil(len(train) / size)),
        batch_size=size,
        lr=3e-4,
        weight_decay=1e-2,
        warmup=1 / 6,
        min_lr_ratio=1.0,
        ema_decay=0.95,  # so few steps end in the average of about the last ten
        precision="fp32",
    )
    long = train.inputs.shape[1] > FINETUNE_BARS
    resources = FitResources(
        seed,
        lambda inputs: inputs[:, -1],
        "cpu",
        encoder=ENCODER,
        pretrained=pretrained,
        trainer=schedule,
        augment=_random_part if long else None,
    )
    return model.fit(train, resources).predict_proba(test.without_labels()).argmax(axis=1) == test.labels


def probe_curve(train: np.ndarray, test: np.ndarray, data: LabelledSet, seed: int) -> dict[float, float]:
    """Accuracy of the ridge probe by share of the training labels, mean over draws."""
    found: dict[float, float] = {}
    for share in SHARES:
        scores: list[float] = []
        for draw in range(DRAWS if share < 1 else 1):
            rows = stratified_share(data.train.labels, share, 100 * seed + draw)
            labels = data.train.labels[rows]
            scores.append(_share(fit_ridge(train[rows], labels).predict(test) == data.test.labels))
        found[share] = float(np.mean(scores))
    return found


def ridge(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The main probe."""
    return fit_ridge(train, labels).predict(test)


def support_vectors(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Radial basis, as TS2Vec's probe; C by cross-validation in the training split."""
    from sklearn.svm import SVC

    return _by_folds(SVC(gamma="scale"), (1.0, 10.0, 100.0), train, labels, test)


def logistic(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """C by cross-validation in the training split; stopped early, where the weights do not settle."""
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings(action="ignore"):
        return _by_folds(LogisticRegression(max_iter=300), (0.1, 1.0, 10.0), train, labels, test)


PROBES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "ridge": ridge,
    "SVM": support_vectors,
    "logistic": logistic,
}


def _by_folds(estimator: Any, strengths: tuple[float, ...], train: Any, labels: Any, test: Any) -> np.ndarray:
    """On principal axes of the standardised training windows: the same kernel, fewer numbers."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    centre, spread = train.mean(axis=0), train.std(axis=0)
    spread[spread < 1e-6] = 1e6
    train, test = (train - centre) / spread, (test - centre) / spread
    axes = np.linalg.svd(train, full_matrices=False)[2].T
    folds = StratifiedKFold(min(5, int(np.bincount(labels).min())), shuffle=True, random_state=0)
    return GridSearchCV(estimator, {"C": strengths}, cv=folds).fit(train @ axes, labels).predict(test @ axes)


def other_encoders() -> dict[str, tuple[EncoderConfig, ObjectiveConfig]]:
    """Every registered encoder with both objectives that any windows take, and every such objective with the TCN."""
    from moola.augment.jitter import Jitter
    from moola.augment.permutation import Permutation
    from moola.augment.scaling import Scaling
    from moola.models import ENCODERS
    from moola.pretraining import OBJECTIVES
    from moola.pretraining.masked_autoencoder import MaskedAutoencoder
    from moola.pretraining.ts_tcc import TsTcc

    encoders = {name: ENCODERS.get(name)() for name in ENCODERS.names()}
    found: dict[str, tuple[EncoderConfig, ObjectiveConfig]] = {
        f"{name}, {objective}": (config, built)
        for name, config in encoders.items()
        for objective, built in (("masked_autoencoder", MaskedAutoencoder()), ("hierarchical_contrast", OBJECTIVE))
    }
    parts = ({"name": "masked_autoencoder"}, {"name": "hierarchical_contrast", "reconstruction_weight": 0.0})
    of_mixture: Any = OBJECTIVES.get("mixture")
    chosen: dict[str, ObjectiveConfig] = {
        "masked_autoencoder": MaskedAutoencoder(),
        "ts_tcc": TsTcc(weak=(Scaling(0.1), Jitter(0.05)), strong=(Permutation(5), Jitter(0.8)), steps=4),
        "mixture": of_mixture(parts=parts),
        "contrast without reconstruction": dataclasses.replace(OBJECTIVE, reconstruction_weight=0.0),
        "hierarchical_contrast": OBJECTIVE,
    }
    return found | {f"TCN of the choice, {name}": (ENCODER, built) for name, built in chosen.items()}


def measure_other(label: str, name: str, seed: int) -> tuple[float, float]:
    """Ridge probe after pretraining and at the random start."""
    data = LabelledSet.read(name)
    config, objective = other_encoders()[label]
    scores: list[float] = []
    for steps in (PRETRAIN_STEPS, 0):
        weights = pretrain(data, config, objective, seed, steps)
        train, test = (embedded(data, config, weights, part) for part in (data.train, data.test))
        scores.append(_share(ridge(train, data.train.labels, test) == data.test.labels))
    return scores[0], scores[1]


def _random_part(bars: Tensor, draws: Draws) -> Tensor:
    first = draws.shared(0, bars.shape[1] - FINETUNE_BARS + 1)
    return bars[:, first : first + FINETUNE_BARS]


def _share(correct: np.ndarray) -> float:
    return float(np.mean(correct))
