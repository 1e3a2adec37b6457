"""Learn an encoder from the training windows without their labels: one encoder a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from moola.config import RunConfig, build_all, describe, reject, structure
from moola.errors import ConfigError, DataError
from moola.features import TRANSFORMS, Transform
from moola.layout import read_json, write_json
from moola.models import ENCODERS, EncoderConfig
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.stage import Stage, Workspace
from moola.pretraining import OBJECTIVES, Objective, ObjectiveConfig
from moola.training.schedule import FitConfig

if TYPE_CHECKING:
    import torch


N_PICTURES = 3


@dataclass(frozen=True)
class Monitoring:
    """What is watched while pretraining.

    Attributes:
        validation_share: last part of the training span, in time, kept for the validation loss; windows across its
            border train nothing.
        snapshot_epochs: epochs after which the encoder is kept for the probe curve; before the first and after the
            last it always is.
    """

    validation_share: float = 0.1
    snapshot_epochs: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        reject((not 0 < self.validation_share < 0.5, f"validation_share: {self.validation_share} must lie in (0, 0.5)"))


@dataclass(frozen=True)
class Pretrain(Stage):
    """An encoder for each seed, with its loss curve, snapshots and a few reconstructions."""

    seeds: tuple[int, ...]
    device: Literal["auto", "cpu", "cuda"]
    transform: Transform
    encoder: EncoderConfig
    objective: ObjectiveConfig
    fit: FitConfig
    monitoring: Monitoring
    name: ClassVar[str] = "pretrain"
    provides: ClassVar[str] = "encoder"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits")
    room: ClassVar[str] = "artifacts/encoders/pretrained"
    packages: ClassVar[Mapping[str, str]] = {"polars": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``transform``, ``encoder``, ``objective`` and ``trainer.pretrain``."""
        return cls(
            config.seeds,
            config.device,
            *build_all(
                lambda: TRANSFORMS.build_section(config.transform, "transform"),
                lambda: ENCODERS.build_section(config.encoder, "encoder"),
                lambda: OBJECTIVES.build_section(config.objective, "objective"),
                lambda: structure(FitConfig, config.trainer.get("pretrain", {}), "trainer.pretrain"),
                lambda: structure(Monitoring, config.trainer.get("monitoring", {}), "trainer.monitoring"),
            ),
        )

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes an encoder and a history a seed, snapshots, ``reconstructions.safetensors``, ``encoder.json``."""
        data = Dataset.open(inputs)
        train, validation = pretraining_windows(data, self.monitoring.validation_share)
        channels = self.transform.output_channels(data.store.channels)
        for seed in self.seeds:
            if not (workspace.folder / f"history-seed{seed}.json").exists():  # left whole by a run that was killed
                self._pretrain(seed, data, train, validation, workspace)
        write_json(
            workspace.folder / "encoder.json",
            {
                "encoder": describe(self.encoder),
                "transform": describe(self.transform),
                "inputs": list(channels),
                "visible_bars": data.windows.visible,
                "seeds": list(self.seeds),
                "windows": {"train": len(train), "validation": len(validation)},
                "masked_share": _masked_share(self.objective, data.windows.visible),
            },
        )

    def _pretrain(
        self, seed: int, data: Dataset, train: np.ndarray, validation: np.ndarray, workspace: Workspace
    ) -> None:
        import torch

        from moola.data.device_batches import DeviceBatches
        from moola.training.device import choose_device
        from moola.training.loop import fit
        from moola.training.weights import save_weights

        device = choose_device(self.device)
        visible, folder = data.windows.visible, workspace.folder
        values = torch.from_numpy(np.array(data.store.values)).to(device)

        def apply(bars: torch.Tensor) -> torch.Tensor:
            return self.transform.apply(bars, data.store.channels)

        torch.manual_seed(seed)
        encoder = self.encoder.build(len(self.transform.output_channels(data.store.channels)))
        save_weights(folder / "snapshots" / f"seed{seed}-epoch000.safetensors", encoder.state_dict())
        objective: Any = self.objective.build(
            encoder, len(self.transform.output_channels(data.store.channels)), visible
        )
        objective.to(device)
        held_out = torch.from_numpy(data.windows.gather(data.store.values, validation)).to(device)
        batches = DeviceBatches(values, data.windows.starts[train], visible, apply, self.fit.batch_size, seed)

        def on_epoch(record: dict[str, float]) -> None:
            epoch = int(record["epoch"])
            if epoch in self.monitoring.snapshot_epochs or epoch == self.fit.epochs:
                save_weights(folder / "snapshots" / f"seed{seed}-epoch{epoch:03d}.safetensors", encoder.state_dict())
            shown = {name: round(value, 4) for name, value in record.items() if name in ("loss", "val_reconstruction")}
            done = self.seeds.index(seed) * self.fit.epochs + epoch
            workspace.progress(done, len(self.seeds) * self.fit.epochs, f"seed {seed}, epoch {epoch}", **shown)

        history = fit(
            objective,
            batches,
            self.fit,
            validate=lambda: objective.validate(apply(held_out)),
            checkpoint=folder / "resume" / f"seed{seed}.safetensors",
            on_epoch=on_epoch,
        )
        save_weights(folder / f"encoder-seed{seed}.safetensors", encoder.state_dict())
        if seed == self.seeds[0]:
            _save_pictures(folder, objective, self.transform, held_out[:: max(len(held_out) // N_PICTURES, 1)], data)
        write_json(folder / f"history-seed{seed}.json", history)


def pretraining_windows(data: Dataset, validation_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Window numbers to pretrain on and to validate on: the training span without its labels, cut once in time.

    Windows that overlap the sealed test are in neither, because they are not in the training span. Calendar windows
    that reach into the validation part do not train; independent cases share no bars and are simply cut.

    Raises:
        DataError: one of the two is empty.
    """
    rows = data.table.filter(pl.col("span") == "train").sort("step")
    steps = rows["step"].to_numpy()
    border = np.quantile(steps, 1 - validation_share, method="higher")
    length = 1 if data.store.independent else data.windows.length
    train = rows["row"].to_numpy()[steps + length <= border]
    validation = rows["row"].to_numpy()[steps >= border]
    if not len(train) or not len(validation):
        raise DataError(
            "the training span is too short to pretrain on",
            f"{len(rows)} windows leave {len(train)} to train on and {len(validation)} to validate on",
            "use more bars, shorter windows or a later split.test_from",
        )
    return np.sort(train), np.sort(validation)


def _save_pictures(folder: Any, objective: Objective, transform: Transform, bars: torch.Tensor, data: Dataset) -> None:
    """Keep a few validation windows with their reconstructions, as candles where the transform can be undone."""
    from moola.features.candles import candle_columns
    from moola.training.weights import save_weights

    bars = bars[:N_PICTURES]
    inputs = transform.apply(bars, data.store.channels)
    rebuilt, mask = objective.reconstruct(inputs)
    restore = getattr(transform, "restore", None)
    if restore is not None:
        inputs = bars[..., candle_columns(data.store.channels, "reconstruction")]
        rebuilt = restore(rebuilt, bars, data.store.channels)
    save_weights(
        folder / "reconstructions.safetensors", {"original": inputs, "rebuilt": rebuilt, "mask": mask.to(inputs.dtype)}
    )


def _masked_share(objective: ObjectiveConfig, n_bars: int) -> float | None:
    realised = getattr(objective, "realised_ratio", None)
    return realised(n_bars) if realised else None


def load_history(artifact: Artifact, seed: int) -> list[dict[str, float]]:
    """Loss records of one seed."""
    return read_json(artifact.path(f"history-seed{seed}.json"))


def check_seeds(artifact: Artifact, seeds: tuple[int, ...]) -> None:
    """Every seed must have its encoder.

    Raises:
        ConfigError: one has none.
    """
    missing = [seed for seed in seeds if f"encoder-seed{seed}.safetensors" not in artifact.manifest["files"]]
    if missing:
        raise ConfigError([f"seeds: {missing} have no pretrained encoder"])
