"""Learn a handful of windows by heart: what cannot do that has a defect, and no amount of data will mend it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.config import RunConfig, build_all, reject, structure
from moola.errors import EXIT_FAILED, MoolaError
from moola.layout import write_json
from moola.models import EncoderConfig
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.setup import EncoderSetup, noted
from moola.pipelines.stage import Stage, Workspace
from moola.pretraining import check_windows
from moola.training.finetuning import FinetunedEncoder
from moola.training.schedule import FitConfig, TrainerSection


class NotLearnedError(MoolaError):
    """An encoder cannot learn a handful of windows by heart."""

    exit_code = EXIT_FAILED


@dataclass(frozen=True)
class OverfitSection:
    """The section ``stage.overfit``.

    Attributes:
        windows: to learn, of all classes alike.
        steps: of the optimiser, each on all of them.
        max_log_loss: that may be left, in nats; none may be told wrong in any case.
    """

    windows: int = 16
    steps: int = 150
    max_log_loss: float = 0.1

    def __post_init__(self) -> None:
        reject(
            (self.windows < 2, f"windows: {self.windows} must be at least 2"),
            (self.steps < 1, f"steps: {self.steps} must be at least 1"),
            (self.max_log_loss <= 0, f"max_log_loss: {self.max_log_loss} must be positive"),
        )


@dataclass(frozen=True)
class Overfit(Stage):
    """The run's encoder from scratch, with its own learning rate and nothing that holds it back, on few windows."""

    setup: EncoderSetup
    fit: FitConfig
    section: OverfitSection = OverfitSection()
    name: ClassVar[str] = "overfit"
    provides: ClassVar[str] = "overfit"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    publishes: ClassVar[tuple[str, ...]] = ("overfit.json",)
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"polars": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``transform``, ``encoder``, ``trainer.finetune`` and ``stage.overfit``."""
        setup, trainer, section = build_all(
            lambda: EncoderSetup.from_config(config),
            lambda: TrainerSection.from_config(config.trainer),
            lambda: structure(OverfitSection, config.stage.get("overfit", {}), "stage.overfit"),
        )
        return cls(dataclasses.replace(setup, encoder=_unhindered(setup.encoder)), trainer.finetune, section)

    def check_windows(self, n_bars: int) -> None:
        """Whether the encoder takes such windows."""
        check_windows([self.setup.encoder], n_bars)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``overfit.json``.

        Raises:
            NotLearnedError: some windows are told wrong in the end, or right without being sure.
            DataError: no window has a label.
        """
        data = Dataset.open(inputs)
        require_labels(data)
        chosen = few_of_each(data.labels, self.section.windows)
        if len(chosen) < self.section.windows:
            told = (
                f"stage.overfit.windows={self.section.windows}: only {len(chosen)} windows have labels, all are taken"
            )
            workspace.events.emit("note", stage=self.name, message=told)
        transform = self.setup.fitted_transform(data, chosen["row"].to_numpy())
        windows = data.gather(chosen["row"], chosen["label"], transform)
        seed = self.setup.seeds[0]
        resources = self.setup.resources(seed, data, self._schedule(len(windows)), None)
        resources = dataclasses.replace(resources, on_alarm=noted(workspace, f"{len(windows)} windows"))
        model = FinetunedEncoder(init="random", head_dropout=0.0, frozen_epochs=0, encoder_lr_factor=1.0)
        probabilities = model.fit(windows, resources).predict_proba(windows)
        right = probabilities[np.arange(len(windows)), windows.labels]
        found = {
            "windows": len(windows),
            "steps": self.section.steps,
            "error": float((probabilities.argmax(axis=1) != windows.labels).mean()),
            "log_loss": float(-np.log(np.maximum(right, np.finfo(float).tiny)).mean()),
        }
        told = f"training error {found['error']:.3f}, log loss {found['log_loss']:.3g} after {self.section.steps} steps"
        if found["error"] > 0 or found["log_loss"] > self.section.max_log_loss:
            raise NotLearnedError(
                f"the encoder cannot learn {len(windows)} windows by heart",
                f"{told}; 0 and at most {self.section.max_log_loss:g} are wanted, and nothing held it back",
                f"look at the learning rate (trainer.finetune.lr={self.fit.lr:g}), the inputs (moola data describe), "
                "labels of windows that are alike, or give it more steps (stage.overfit.steps)",
            )
        workspace.events.emit("note", stage=self.name, message=f"{len(windows)} windows learned by heart: {told}")
        write_json(workspace.folder / "overfit.json", found)

    def _schedule(self, n_windows: int) -> FitConfig:
        """That of fine-tuning without what regularises or slows: every step sees all windows at the full rate."""
        return dataclasses.replace(
            self.fit,
            epochs=self.section.steps,
            batch_size=n_windows,
            accumulate=1,
            weight_decay=0.0,
            warmup=0.0,
            min_lr_ratio=1.0,
            ema_decay=0.0,
            swa_share=0.0,
        )


def _unhindered(encoder: EncoderConfig) -> EncoderConfig:
    """The encoder without dropout, where it has some."""
    has_some = any(item.name == "dropout" for item in dataclasses.fields(encoder))  # type: ignore[arg-type]
    return dataclasses.replace(encoder, dropout=0.0) if has_some else encoder  # type: ignore[type-var,call-arg]


def few_of_each(labels: pl.DataFrame, n: int) -> pl.DataFrame:
    """At most `n` rows of a labels table, the classes in turns, those of a class evenly spaced over its own."""
    share = -(-n // labels["label"].n_unique())
    spaced = (pl.int_range(pl.len()) * share // pl.len()).over("label")
    firsts = labels.with_columns(turn=spaced).unique(["label", "turn"], keep="first", maintain_order=True)
    return firsts.sort("turn", maintain_order=True).head(n).drop("turn")
