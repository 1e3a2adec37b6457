"""What a model keeps."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from moola.errors import StorageError
from moola.features.summary import summarise
from moola.models import (
    CLASSIFIER_PARTS,
    MODEL_PARTS,
    Classifier,
    FitResources,
    LabelledWindows,
    Model,
    fault_of,
    missing_parts,
)
from moola.testing.component import check_component
from moola.testing.randomness import own_randomness

_SAFE = (".json", ".parquet", ".safetensors", ".skops")
"""Formats that hold numbers and names; those that can run code when they are read are not among them."""
_SEEN = (0, 2)
"""Classes of the training windows; class 1 has none."""
_N_CLASSES = 3
_LEARNED = 0.75


def check_model(model: Model, resources: FitResources | None = None, n_bars: int = 24, n_inputs: int = 3) -> None:
    """Raise `AssertionError`, with what was found, unless the model keeps all of this.

    All of it on windows of two classes that are easy to tell apart, and of a third that no training window has.

    - Probabilities are finite, not negative, [n, n_classes] and of sum 1; that of the class without a training window
      is 0.
    - Labels of the windows it judges are not looked at; a window's prediction does not depend on what else is asked.
    - One seed gives one fit, whatever state the generators of numpy and torch are in; where `Model.deterministic` says
      so, every seed does.
    - A fit changes nothing of its windows, and four of them are enough for one; torch keeps its number of threads.
    - What it saves holds no pickle, and gives the same predictions to the last bit when it is loaded, without what only
      a fit needs; where a file is missing or cut short, loading says so.
    - It learns: three of four windows it had not seen get the right class, unless it is a control.

    Args:
        model: configuration; a small one keeps the suite quick.
        resources: what it may use; None: simple features, a small recurrent encoder with weights, and a short schedule.
        n_bars: bars of the windows it is tried on.
        n_inputs: channels of them.
    """
    check_component(model)
    _check_kind(model)
    resources = resources or small_resources(n_bars, n_inputs)
    train, judged = easy_windows(24, n_bars, n_inputs, seed=0), easy_windows(16, n_bars, n_inputs, seed=1)
    with own_randomness(0), _own_threads() as n_threads:
        fitted = _fit_untouched(model, train, resources)
        expected = _probabilities(fitted, judged)
        _check_threads(n_threads)
        _check_blindness(fitted, judged, expected)
        _check_independence(fitted, judged, expected)
        _check_seeds(model, train, resources, judged, expected)
        _probabilities(model.fit(train[np.arange(4)], resources), judged)
        _check_saving(model, fitted, resources, judged, expected)
        if model.role != "control":
            share = float((expected.argmax(axis=1) == judged.labels).mean())
            assert share >= _LEARNED, f"it learns nothing: {share:.0%} of easy windows get the right class"


def small_resources(n_bars: int = 24, n_inputs: int = 3, seed: int = 0) -> FitResources:
    """What a model may use, as small as it goes: a recurrent encoder of hidden size 4 with weights of its own."""
    import torch

    from moola.models.bilstm import BiLstm
    from moola.models.encoder import InputShape
    from moola.training.schedule import FitConfig

    half = n_bars // 2
    spans = ((0, half), (half, n_bars))
    encoder = BiLstm(hidden=4)
    with own_randomness(1234):
        weights = encoder.build(InputShape(n_inputs, n_bars, spans)).state_dict()
    return FitResources(
        seed=seed,
        summary=lambda inputs: summarise(inputs, tuple(range(n_inputs)), spans),
        device="cuda" if torch.cuda.is_available() else "cpu",
        encoder=encoder,
        pretrained=weights,
        trainer=FitConfig(epochs=8, batch_size=8, lr=3e-2),
        spans=spans,
    )


def easy_windows(n: int, n_bars: int = 24, n_inputs: int = 3, seed: int = 0) -> LabelledWindows:
    """Windows of the classes 0 and 2 of three, in turn: noise, and in the one a rise over the whole window."""
    labels = np.array(_SEEN, dtype=np.int64)[np.arange(n) % 2]
    noise = np.random.default_rng(seed).normal(size=(n, n_bars, n_inputs)) * 0.3
    values = (noise + labels[:, None, None] * np.linspace(-1, 1, n_bars)[None, :, None]).astype(np.float32)
    return LabelledWindows(values, values.copy(), labels, _N_CLASSES)


@contextlib.contextmanager
def _own_threads() -> Iterator[int]:
    """The number of torch's threads, which is afterwards what it was."""
    import torch

    n_threads = torch.get_num_threads()
    try:
        yield n_threads
    finally:
        torch.set_num_threads(n_threads)


def _check_threads(n_threads: int) -> None:
    import torch

    found = torch.get_num_threads()
    assert found == n_threads, f"it leaves torch with {found} threads instead of {n_threads}: other models become slow"


def _check_kind(model: Model) -> None:
    missing = missing_parts(model, MODEL_PARTS)
    assert not missing, f"{type(model).__name__} is no whole model: it lacks {', '.join(missing)}"
    assert model.role in ("model", "baseline", "control"), f"role {model.role!r} is none of model, baseline, control"
    for name in ("deterministic", "needs_pretraining", "uses_encoder"):
        value = getattr(model, name, None)
        assert isinstance(value, bool), f"{name} is {value!r}, not true or false"
    assert model.uses_encoder or not model.needs_pretraining, "it needs pretraining, and uses_encoder says it has none"


def _fit_untouched(model: Model, windows: LabelledWindows, resources: FitResources) -> Classifier:
    before = [part.copy() for part in (windows.bars, windows.inputs, windows.labels)]
    fitted = model.fit(windows, resources)
    after = (windows.bars, windows.inputs, windows.labels)
    same = all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    assert same, "the fit writes to the windows it is given"
    missing = missing_parts(fitted, CLASSIFIER_PARTS)
    assert not missing, f"its fit gives {type(fitted).__name__}, which lacks {', '.join(missing)}"
    return fitted


def _probabilities(fitted: Classifier, windows: LabelledWindows) -> np.ndarray:
    found = fitted.predict_proba(windows)
    fault = fault_of(found, len(windows), windows.n_classes)
    assert not fault, fault
    assert not found[:, 1].any(), f"a class without a training window gets a probability of {found[:, 1].max():.3g}"
    return found


def _check_blindness(fitted: Classifier, judged: LabelledWindows, expected: np.ndarray) -> None:
    for labels in (judged.without_labels().labels, np.roll(judged.labels, 1)):
        other = fitted.predict_proba(dataclasses.replace(judged, labels=labels))
        assert np.array_equal(other, expected), "labels are read of the windows it judges"


def _check_independence(fitted: Classifier, judged: LabelledWindows, expected: np.ndarray) -> None:
    cases = {"alone": [3], "in another order": list(range(len(judged)))[::-1], "beside a copy of itself": [2, 2, 5]}
    for what, rows in cases.items():
        moved = float(np.abs(fitted.predict_proba(judged[np.array(rows)]) - expected[rows]).max())
        assert moved < 1e-4, f"a prediction depends on what else is asked: {what} it moves by {moved:.2g}"


def _check_seeds(
    model: Model, train: LabelledWindows, resources: FitResources, judged: LabelledWindows, expected: np.ndarray
) -> None:
    import torch

    torch.manual_seed(99)
    np.random.seed(99)
    again = model.fit(train, resources).predict_proba(judged)
    assert np.array_equal(again, expected), "the same seed predicts otherwise: something random is not seeded"
    if model.deterministic:
        other = dataclasses.replace(resources, seed=resources.seed + 1)
        same = np.array_equal(model.fit(train, other).predict_proba(judged), expected)
        assert same, "it says that it is deterministic, and the seed changes its predictions"


def _check_saving(
    model: Model, fitted: Classifier, resources: FitResources, judged: LabelledWindows, expected: np.ndarray
) -> None:
    bare = dataclasses.replace(resources, seed=resources.seed + 1, pretrained=None, trainer=None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted.save(folder)
        for path in folder.rglob("*"):
            assert path.suffix in _SAFE, f"it saves {path.name}, which is none of {', '.join(_SAFE)}"
            assert not _holds_pickle(path.read_bytes()), f"there is a pickle in {path.name}"
        found = model.load(folder, bare).predict_proba(judged)
        moved = float(np.abs(found - expected).max())
        assert np.array_equal(found, expected), f"what was saved and loaded predicts otherwise, by up to {moved:.2g}"
        assert np.array_equal(fitted.predict_proba(judged), expected), "saving changes what it predicts"
        for path in sorted(folder.iterdir()):
            content = path.read_bytes()
            path.unlink()
            _refuses(lambda: model.load(folder, bare), f"without {path.name}")
            path.write_bytes(content[: len(content) // 2])
            _refuses(lambda: model.load(folder, bare), f"with half of {path.name}")
            path.write_bytes(content)


def _refuses(load: Callable[[], object], how: str) -> None:
    try:
        load()
    except StorageError:
        return
    except Exception as error:
        raise AssertionError(f"{how} loading raises {type(error).__name__}, not StorageError: {error}") from error
    raise AssertionError(f"it can be loaded {how}")


def _holds_pickle(content: bytes) -> bool:
    return any(len(part) > 1 and part[0] == 0x80 and part[1] in range(2, 6) for part in _parts(content))


def _parts(content: bytes) -> Iterator[bytes]:
    """A file, or the files that an archive holds."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        yield content
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            yield archive.read(name)
