"""Every model speaks through predictions on windows it did not train on: out of fold, and on the sealed test."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.augment import Augmentation, AugmentSection
from moola.config import RunConfig, build_all, describe, digest_json, reject
from moola.errors import ConfigError
from moola.layout import replace_atomically, write_bytes, write_json
from moola.models import MODELS, LabelledWindows, Model
from moola.pipelines.artifacts import Artifact
from moola.pipelines.code_version import code_version
from moola.pipelines.dataset import Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.setup import EncoderSetup, noted
from moola.pipelines.stage import Stage, Workspace
from moola.training.finetuning import FinetunedEncoder
from moola.training.fitted_encoder import FittedEncoder
from moola.training.schedule import FitConfig, TrainerSection

TEST_FOLD = -1
"""Number of the fold that trains on all labels and predicts the sealed test."""


@dataclass(frozen=True)
class Unit:
    """One fit: a model, a seed, the labelled rows it trains on and what it predicts."""

    model: str
    seed: int
    fold: int
    train: np.ndarray

    @property
    def spoken(self) -> str:
        """Which fit it is, for a person."""
        where = "all labels" if self.fold == TEST_FOLD else f"fold {self.fold}"
        return f"{self.model}, seed {self.seed}, {where}"


@dataclass(frozen=True)
class Oof(Stage):
    """Predictions of every model, fold and seed; each fit is cached by itself."""

    setup: EncoderSetup
    fit: FitConfig
    models: dict[str, Model]
    augmentations: tuple[Augmentation, ...] = ()
    name: ClassVar[str] = "oof"
    provides: ClassVar[str] = "oof"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    uses: ClassVar[tuple[str, ...]] = ("encoder",)
    room: ClassVar[str] = "artifacts/oof/supervised"
    publishes: ClassVar[tuple[str, ...]] = ("oof.parquet",)
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"polars": "data", "pandera": "data", "sklearn": "evidence"}

    def __post_init__(self) -> None:
        tuned = {name: model for name, model in self.models.items() if isinstance(model, FinetunedEncoder)}
        reject(*(rule for name, model in tuned.items() for rule in model.schedule_rules(self.fit, f"model.{name}")))

    def needs(self) -> tuple[str, ...]:
        """The pretrained encoder too, where a model starts from it."""
        pretrained = any(model.needs_pretraining for model in self.models.values())
        return (*self.requires, "encoder") if pretrained else self.requires

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``model``, ``transform``, ``encoder``, ``trainer.finetune`` and ``augment.finetune``."""
        setup, trainer, models, augment = build_all(
            lambda: EncoderSetup.from_config(config),
            lambda: TrainerSection.from_config(config.trainer),
            lambda: _models(config.model),
            lambda: AugmentSection.from_config(config.augment),
        )
        return cls(setup, trainer.finetune, models, augment.finetune)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``oof.parquet`` (both splits) and ``models.json``."""
        from moola.schemas import check
        from moola.schemas.predictions import oof, predictions

        data = Dataset.open(inputs)
        require_labels(data)
        labelled = data.gather(data.labels["row"], data.labels["label"], self.setup.transform)
        test = data.gather(data.test["row"], data.test["true_label"], self.setup.transform)
        units = list(self._units(data))
        frames: list[pl.DataFrame] = []
        for number, unit in enumerate(units, start=1):
            rows = data.folds[unit.fold].held_out if unit.fold != TEST_FOLD else np.arange(len(test))
            held_out = (labelled if unit.fold != TEST_FOLD else test)[rows].without_labels()
            probabilities = self._predict(unit, labelled[unit.train], held_out, data, inputs, workspace)
            ids = (data.labels if unit.fold != TEST_FOLD else data.test)["window_id"][rows.tolist()]
            frames.append(predictions_frame(unit, ids, probabilities, data.classes))
            workspace.progress(number, len(units), unit.spoken)
        defect = "this is a defect of a model"
        table = check(pl.concat(frames), predictions(data.classes), "the predictions", defect)
        check(table.filter(pl.col("split") == "oof"), oof(data.classes), "the predictions out of fold", defect)
        with replace_atomically(workspace.folder / "oof.parquet") as handle:
            table.write_parquet(handle)
        kinds = {
            name: {"role": model.role, "deterministic": model.deterministic} for name, model in self.models.items()
        }
        write_json(workspace.folder / "models.json", {"models": kinds, "classes": list(data.classes)})

    def _units(self, data: Dataset) -> Iterator[Unit]:
        everything = np.arange(len(data.labels))
        for name, model in self.models.items():
            for seed in self.setup.seeds[:1] if model.deterministic else self.setup.seeds:
                for number, fold in enumerate(data.folds):
                    yield Unit(name, seed, number, fold.train)
                if len(data.test):
                    yield Unit(name, seed, TEST_FOLD, everything)

    def _predict(
        self,
        unit: Unit,
        train: LabelledWindows,
        held_out: LabelledWindows,
        data: Dataset,
        inputs: Mapping[str, Artifact],
        workspace: Workspace,
    ) -> np.ndarray:
        """Class probabilities [n, n_classes] of one fit, from the cache where they are."""
        path = workspace.cache / f"{self._unit_key(unit, inputs)[:32]}.safetensors"
        shape = (len(held_out), held_out.n_classes)
        if not workspace.fresh and (cached := read_unit(path, shape)) is not None:
            return cached
        model = self.models[unit.model]
        pretrained = inputs.get("encoder") if model.needs_pretraining else None
        train, held_out = self.setup.fold_inputs(train, held_out, data, pretrained)
        resources = self.setup.resources(unit.seed, data, self.fit, pretrained, self.augmentations)
        fitted = model.fit(train, dataclasses.replace(resources, on_alarm=noted(workspace, unit.spoken)))
        if isinstance(fitted, FittedEncoder) and model.needs_pretraining:
            fitted.check_start(resources.pretrained, unit.spoken)
        probabilities = np.asarray(fitted.predict_proba(held_out), dtype=np.float64)
        write_unit(path, probabilities)
        return probabilities

    def _unit_key(self, unit: Unit, inputs: Mapping[str, Artifact]) -> str:
        model = self.models[unit.model]
        setup = dataclasses.replace(self.setup, seeds=(unit.seed,))
        alone = dataclasses.replace(self, models={unit.model: model}, setup=setup)
        read = {name: item.digest for name, item in inputs.items() if name != "encoder" or model.needs_pretraining}
        config = {**describe(alone), "models": [describe(model)]}  # the name a user gives a model changes nothing
        return digest_json({"config": config, "fold": unit.fold, "inputs": read, "code": code_version(alone)})


def write_unit(path: Path, probabilities: np.ndarray) -> None:
    """Keep the predictions of one fit with a digest of their bytes."""
    from safetensors.numpy import save

    digest = hashlib.sha256(probabilities.tobytes()).hexdigest()
    write_bytes(path, save({"probabilities": probabilities}, metadata={"sha256": digest}))


def read_unit(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Kept predictions, or None where there are none or they are not what was written: then they are made again."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as opened:
            probabilities = opened.get_tensor("probabilities")
            digest = opened.metadata()["sha256"]
    except (SafetensorError, OSError, KeyError, TypeError):
        return None
    whole = probabilities.shape == shape and hashlib.sha256(probabilities.tobytes()).hexdigest() == digest
    return probabilities if whole else None


def predictions_frame(unit: Unit, ids: pl.Series, probabilities: np.ndarray, classes: tuple[str, ...]) -> pl.DataFrame:
    """Rows of `moola.schemas.predictions` for one fit."""
    n = len(ids)
    return pl.DataFrame(
        {
            "window_id": ids,
            "model": pl.Series([unit.model] * n, dtype=pl.String),
            "seed": pl.Series([unit.seed] * n, dtype=pl.Int64),
            "split": pl.Series(["test" if unit.fold == TEST_FOLD else "oof"] * n, dtype=pl.String),
            "fold": pl.Series([unit.fold] * n, dtype=pl.Int64),
            **{f"prob_{name}": probabilities[:, i] for i, name in enumerate(classes)},
        }
    )


def _models(section: Mapping[str, Any]) -> dict[str, Model]:
    """Build every model of ``model``: name -> kind and parameters; all problems in one go."""
    if not section:
        raise ConfigError(["model: needs at least one"])
    if "stack" in section:
        raise ConfigError(["model.stack: this name belongs to the stacked model; choose another"])
    builders = (
        functools.partial(MODELS.build_section, values, f"model.{name}", key="kind") for name, values in section.items()
    )
    return dict(zip(section, build_all(*builders), strict=True))
