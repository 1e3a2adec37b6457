"""Every model speaks through predictions on windows it did not train on: out of fold, and on the sealed test."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.augment import Augmentation, AugmentSection
from moola.config import RunConfig, build_all, describe, digest_json, reject, structure
from moola.errors import ConfigError
from moola.layout import replace_atomically, write_json
from moola.models import MODELS, Classifier, LabelledWindows, Model, probabilities_of, require_model
from moola.pipelines.artifacts import Artifact
from moola.pipelines.code_version import code_version
from moola.pipelines.dataset import Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.parallel import run_all
from moola.pipelines.scores import display_name
from moola.pipelines.setup import EncoderSetup, noted
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.unit_cache import KeptUnit, read_unit, write_unit
from moola.pipelines.units import TEST_FOLD, NestedPlan, Unit, nested_plan, nested_rows, plan_units, predictions_frame
from moola.pipelines.unlabelled_pool import UnlabelledPool
from moola.pretraining import check_windows
from moola.training.device import choose_device
from moola.training.finetuning import FinetunedEncoder
from moola.training.fitted_encoder import FittedEncoder
from moola.training.schedule import FitConfig, TrainerSection

if TYPE_CHECKING:
    from moola.training.alarms import Alarm


@dataclass(frozen=True)
class OofSection:
    """The section ``stage.oof``.

    Attributes:
        nested: fit every model once more for each pair of folds, so that what learns from predictions (the stack,
            calibration) can be judged out of fold as well.
    """

    nested: bool = True


@dataclass(frozen=True)
class Oof(Stage):
    """Predictions of every model, fold and seed; each fit is cached by itself."""

    setup: EncoderSetup
    fit: FitConfig
    models: dict[str, Model]
    augmentations: tuple[Augmentation, ...] = ()
    nested: bool = True
    name: ClassVar[str] = "oof"
    provides: ClassVar[str] = "oof"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    uses: ClassVar[tuple[str, ...]] = ("encoder",)
    room: ClassVar[str] = "artifacts/oof/supervised"
    publishes: ClassVar[tuple[str, ...]] = ("costs.json", "models.json", "oof.parquet")
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"polars": "data", "pandera": "data", "sklearn": "evidence"}

    def __post_init__(self) -> None:
        tuned = {name: model for name, model in self.models.items() if isinstance(model, FinetunedEncoder)}
        reject(*(rule for name, model in tuned.items() for rule in model.schedule_rules(self.fit, f"model.{name}")))

    def only(self, names: Sequence[str]) -> Oof:
        """The same with some of the models, and no pairs of folds."""
        return dataclasses.replace(self, models={name: self.models[name] for name in names}, nested=False)

    def needs(self) -> tuple[str, ...]:
        """The pretrained encoder too, where a model starts from it."""
        pretrained = any(model.needs_pretraining for model in self.models.values())
        return (*self.requires, "encoder") if pretrained else self.requires

    def check_windows(self, n_bars: int) -> None:
        """Refuse windows that are too short for the encoder of a model.

        Raises:
            ConfigError: they are; the problems of all models.
        """
        check_windows(self.models.values(), n_bars)

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``model``, ``transform``, ``encoder``, ``trainer.finetune``, ``augment.finetune`` and ``stage.oof``."""
        setup, trainer, models, augment, section = build_all(
            lambda: EncoderSetup.from_config(config),
            lambda: TrainerSection.from_config(config.trainer),
            lambda: _models(config.model),
            lambda: AugmentSection.from_config(config.augment),
            lambda: structure(OofSection, config.stage.get("oof", {}), "stage.oof"),
        )
        return cls(setup, trainer.finetune, models, augment.finetune, section.nested)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``oof.parquet`` (both splits), ``nested.parquet``, ``models.json`` and ``costs.json``.

        ``nested.parquet`` has no rows where `nested` is off; see `moola.pipelines.units.nested_plan`. ``costs.json``:
        model -> {fits, seconds}, of all fits and what they predicted, also those of runs before.
        """
        data = Dataset.open(inputs)
        require_labels(data)
        plan = nested_plan(data.folds, data.class_numbers(data.labels["label"])) if self.nested else {}
        units = plan_units(self.models, self.setup.seeds, data.folds, plan, sealed=len(data.test) > 0)
        found = self.predict_units(units, data, inputs, workspace)
        frames, nested = [], []
        for unit in units:
            predicted = found[unit].probabilities
            frames += _plain(unit, predicted, data)
            nested += _nested(unit, predicted, data, plan)
        self._write(frames, nested, data, workspace)
        write_json(workspace.folder / "costs.json", _costs(found))

    def predict_units(
        self, units: Sequence[Unit], data: Dataset, inputs: Mapping[str, Artifact], workspace: Workspace
    ) -> dict[Unit, KeptUnit]:
        """What every unit leaves, from the cache where it is; in the order of `units`, whichever ended first."""
        found: dict[Unit, KeptUnit] = {}
        if not units:
            return found
        paths = {unit: self.unit_path(unit, inputs, workspace.cache) for unit in units}
        if not workspace.fresh:
            kept = {unit: read_unit(paths[unit], predicted_shape(unit, data)) for unit in units}
            found |= {unit: left for unit, left in kept.items() if left is not None}
            if found:
                workspace.progress(len(found), len(units), f"{len(found)} fits of before")
        missing = [(unit, paths[unit]) for unit in units if unit not in found]
        prepare = functools.partial(UnitFitter.open, self, inputs)
        processes = (
            workspace.processes if choose_device(self.setup.device) == "cpu" else 1
        )  # one fit at a time on a GPU
        for (unit, _), (left, alarms) in run_all(missing, prepare, processes):
            note = noted(workspace, unit.spoken)
            for alarm in alarms:
                note(alarm)
            found[unit] = left
            workspace.progress(len(found), len(units), unit.spoken, seconds=round(left.seconds, 2))
        return {unit: found[unit] for unit in units}

    def _write(
        self, frames: list[pl.DataFrame], nested: list[pl.DataFrame], data: Dataset, workspace: Workspace
    ) -> None:
        from moola import schemas
        from moola.schemas import check

        defect = "this is a defect of a model"
        table = check(pl.concat(frames), schemas.predictions(data.classes), "the predictions", defect)
        out_of_fold = table.filter(pl.col("split") == "oof")
        check(out_of_fold, schemas.oof(data.classes), "the predictions out of fold", defect)
        inner = pl.concat(nested) if nested else nested_frame(out_of_fold.clear(), 0)
        inner = check(inner, schemas.nested(data.classes), "the nested predictions", defect)
        for name, frame in {"oof.parquet": table, "nested.parquet": inner}.items():
            with replace_atomically(workspace.folder / name) as handle:
                frame.write_parquet(handle)
        kinds = {
            name: {
                "role": model.role,
                "deterministic": model.deterministic,
                "encoder": model.uses_encoder,
            }
            for name, model in self.models.items()
        }
        # How far windows depend on each other: whoever finds the run folder alone needs it for intervals.
        block_steps = 1 if data.store.independent else data.span
        head = {"models": kinds, "classes": list(data.classes), "block_steps": block_steps}
        write_json(workspace.folder / "models.json", head)

    def unit_path(self, unit: Unit, inputs: Mapping[str, Artifact], cache: Path) -> Path:
        """Where the predictions of a unit are kept; by all that can change them."""
        model = self.models[unit.model]
        setup = dataclasses.replace(self.setup, seeds=(unit.seed,))
        alone = dataclasses.replace(self.only([unit.model]), setup=setup)
        read = {name: item.digest for name, item in inputs.items() if name != "encoder" or model.needs_pretraining}
        config = {**describe(alone), "models": [describe(model)]}  # the name a user gives a model changes nothing
        made_from = {
            "config": config,
            "left_out": unit.left_out,
            "share": unit.share,
            "inputs": read,
            "code": code_version(alone),
        }
        return cache / f"{digest_json(made_from)[:32]}.safetensors"


@dataclass(frozen=True)
class UnitFitter:
    """Does one unit after another in a process of its own.

    Attributes:
        stage: models and how they are fitted.
        inputs: artifacts of the stages before.
        data: what they hold.
        labelled, test: windows with the inputs of the run's transform.
        pool: windows without a label.
    """

    stage: Oof
    inputs: Mapping[str, Artifact]
    data: Dataset
    labelled: LabelledWindows
    test: LabelledWindows
    pool: UnlabelledPool

    @classmethod
    def open(cls, stage: Oof, inputs: Mapping[str, Artifact]) -> Self:
        """From the artifacts ``bars``, ``windows`` and ``splits``."""
        data, transform = Dataset.open(inputs), stage.setup.transform
        labelled = data.gather(data.labels["row"], data.labels["label"], transform)
        test = data.gather(data.test["row"], data.test["true_label"], transform)
        return cls(stage, inputs, data, labelled, test, UnlabelledPool(data, inputs["splits"]))

    def __call__(self, task: tuple[Unit, Path]) -> tuple[KeptUnit, list[Alarm]]:
        """Fit one unit and keep what it leaves; and the alarms of the fit."""
        unit, path = task
        folds = self.data.folds
        train = self.labelled[unit.train(folds, self.labelled.labels)]
        held_out = self.labelled[unit.predicted(folds)] if unit.left_out else self.test
        alarms: list[Alarm] = []
        started = time.perf_counter()
        predicted = self.predict(unit, train, held_out.without_labels(), alarms.append)
        left = KeptUnit(predicted, time.perf_counter() - started)
        write_unit(path, left)
        return left, alarms

    def predict(
        self,
        unit: Unit,
        train: LabelledWindows,
        held_out: LabelledWindows,
        on_alarm: Callable[[Alarm], None],
        on_epoch: Callable[[float, np.ndarray], None] | None = None,
    ) -> np.ndarray:
        """Fit the model of a unit on some windows and ask it about others.

        Args:
            unit: which fit.
            train: with labels.
            held_out: without.
            on_alarm: called with each alarm of the fit.
            on_epoch: called by a model that trains in epochs after each, with the share of the fit that is done and the
                probabilities of `held_out` by then.
        """
        stage, model = self.stage, self.stage.models[unit.model]
        pretrained = self.inputs.get("encoder") if model.needs_pretraining else None
        train, held_out = stage.setup.fold_inputs(train, held_out, self.data, pretrained)
        resources = stage.setup.resources(unit.seed, self.data, stage.fit, pretrained, stage.augmentations)
        unlabelled = self.pool.bars_for(model, unit.left_out)

        def attend(share: float, classifier: Classifier) -> None:
            if on_epoch is not None:
                on_epoch(share, probabilities_of(classifier, held_out, unit.spoken))

        attended = None if on_epoch is None else attend
        fitted = model.fit(
            train, dataclasses.replace(resources, on_alarm=on_alarm, on_partial_fit=attended, unlabelled=unlabelled)
        )
        if isinstance(fitted, FittedEncoder) and model.needs_pretraining:
            fitted.check_start(resources.pretrained, unit.spoken)
        return probabilities_of(fitted, held_out, unit.spoken)


def predicted_shape(unit: Unit, data: Dataset) -> tuple[int, int]:
    """Of the probabilities that a unit leaves."""
    return (len(unit.predicted(data.folds)) if unit.left_out else len(data.test), len(data.classes))


def _costs(found: Mapping[Unit, KeptUnit]) -> dict[str, dict[str, float]]:
    """Fits and seconds of each model."""
    costs: dict[str, dict[str, float]] = {}
    for unit, left in found.items():
        own = costs.setdefault(unit.model, {"fits": 0, "seconds": 0.0})
        own["fits"] += 1
        own["seconds"] = round(own["seconds"] + left.seconds, 4)
    return costs


def _plain(unit: Unit, predicted: np.ndarray, data: Dataset) -> Iterator[pl.DataFrame]:
    """What a unit says of its own fold, or of the sealed test."""
    if not unit.left_out:
        yield predictions_frame(unit, TEST_FOLD, data.test["window_id"], predicted, data.classes)
    elif len(unit.left_out) == 1:
        ids = data.labels["window_id"][unit.predicted(data.folds).tolist()]
        yield predictions_frame(unit, unit.left_out[0], ids, predicted, data.classes)


def _nested(unit: Unit, predicted: np.ndarray, data: Dataset, plan: NestedPlan) -> Iterator[pl.DataFrame]:
    """What a unit says for outer folds that it knows nothing of."""
    for outer, inner, rows, places in nested_rows(data.folds, plan, unit):
        ids = data.labels["window_id"][rows.tolist()]
        yield nested_frame(predictions_frame(unit, inner, ids, predicted[places], data.classes), outer)


def nested_frame(frame: pl.DataFrame, outer: int) -> pl.DataFrame:
    """Rows of `moola.schemas.nested` from such of one inner fold."""
    return frame.drop("split").insert_column(3, pl.Series("outer", [outer] * len(frame), dtype=pl.Int64))


def _model(values: Any, path: str) -> Model:
    model = MODELS.build_section(values, path, key="kind")
    require_model(model, path)
    return model


def _models(section: Mapping[str, Any]) -> dict[str, Model]:
    """Build every model of ``model``: name -> kind and parameters; all problems in one go."""
    if not section:
        raise ConfigError(["model: needs at least one"])
    reject(
        *(
            (
                name == display_name(other),
                f"model.{name}: '{name}' is how '{other}' is called on pages; name it otherwise",
            )
            for name in section
            for other in section
            if other != name
        )
    )
    builders = (functools.partial(_model, values, f"model.{name}") for name, values in section.items())
    return dict(zip(section, build_all(*builders), strict=True))
