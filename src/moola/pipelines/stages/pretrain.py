"""Learn an encoder from the training windows without their labels: one encoder a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from moola.augment import Augmentation, AugmentSection, chain
from moola.config import RunConfig, build_all, describe
from moola.errors import DataError
from moola.features import Fittable, Restorable, Transform
from moola.features.saving import save_transform
from moola.layout import write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.setup import FITTED_TRANSFORM, EncoderSetup
from moola.pipelines.stage import Stage, Workspace
from moola.pretraining import OBJECTIVES, Objective, ObjectiveConfig, Reconstructing, WindowInputs
from moola.training.schedule import FitConfig, Monitoring, TrainerSection

if TYPE_CHECKING:
    import torch

    from moola.data.device_batches import Batch, DeviceBatches


N_PICTURES = 3
_PORTION = 1024


@dataclass(frozen=True)
class Pretrain(Stage):
    """An encoder for each seed, with its loss curve, snapshots and a few reconstructions."""

    setup: EncoderSetup
    objective: ObjectiveConfig
    augmentations: tuple[Augmentation, ...]
    fit: FitConfig
    monitoring: Monitoring
    name: ClassVar[str] = "pretrain"
    provides: ClassVar[str] = "encoder"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    room: ClassVar[str] = "artifacts/encoders/pretrained"
    packages: ClassVar[Mapping[str, str]] = {"polars": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``transform``, ``encoder``, ``objective``, ``augment.pretrain`` and ``trainer.pretrain``."""
        setup, objective, augment, trainer = build_all(
            lambda: EncoderSetup.from_config(config),
            lambda: OBJECTIVES.build_section(config.objective, "objective"),
            lambda: AugmentSection.from_config(config.augment),
            lambda: TrainerSection.from_config(config.trainer),
        )
        return cls(setup, objective, augment.pretrain, trainer.pretrain, trainer.monitoring)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes an encoder and a history a seed, snapshots, ``reconstructions.safetensors``, ``encoder.json``.

        A transform that has to be fitted is fitted on the windows to train on, and written as ``transform.json``.
        """
        data = Dataset.open(inputs)
        train, validation = pretraining_windows(data, self.monitoring.validation_share)
        transform = self.setup.fitted_transform(data, train)
        if isinstance(self.setup.transform, Fittable):
            save_transform(workspace.folder / FITTED_TRANSFORM, transform)
        fitted = dataclasses.replace(self, setup=dataclasses.replace(self.setup, transform=transform))
        channels = transform.output_channels(data.store.channels)
        for seed in self.setup.seeds:
            if not (workspace.folder / f"history-seed{seed}.json").exists():  # left whole by a run that was killed
                fitted._pretrain(seed, data, train, validation, workspace)
        write_json(
            workspace.folder / "encoder.json",
            {
                "encoder": describe(self.setup.encoder),
                "transform": describe(transform),
                "inputs": list(channels),
                "visible_bars": data.windows.visible,
                "seeds": list(self.setup.seeds),
                "windows": {"train": len(train), "validation": len(validation)},
                "masked_share": _masked_share(self.objective, data.windows.visible),
            },
        )

    def _pretrain(
        self, seed: int, data: Dataset, train: np.ndarray, validation: np.ndarray, workspace: Workspace
    ) -> None:
        import torch

        from moola.data.device_batches import DeviceBatches
        from moola.data.gathering import place_bars
        from moola.training.device import choose_device
        from moola.training.loop import fit
        from moola.training.weights import save_weights

        device = choose_device(self.setup.device)
        visible, folder = data.windows.visible, workspace.folder
        values = place_bars(data.store.values, device)

        def apply(bars: torch.Tensor) -> torch.Tensor:
            return self.setup.transform.apply(bars, data.store.channels)

        shape = self.setup.input_shape(data)
        torch.manual_seed(seed)
        encoder = self.setup.encoder.build(shape)
        save_weights(folder / "snapshots" / f"seed{seed}-epoch000.safetensors", encoder.state_dict())
        objective: Any = self.objective.build(encoder, WindowInputs(shape, data.store.channels, apply))
        objective.to(device)
        starts = data.windows.starts
        augment = chain(self.augmentations, data.store.channels)
        batches = DeviceBatches(values, starts[train], visible, apply, self.fit.batch_size, seed, augment=augment)
        watched = DeviceBatches(values, starts[validation], visible, apply, _PORTION, seed, shuffle=False)

        def on_epoch(record: dict[str, float]) -> None:
            epoch = int(record["epoch"])
            if epoch in self.monitoring.snapshot_epochs or epoch == self.fit.epochs:
                save_weights(folder / "snapshots" / f"seed{seed}-epoch{epoch:03d}.safetensors", encoder.state_dict())
            shown = {name: round(value, 4) for name, value in record.items() if name in ("loss", "val_reconstruction")}
            done = self.setup.seeds.index(seed) * self.fit.epochs + epoch
            workspace.progress(done, len(self.setup.seeds) * self.fit.epochs, f"seed {seed}, epoch {epoch}", **shown)

        history = fit(
            objective,
            batches,
            self.fit,
            validate=lambda: mean_over_windows(objective, watched),
            checkpoint=folder / "resume" / f"seed{seed}.safetensors",
            on_epoch=on_epoch,
        )
        save_weights(folder / f"encoder-seed{seed}.safetensors", encoder.state_dict())
        if seed == self.setup.seeds[0]:
            chosen = starts[validation[:: max(len(validation) // N_PICTURES, 1)][:N_PICTURES]]
            (batch,) = DeviceBatches(values, chosen, visible, apply, N_PICTURES, seed, shuffle=False)
            _save_pictures(folder, objective, self.setup.transform, batch, data)
        write_json(folder / f"history-seed{seed}.json", history)


def mean_over_windows(objective: Objective, batches: DeviceBatches) -> dict[str, float]:
    """Validation figures of all windows, a portion at a time: memory does not grow with their number."""
    totals: dict[str, float] = {}
    for batch in batches:
        for name, value in objective.validate(batch).items():
            totals[name] = totals.get(name, 0.0) + value * len(batch.index)
    return {name: total / len(batches.starts) for name, total in totals.items()}


def pretraining_windows(data: Dataset, validation_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Window numbers to pretrain on and to validate on: the training span without its labels, cut once in time.

    Windows that overlap the sealed test are in neither, because they are not in the training span. Windows that
    share time with the validation part do not train; independent cases share none and are simply cut.

    Raises:
        DataError: one of the two is empty.
    """
    rows = data.table.filter(pl.col("span") == "train")["row"].to_numpy()
    spans = data.spans[rows]
    border = np.quantile(spans.first_step, 1 - validation_share, method="higher")
    train, validation = rows[spans.last_step < border], rows[spans.first_step >= border]
    if not len(train) or not len(validation):
        raise DataError(
            "the training span is too short to pretrain on",
            f"{len(rows)} windows leave {len(train)} to train on and {len(validation)} to validate on",
            "use more bars, shorter windows or a later split.test_from",
        )
    return train, validation


def _save_pictures(folder: Path, objective: Objective, transform: Transform, batch: Batch, data: Dataset) -> None:
    """Keep a few validation windows with their reconstructions, as candles where the transform can be undone."""
    from moola.features.candles import candle_columns
    from moola.training.weights import save_weights

    if not isinstance(objective, Reconstructing):
        return
    inputs, bars = batch.inputs, batch.bars
    rebuilt, mask = objective.reconstruct(batch)
    if isinstance(transform, Restorable):
        inputs = bars[..., candle_columns(data.store.channels, "reconstruction")]
        rebuilt = transform.restore(rebuilt, bars, data.store.channels)
    save_weights(
        folder / "reconstructions.safetensors", {"original": inputs, "rebuilt": rebuilt, "mask": mask.to(inputs.dtype)}
    )


def _masked_share(objective: ObjectiveConfig, n_bars: int) -> float | None:
    realised = getattr(objective, "realised_ratio", None)
    return realised(n_bars) if realised else None
