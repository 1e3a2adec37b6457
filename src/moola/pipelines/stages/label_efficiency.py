"""What fewer labels would have given: some models once more on shares of the labels, judged on the sealed test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.config import RunConfig, build_all, reject, structure
from moola.errors import ConfigError, did_you_mean
from moola.layout import replace_atomically
from moola.models import MODELS
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.stages.oof import Oof
from moola.pipelines.units import TEST_FOLD, Unit, predictions_frame

USUAL = ("finetuned", "scratch", "logistic_regression")


@dataclass(frozen=True)
class LabelEfficiencySection:
    """The section ``stage.label_efficiency``.

    Attributes:
        models: which of the models of the run; null: those of `USUAL` that it has. A usual name or a kind of model that
            the run goes without is passed over, so that a model can be left out of an experiment that lists it here.
        shares: of the labels.
    """

    models: tuple[str, ...] | None = None
    shares: tuple[float, ...] = (0.1, 0.25, 0.5)

    def __post_init__(self) -> None:
        reject(
            (not self.shares, "shares: needs at least one"),
            (any(not 0 < share < 1 for share in self.shares), f"shares: {list(self.shares)} must lie between 0 and 1"),
            (len(set(self.shares)) < len(self.shares), f"shares: {list(self.shares)} holds one twice"),
        )


@dataclass(frozen=True)
class LabelEfficiency(Stage):
    """Predictions of the sealed test by models that got a share of the labels; every seed draws its own.

    Attributes:
        oof: the models and how they are fitted.
        shares: of the labels, besides all of them.
    """

    oof: Oof
    shares: tuple[float, ...]
    name: ClassVar[str] = "label_efficiency"
    provides: ClassVar[str] = "label_efficiency"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    uses: ClassVar[tuple[str, ...]] = ("encoder",)
    room: ClassVar[str] = "artifacts/oof/supervised"
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = Oof.packages

    def needs(self) -> tuple[str, ...]:
        """As the stage that fits the models on all labels."""
        return self.oof.needs()

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``stage.label_efficiency``, and all that the stage ``oof`` reads."""
        section, oof = build_all(
            lambda: structure(
                LabelEfficiencySection, config.stage.get("label_efficiency", {}), "stage.label_efficiency"
            ),
            lambda: Oof.from_config(config, settings),
        )
        chosen = USUAL if section.models is None else section.models
        passed_over = {*USUAL, "pretrained_probe", *MODELS.names()}
        unknown = [name for name in section.models or () if name not in oof.models and name not in passed_over]
        if unknown:
            raise ConfigError(
                f"stage.label_efficiency.models: the run has no model '{name}'; {did_you_mean(name, oof.models)}"
                for name in unknown
            )
        return cls(oof.only([name for name in chosen if name in oof.models]), section.shares)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``label_efficiency.parquet``: `moola.schemas.predictions`, ``n_labels`` and ``share``.

        All labels are among the shares. No rows where nothing is sealed.
        """
        data = Dataset.open(inputs)
        require_labels(data)
        labels = data.class_numbers(data.labels["label"])
        units = [
            Unit(name, seed, (), share)
            for name in self.oof.models
            for seed in self.oof.setup.seeds
            for share in (*self.shares, 1.0)
        ]
        found = self.oof.predict_units(units if len(data.test) else [], data, inputs, workspace)
        ids = data.test["window_id"]
        frames = [
            predictions_frame(unit, TEST_FOLD, ids, left.probabilities, data.classes).with_columns(
                n_labels=pl.lit(len(unit.train(data.folds, labels)), dtype=pl.Int64), share=pl.lit(unit.share)
            )
            for unit, left in found.items()
        ]
        nothing = predictions_frame(
            Unit("", 0), TEST_FOLD, ids.clear(), np.zeros((0, len(data.classes))), data.classes
        ).with_columns(n_labels=pl.lit(0, dtype=pl.Int64), share=pl.lit(1.0))
        with replace_atomically(workspace.folder / "label_efficiency.parquet") as handle:
            pl.concat([nothing, *frames]).write_parquet(handle)
