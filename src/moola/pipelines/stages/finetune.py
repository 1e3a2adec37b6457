"""The classifier itself: the encoder fine-tuned on all given labels, saved with what it needs to be used."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from moola.augment import Augmentation, AugmentSection
from moola.config import RunConfig, build_all, describe, reject, structure
from moola.labels import POINTER_COLUMNS
from moola.layout import read_json, replace_atomically, write_json
from moola.models import LabelledWindows
from moola.models.saved import save_model
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.setup import EncoderSetup, noted
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.unlabelled_pool import UnlabelledPool
from moola.training.finetuning import FinetunedEncoder
from moola.training.fitted_encoder import FittedEncoder, member_file
from moola.training.schedule import FitConfig, TrainerSection


@dataclass(frozen=True)
class Finetune(Stage):
    """One classifier a seed, in a folder of its own, with what was transferred and how far each layer moved."""

    setup: EncoderSetup
    fit: FitConfig
    model: FinetunedEncoder
    augmentations: tuple[Augmentation, ...] = ()
    name: ClassVar[str] = "finetune"
    provides: ClassVar[str] = "classifier"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "encoder")
    room: ClassVar[str] = "artifacts/models/pretrained"
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"polars": "data"}

    def __post_init__(self) -> None:
        reject(*self.model.schedule_rules(self.fit, "model.finetuned"))

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``trainer.finetune``, ``augment.finetune`` and the model named ``finetuned``, or its defaults without one."""
        chosen = {key: value for key, value in config.model.get("finetuned", {}).items() if key != "kind"}
        setup, trainer, model, augment = build_all(
            lambda: EncoderSetup.from_config(config),
            lambda: TrainerSection.from_config(config.trainer),
            lambda: structure(FinetunedEncoder, chosen, "model.finetuned"),
            lambda: AugmentSection.from_config(config.augment),
        )
        return cls(setup, trainer.finetune, model, augment.finetune)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes the folder of every seed (`saved_folder`; `moola.models.saved` loads it), and ``classifier.json``.

        Where training windows have pointers, ``pointers.parquet`` holds those predicted for the sealed test. A run
        that was killed goes on with the first seed that was not done.
        """
        data = Dataset.open(inputs)
        require_labels(data)
        transform = self.setup.encoder_transform(inputs["encoder"])
        windows = data.gather(data.labels["row"], data.labels["label"], transform)
        untrained = read_json(inputs["encoder"].path("encoder.json")).get("untrained", [])
        for number, seed in enumerate(self.setup.seeds, start=1):
            if not _finished(seed, workspace).exists():  # left whole by a run that was killed
                self._finetune(seed, data, windows, inputs, workspace)
            members = read_json(_finished(seed, workspace))
            changes = [moved for member in members for moved in member["relative_weight_change"]["layers"].values()]
            what = f"seed {seed}, {_transferred(members[0], untrained)}"
            workspace.progress(number, len(self.setup.seeds), what, largest_change=round(max(changes), 3))
        found = [_pointers_of(seed, workspace) for seed in self.setup.seeds]
        pointers = [pl.read_parquet(path) for path in found if path.exists()]
        if pointers:
            with replace_atomically(workspace.folder / "pointers.parquet") as handle:
                pl.concat(pointers).write_parquet(handle)
        write_json(
            workspace.folder / "classifier.json",
            {
                "classes": list(data.classes),
                "model": describe(self.model),
                "encoder": describe(self.setup.encoder),
                "transform": describe(transform),
                "source_channels": list(data.store.channels),
                "visible_bars": data.windows.visible,
                "zone": list(data.windows.zone),
                "labels": len(windows),
                "members": [member for seed in self.setup.seeds for member in read_json(_finished(seed, workspace))],
            },
        )

    def _finetune(
        self,
        seed: int,
        data: Dataset,
        windows: LabelledWindows,
        inputs: Mapping[str, Artifact],
        workspace: Workspace,
    ) -> None:
        """Write the weights of one seed and the pointers it predicts, and last of all what is told of its members."""
        encoder = inputs["encoder"]
        which = f"the classifier of seed {seed}"
        resources = dataclasses.replace(
            self.setup.resources(seed, data, self.fit, encoder, self.augmentations),
            on_alarm=noted(workspace, which),
            on_epoch=lambda record: workspace.events.emit("epoch", stage=self.name, seed=seed, **record),
            unlabelled=UnlabelledPool(data, inputs["splits"]).bars_for(self.model, ()),
        )
        fitted = self.model.fit(windows, resources)
        if self.model.needs_pretraining:
            fitted.check_start(resources.pretrained, which)
        told = self._save(seed, fitted, data.classes, workspace)
        if fitted.points and len(data.test):
            transform = self.setup.encoder_transform(encoder)
            test = data.gather(data.test["row"], data.test["true_label"], transform).without_labels()
            with replace_atomically(_pointers_of(seed, workspace)) as handle:
                pointers_frame(seed, fitted, test, data.test["window_id"]).write_parquet(handle)
        write_json(_finished(seed, workspace), told)

    def _save(
        self, seed: int, fitted: FittedEncoder, classes: Sequence[str], workspace: Workspace
    ) -> list[dict[str, Any]]:
        """Write the folder of one seed; what ``classifier.json`` says of each member, which the run's log gets too."""
        folder = workspace.folder / saved_folder(seed)
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed before the seed was done
        shape = fitted.plan.shape
        save_model(folder, self.model, fitted, n_bars=shape.n_bars, n_inputs=shape.n_inputs, classes=classes)
        told: list[dict[str, Any]] = []
        for number, member in enumerate(fitted.members):
            said = {"seed": seed, "member": number, "started_from": member.started_from}
            transfer, moved = member.transfer, member.movement.to_json()
            workspace.events.emit(
                "transfer",
                stage=self.name,
                **said,
                **{kind: len(names) for kind, names in vars(transfer).items()} if transfer else {},
            )
            workspace.events.emit("movement", stage=self.name, **said, layers=moved["layers"])
            told.append(
                {
                    "weights": f"{saved_folder(seed)}/{member_file(number)}",
                    **said,
                    "pointers": fitted.points,
                    "transfer": transfer.to_json() if transfer else None,
                    "relative_weight_change": moved,
                }
            )
        return told


def _finished(seed: int, workspace: Workspace) -> Path:
    """Holds what is told of a seed's members; where it is, the seed is done."""
    return workspace.folder / "resume" / f"members-seed{seed}.json"


def _pointers_of(seed: int, workspace: Workspace) -> Path:
    return workspace.folder / "resume" / f"pointers-seed{seed}.parquet"


def _transferred(member: Mapping[str, Any], untrained: Sequence[str]) -> str:
    """Where the weights of a fit come from; `untrained`: layers of the encoder that pretraining left as they were."""
    report = member["transfer"]
    if not report:
        return "from scratch"
    but = f" (but {', '.join(untrained)}: not trained)" if untrained else ""
    return f"{len(report['matched'])} pretrained weights taken over{but}"


def saved_folder(seed: int) -> str:
    """Name of the folder of one fit: ``classifier-seed0``."""
    return f"classifier-seed{seed}"


def pointers_frame(seed: int, fitted: FittedEncoder, windows: LabelledWindows, ids: pl.Series) -> pl.DataFrame:
    """Predicted first and last bar of windows: ``window_id``, ``seed`` and the columns of `moola.labels`."""
    found = fitted.predict_pointers(windows)
    return pl.DataFrame(
        {
            "window_id": ids,
            "seed": pl.Series([seed] * len(ids), dtype=pl.Int64),
            **{name: pl.Series(found[:, i], dtype=pl.Int64) for i, name in enumerate(POINTER_COLUMNS)},
        }
    )
