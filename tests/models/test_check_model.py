"""The model suite finds the models that break a promise."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from moola.errors import MoolaError
from moola.layout import read_json, write_bytes, write_json
from moola.models import FitResources, LabelledWindows, Role, probabilities_of
from moola.testing import check_model, easy_windows, small_resources


@dataclass
class Nearest:
    """Class of the nearest mean; the smallest model that keeps every promise."""

    means: Any
    n_classes: int

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        seen = [number for number, mean in enumerate(self.means) if mean is not None]
        level = windows.inputs[:, -1].mean(axis=1)
        nearest = np.abs(level[:, None] - np.array([self.means[number] for number in seen])).argmin(axis=1)
        return np.eye(self.n_classes)[np.array(seen)[nearest]]

    def save(self, folder: Path) -> None:
        write_json(folder / "means.json", [self.means, self.n_classes])


@dataclass(frozen=True)
class Kept:
    deterministic: ClassVar[bool] = True
    role: ClassVar[Role] = "model"
    needs_pretraining: ClassVar[bool] = False
    uses_encoder: ClassVar[bool] = False
    made: ClassVar[type] = Nearest

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
        level = windows.inputs[:, -1].mean(axis=1)
        means = [level[windows.labels == k].mean() if (windows.labels == k).any() else None for k in range(3)]
        return self.made([None if mean is None else float(mean) for mean in means], windows.n_classes)

    def load(self, folder: Path, resources: FitResources) -> Any:
        return self.made(*read_json(folder / "means.json"))


def predicting(change: Any) -> type[Kept]:
    """A model whose predictions are changed: (probabilities, windows) -> probabilities."""

    class Changed(Nearest):
        def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
            return change(super().predict_proba(windows), windows)

    return dataclasses.dataclass(frozen=True)(type("Broken", (Kept,), {"made": Changed, "__module__": __name__}))


def saving(write: Any) -> type[Kept]:
    """A model that writes something else."""

    class Changed(Nearest):
        def save(self, folder: Path) -> None:
            super().save(folder)
            write(folder)

    return dataclasses.dataclass(frozen=True)(type("Broken", (Kept,), {"made": Changed, "__module__": __name__}))


@dataclass(frozen=True)
class Scribbler(Kept):
    def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
        fitted = super().fit(windows, resources)
        windows.inputs[0] = 0
        return fitted


class Wavering(Nearest):
    def __init__(self, means: Any, n_classes: int) -> None:
        super().__init__(means, n_classes)
        self.share = np.random.random() / 4

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        found = super().predict_proba(windows)
        return (1 - self.share) * found + self.share * found[:, ::-1]


@dataclass(frozen=True)
class Unseeded(Kept):
    made: ClassVar[type] = Wavering


@dataclass(frozen=True)
class Greedy(Kept):
    def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().fit(windows, resources)


@dataclass(frozen=True)
class Seeded(Kept):
    def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
        fitted = super().fit(windows, resources)
        fitted.means[0] += 9 * resources.seed
        return fitted


@dataclass(frozen=True)
class Forgetful(Kept):
    def load(self, folder: Path, resources: FitResources) -> Any:
        fitted = super().load(folder, resources)
        fitted.means[0] += 9
        return fitted


@dataclass(frozen=True)
class Ignorant(Kept):
    """Needs nothing of what it wrote."""

    def load(self, folder: Path, resources: FitResources) -> Any:
        return Nearest([-1.0, None, 1.0], 3)

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
        return Nearest([-1.0, None, 1.0], 3)


@dataclass(frozen=True)
class Lazy(Kept):
    def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
        return self.made([0.0, None, 99.0], 3)


@dataclass(frozen=True)
class Undecided(Kept):
    role: ClassVar[Any] = "baselin"


@dataclass(frozen=True)
class Fruitless(Kept):
    def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
        return None


@dataclass(frozen=True)
class Unsaid:
    """Says nothing of what it is."""

    def fit(self, windows: LabelledWindows, resources: FitResources) -> Any:
        return None


@dataclass(frozen=True)
class Indescribable(Kept):
    what: object = dataclasses.field(default_factory=object)


def _pickle_inside(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.skops", "w") as archive:
        archive.writestr("data.pkl", b"\x80\x04N.")


def _half(found: np.ndarray, windows: LabelledWindows) -> np.ndarray:
    return found / 2


def _reads_labels(found: np.ndarray, windows: LabelledWindows) -> np.ndarray:
    return np.eye(3)[windows.labels]


def _ranks(found: np.ndarray, windows: LabelledWindows) -> np.ndarray:
    return np.eye(3)[np.where(np.argsort(np.argsort(windows.inputs[:, -1, 0])) < len(found) / 2, 0, 2)]


def _spreads(found: np.ndarray, windows: LabelledWindows) -> np.ndarray:
    return (found + 0.01) / 1.03


def test_the_smallest_model_that_keeps_every_promise_passes() -> None:
    check_model(Kept())


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (predicting(_half), "do not sum to 1"),
        (predicting(lambda found, windows: found[:, :2]), r"\(16, 2\) for 16 windows and 3 classes"),
        (predicting(lambda found, windows: found[:, 0]), r"\(16,\) for 16 windows and 3 classes"),
        (predicting(lambda found, windows: found.tolist()), "come as list, not as an array of numbers"),
        (predicting(lambda found, windows: found.astype(str)), "not as an array of numbers"),
        (predicting(lambda found, windows: np.full_like(found, np.nan)), "not finite"),
        (predicting(lambda found, windows: found * [-1, 1, 1] + 2 * found * [1, 0, 0] - [[1, 0, -1]]), "negative"),
        (predicting(_spreads), "a class without a training window gets a probability"),
        (predicting(_reads_labels), "labels are read"),
        (predicting(_ranks), "depends on what else is asked"),
        (Scribbler, "writes to the windows"),
        (Unseeded, "something random is not seeded"),
        (Greedy, "leaves torch with"),
        (Seeded, "says that it is deterministic"),
        (saving(lambda folder: write_bytes(folder / "model.pkl", b"x")), "model.pkl, which is none of"),
        (saving(lambda folder: write_bytes(folder / "model.json", b"\x80\x04N.")), "a pickle in model.json"),
        (saving(_pickle_inside), "a pickle in model.skops"),
        (Forgetful, "saved and loaded predicts otherwise"),
        (Ignorant, "can be loaded without means.json"),
        (Lazy, "learns nothing"),
        (Undecided, "none of model, baseline, control"),
        (Fruitless, "its fit gives NoneType, which lacks predict_proba, save"),
        (Unsaid, "it lacks deterministic, role, needs_pretraining, uses_encoder, load"),
        (Indescribable, "no plain values"),
        (lambda: Kept, r"a class, not an instance: Kept\(\)"),
    ],
)
def test_a_broken_model_is_found(model: Callable[[], Any], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_model(model())


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Fruitless, "its fit gives NoneType, which lacks predict_proba"),
        (predicting(_half), "do not sum to 1: they are off by 0.5"),
        (predicting(lambda found, windows: found[:, 0]), r"probabilities are \(8,\) for 8 windows and 3 classes"),
    ],
)
def test_a_run_names_the_model_whose_predictions_cannot_be_used(model: type[Kept], told: str) -> None:
    windows = easy_windows(8)
    fitted = model().fit(windows, small_resources())
    with pytest.raises(MoolaError, match=rf"(?s)breaks a promise: near, seed 0.*{told}.*check_model"):
        probabilities_of(fitted, windows.without_labels(), "near, seed 0")
