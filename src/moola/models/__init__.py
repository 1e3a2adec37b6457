"""Encoders, heads, classical models and controls; every name in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from moola.errors import ConfigError, DataError, MoolaError
from moola.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from moola.data.draws import Draws
    from moola.models.encoder import Encoder, InputShape


Role = Literal["model", "baseline", "control"]
SUM_TOLERANCE = 1e-4
"""So far may the probabilities of a window be off 1, as in `moola.schemas.predictions`; float32 is off by less."""


class EncoderConfig(Protocol):
    """Configuration of an encoder."""

    def build(self, shape: InputShape) -> Encoder:
        """An encoder for such windows with random weights.

        Raises:
            ConfigError: it does not fit such windows.
        """
        ...


@dataclass(frozen=True)
class LabelledWindows:
    """Few windows with labels; small enough to hold in memory.

    Attributes:
        bars: float32 [n, visible, n_channels], as the source gives them.
        inputs: float32 [n, visible, n_inputs], transformed.
        labels: int64 [n] class numbers.
        n_classes: classes there are, also those without a window here.
        pointers: int64 [n, 2], first and last bar of what was marked in each window, -1 where nothing was; None where
            nobody marks any. Targets like the labels, and never inputs.
        transform: bars [B, T, C] -> inputs [B, T, D], what `inputs` were made with; None where it is not known.
    """

    bars: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    n_classes: int
    pointers: np.ndarray | None = None
    transform: Callable[[Tensor], Tensor] | None = None

    def __getitem__(self, rows: np.ndarray) -> LabelledWindows:
        pointers = None if self.pointers is None else self.pointers[rows]
        return dataclasses.replace(
            self, bars=self.bars[rows], inputs=self.inputs[rows], labels=self.labels[rows], pointers=pointers
        )

    def __len__(self) -> int:
        return len(self.labels)

    def without_labels(self) -> LabelledWindows:
        """The same windows with -1 for every label and no pointers: what a model gets to predict."""
        return dataclasses.replace(self, labels=np.full_like(self.labels, -1), pointers=None)


@dataclass(frozen=True)
class FitResources:
    """What a model may use besides its training windows.

    Attributes:
        seed: of everything random in the fit.
        summary: inputs [n, visible, n_inputs] -> simple features [n, n_features].
        device: torch device name.
        encoder: configuration of the encoder of this run.
        pretrained: encoder weights pretrained with this seed, or None where that stage is off.
        trainer: fine-tuning schedule (`moola.training.schedule.FitConfig`).
        spans: parts of a window that the configuration tells apart; see `moola.models.encoder.InputShape`.
        zone: first and past-the-end bar that a label and its pointers speak of; None: every visible bar.
        augment: changes the bars of training windows before they are transformed, as
            `moola.data.device_batches.DeviceBatches` takes it; None: nothing does.
        origin: what the pretrained weights were made with, for messages; empty where it is not known.
        unlabelled: bars float32 [n, visible, n_channels] of windows without a label that keep their distance from what
            the fit will be judged on, and the names of the channels; None where the model did not ask for any with an
            attribute ``most_unlabelled``.
        on_alarm: called with each alarm of a fit (`moola.training.alarms.Alarm`).
        on_epoch: called with the record of each epoch, losses by name, and ``member``, its number in an ensemble.
        on_partial_fit: called by a model that trains in epochs after each, with the share of the fit that is done and
            the classifier as it is then; what it raises ends the fit. It must change nothing.
    """

    seed: int
    summary: Callable[[np.ndarray], np.ndarray]
    device: str
    encoder: EncoderConfig | None = None
    pretrained: Mapping[str, Tensor] | None = None
    trainer: Any = None
    spans: tuple[tuple[int, int], ...] = ()
    zone: tuple[int, int] | None = None
    augment: Callable[[Tensor, Draws], Tensor] | None = None
    origin: str = ""
    unlabelled: tuple[np.ndarray, tuple[str, ...]] | None = None
    on_alarm: Callable[[Any], None] | None = None
    on_epoch: Callable[[dict[str, float]], None] | None = None
    on_partial_fit: Callable[[float, Classifier], None] | None = None


class Classifier(Protocol):
    """A fitted model; `moola.models.saved` keeps it on disk."""

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """Class probabilities, float64 [n, n_classes]; the labels of `windows` are not looked at.

        A class without a training window has probability 0.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write what `Model.load` needs into an empty folder: numbers and names, and nothing that runs on loading."""
        ...


class Model(Protocol):
    """Configuration of a model; what `moola.testing.check_model` checks.

    Attributes:
        deterministic: the seed changes nothing, so one fit stands for all seeds.
        role: ``model``; ``baseline``, the simple thing a model has to beat; or ``control``, which knows nothing and is
            never chosen and never stacked.
        needs_pretraining: uses the pretrained encoder.
        uses_encoder: rests on an encoder, pretrained or not; one with random weights is then its control.
    """

    deterministic: ClassVar[bool]

    @property
    def role(self) -> Role:
        """What it is there for."""
        ...

    @property
    def needs_pretraining(self) -> bool:
        """Whether it starts from the pretrained encoder."""
        ...

    @property
    def uses_encoder(self) -> bool:
        """Whether it rests on an encoder."""
        ...

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Classifier:
        """Fit on these windows and nothing else.

        Raises:
            DataError: nothing can be learnt from them, as from windows of one class.
        """
        ...

    def load(self, folder: Path, resources: FitResources) -> Classifier:
        """What was fitted, from the files that its `Classifier.save` wrote; it predicts the same, bit for bit.

        Args:
            folder: of one fit of this configuration.
            resources: as for the fit; what only a fit needs (pretrained weights, a schedule) may be missing.

        Raises:
            StorageError: a file is missing or damaged, or does not fit these resources.
        """
        ...


MODEL_PARTS = ("deterministic", "role", "needs_pretraining", "uses_encoder", "fit", "load")
CLASSIFIER_PARTS = ("predict_proba", "save")


def missing_parts(component: object, promised: tuple[str, ...]) -> list[str]:
    """Those of the promised attributes that it lacks."""
    return [name for name in promised if not hasattr(component, name)]


def require_model(component: object, path: str) -> None:
    """Refuse a component that is no whole `Model` before anything is fitted.

    Raises:
        ConfigError: parts are missing; all of them.
    """
    missing = missing_parts(component, MODEL_PARTS)
    if missing:
        raise ConfigError(
            [f"{path}: {type(component).__name__} is no whole model: it lacks {', '.join(missing)}"],
            "moola.models.Model says what each is, and moola.testing.check_model checks it",
        )


def probabilities_of(fitted: object, windows: LabelledWindows, fit: str) -> np.ndarray:
    """What a fitted model says of windows, float64 [n, n_classes], once it is known to be probabilities.

    Args:
        fitted: what `Model.fit` gave.
        windows: to predict.
        fit: which one it is, for the message.

    Raises:
        MoolaError: it is no `Classifier`, or gives something else.
    """
    missing = missing_parts(fitted, CLASSIFIER_PARTS)
    said = None if missing else fitted.predict_proba(windows)  # type: ignore[attr-defined]
    fault = (
        f"its fit gives {type(fitted).__name__}, which lacks {', '.join(missing)}"
        if missing
        else fault_of(said, len(windows), windows.n_classes)
    )
    if fault:
        raise MoolaError(
            f"the model breaks a promise: {fit}",
            fault,
            "this is a defect of the model: moola.testing.check_model checks what models promise",
        )
    return np.asarray(said, dtype=np.float64)


def fault_of(probabilities: Any, n_windows: int, n_classes: int) -> str:
    """What speaks against these being probabilities of so many windows and classes; empty where nothing does."""
    if not isinstance(probabilities, np.ndarray) or not np.issubdtype(probabilities.dtype, np.number):
        kind = getattr(probabilities, "dtype", type(probabilities).__name__)
        return f"probabilities come as {kind}, not as an array of numbers"
    if probabilities.shape != (n_windows, n_classes):
        return f"probabilities are {probabilities.shape} for {n_windows} windows and {n_classes} classes"
    if not np.isfinite(probabilities).all():
        return "probabilities are not finite"
    if (probabilities < 0).any():
        return f"a probability is negative: {probabilities.min():.3g}"
    worst = float(np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1).max(initial=0.0))
    return f"probabilities of a window do not sum to 1: they are off by {worst:.2g}" if worst >= SUM_TOLERANCE else ""


def require_classes(windows: LabelledWindows) -> None:
    """Refuse training windows that show fewer than two classes: there is nothing to tell apart.

    Raises:
        DataError: one class only, or no window.
    """
    counts = np.bincount(windows.labels, minlength=windows.n_classes)
    if np.count_nonzero(counts) < 2:
        raise DataError(
            "the training windows hold one class only" if len(windows) else "there are no training windows",
            f"windows a class: {counts.tolist()}",
            "give labels of at least two classes to every fold that trains",
        )


ENCODERS: Registry[EncoderConfig] = Registry(
    "encoder",
    {
        "bilstm": "moola.models.bilstm:BiLstm",
        "cnn_transformer": "moola.models.cnn_transformer:CnnTransformer",
        "gru": "moola.models.gru:Gru",
        "lstm": "moola.models.lstm:Lstm",
        "min_gru": "moola.models.min_gru:MinGru",
        "patch_transformer": "moola.models.patch_transformer:PatchTransformer",
        "tcn": "moola.models.tcn:Tcn",
    },
)

MODELS: Registry[Model] = Registry(
    "model",
    {
        "dtw": "moola.models.dtw:Dtw",
        "encoder_probe": "moola.training.probe:EncoderProbe",
        "finetuned_encoder": "moola.training.finetuning:FinetunedEncoder",
        "logistic_regression": "moola.models.classical:LogisticRegression",
        "majority": "moola.models.controls:Majority",
        "minirocket": "moola.models.rocket:MiniRocket",
        "multirocket_hydra": "moola.models.hydra:MultiRocketHydra",
        "random_forest": "moola.models.classical:RandomForest",
        "stratified": "moola.models.controls:Stratified",
        "xgboost": "moola.models.boosting:XgBoost",
    },
)
