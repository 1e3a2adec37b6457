"""A fitted model on disk: a folder, whole or absent, with a record of what it is and what it takes.

Building (`moola.models.MODELS`), training (`moola.models.Model.fit`), saving and loading (here) and predicting
(`SavedModel.predict_proba`) are each in one place. A kind of model brings files of its own; their names and digests,
the configuration and the form of the windows stand in ``model.json``.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import moola
from moola.augment import AUGMENTATIONS
from moola.config import structure
from moola.errors import ConfigError, DataError, StorageError
from moola.layout import changed_files, digest_file, read_json, sync_folder, write_json
from moola.models import ENCODERS, MODELS, Classifier, FitResources, LabelledWindows, Model

RECORD = "model.json"
_FIT_AGAIN = "fit the model again, or put the files back"


@dataclass(frozen=True)
class ModelRecord:
    """What ``model.json`` says.

    Attributes:
        model: the configuration, as `MODELS` builds it: ``kind`` and parameters.
        classes: names of the classes, in the order of the probabilities.
        n_bars: visible bars of a window.
        n_inputs: transformed channels.
        moola: version that wrote it.
        files: SHA-256 (hex) of every other file.
    """

    model: dict[str, Any]
    classes: tuple[str, ...]
    n_bars: int
    n_inputs: int
    moola: str
    files: dict[str, str]


@dataclass(frozen=True)
class SavedModel:
    """A fitted model that was loaded.

    Attributes:
        record: what it is.
        model: its configuration.
        classifier: what was fitted.
    """

    record: ModelRecord
    model: Model
    classifier: Classifier

    def predict_proba(self, windows: LabelledWindows) -> np.ndarray:
        """Class probabilities, float64 [n, n_classes], in the order of `ModelRecord.classes`.

        Raises:
            DataError: the windows have another form than those it was fitted on.
        """
        form, fitted_on = windows.inputs.shape[1:], (self.record.n_bars, self.record.n_inputs)
        if form != fitted_on:
            raise DataError(
                "the model does not take such windows",
                f"they have {form[0]} bars x {form[1]} inputs; it was fitted on {fitted_on[0]} x {fitted_on[1]}",
                "show as many bars (data.window.visible) through the same transform=, or fit a model on these windows",
            )
        return self.classifier.predict_proba(windows)

    def save(self, folder: Path) -> None:
        """The classifier's own files; a whole folder is written by `save_model`."""
        self.classifier.save(folder)


def save_model(
    folder: Path, model: Model, classifier: Classifier, *, n_bars: int, n_inputs: int, classes: Sequence[str]
) -> ModelRecord:
    """Write a fitted model into a new folder, whole or not at all.

    Args:
        folder: that does not exist yet; the folder above it is made.
        model: the configuration.
        classifier: what it fitted.
        n_bars: visible bars of a window.
        n_inputs: transformed channels.
        classes: names in the order of the probabilities.

    Raises:
        ConfigError: the model's class is not in the registry, so nobody could load it.
        StorageError: there is something at `folder`.
    """
    if folder.exists():
        raise StorageError(f"{folder} is there already", "a saved model is never written over", "choose another folder")
    section = MODELS.section_of(model, key="kind", parts=(ENCODERS, AUGMENTATIONS))
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    try:
        classifier.save(building)
        files = {path.name: digest_file(path) for path in sorted(building.iterdir())}
        record = ModelRecord(section, tuple(classes), n_bars, n_inputs, moola.__version__, files)
        write_json(building / RECORD, dataclasses.asdict(record))
        building.chmod(0o755)
        os.replace(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return record


def load_model(folder: Path, resources: FitResources) -> SavedModel:
    """Read what `save_model` wrote.

    Args:
        folder: of one model.
        resources: of a run with the same transform, and for a model that rests on the run's encoder the same encoder.

    Raises:
        StorageError: a file is missing or is not what was written, its kind is not known here, or it does not fit
            `resources`.
    """
    record = read_record(folder)
    problems = [f"- {name}: {wrong}" for name, wrong in changed_files(folder, record.files).items()]
    known = {*record.files, RECORD}
    problems += [f"- {path.name}: does not belong to it" for path in folder.iterdir() if path.name not in known]
    if problems:
        raise StorageError(f"the model {folder} was changed since it was saved", "\n".join(problems), _FIT_AGAIN)
    try:
        model = MODELS.build_section(record.model, "model", key="kind")
    except ConfigError as error:
        raise StorageError(
            f"the model {folder} cannot be built here",
            error.why,
            f"install the package that brings it; moola {record.moola} saved it",
        ) from error
    return SavedModel(record, model, model.load(folder, resources))


def read_record(folder: Path) -> ModelRecord:
    """What a folder says of its model; its other files are not looked at.

    Raises:
        StorageError: there is no such record, or it says something else.
    """
    path = folder / RECORD
    said = read_json(path)
    try:
        return structure(ModelRecord, said, "")
    except ConfigError as error:
        raise StorageError(f"{path} is not the record of a model", error.why, _FIT_AGAIN) from error
