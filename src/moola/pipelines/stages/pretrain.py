"""Learn an encoder from the training windows without their labels: one encoder a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from moola.augment import Augmentation, AugmentSection, chain
from moola.config import RunConfig, build_all, describe
from moola.errors import DataError
from moola.features import Fittable, Restorable, Transform
from moola.features.saving import save_transform
from moola.layout import write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.pretraining_checks import check_batch_size, check_count, check_movement, notes
from moola.pipelines.setup import FITTED_TRANSFORM, EncoderSetup, evenly_spaced
from moola.pipelines.stage import Stage, Workspace
from moola.pipelines.window_set import UNLABELLED_FILES, WindowSet
from moola.pretraining import (
    OBJECTIVES,
    Objective,
    ObjectiveConfig,
    Reconstructing,
    WindowInputs,
    check_windows,
    least_batch,
)
from moola.training.schedule import FitConfig, Monitoring, TrainerSection

if TYPE_CHECKING:
    import torch

    from moola.data.device_batches import Batch, DeviceBatches
    from moola.data.draws import Draws
    from moola.data.gathering import HostBars
    from moola.models.encoder import Encoder
    from moola.training.alarms import Alarm


N_PICTURES = 3
OBJECTIVE_WEIGHTS = "objective/first-seed.safetensors"
"""File of the artifact with encoder and decoder of the first seed, where the objective rebuilds its inputs."""
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
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = UNLABELLED_FILES
    distributed: ClassVar[bool] = True
    room: ClassVar[str] = "artifacts/encoders/pretrained"
    packages: ClassVar[Mapping[str, str]] = {"polars": "data"}

    def __post_init__(self) -> None:
        if self.fit.batch_size != "auto":
            check_batch_size(self.fit.batch_size, least_batch(self.objective))

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

    def check_windows(self, n_bars: int) -> None:
        """Whether the encoder and the objective take such windows."""
        check_windows([self.setup.encoder, self.objective], n_bars)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes an encoder and a history a seed, snapshots, pictures, `OBJECTIVE_WEIGHTS`, ``encoder.json``.

        A transform that has to be fitted is fitted on the windows to train on, and written as ``transform.json``.
        Under ``torchrun`` every process trains, and the first one writes.
        """
        from moola.training.ranks import current

        data = WindowSet.open(inputs)
        train, validation = pretraining_windows(data, self.monitoring.validation_share)
        transform = self.setup.fitted_transform(data, train)
        fitted = dataclasses.replace(self, setup=dataclasses.replace(self.setup, transform=transform))
        windows = _Windows.of(data, train, validation, fitted)
        check_count(len(train), windows.least_batch, current().world_size)
        check_movement(windows.as_they_are(), data.store.channels)
        training = fitted._pretrain_all(windows, workspace)
        if not current().first:
            return
        if isinstance(self.setup.transform, Fittable):
            save_transform(workspace.folder / FITTED_TRANSFORM, transform)
        write_json(
            workspace.folder / "encoder.json",
            {
                "encoder": describe(self.setup.encoder),
                "transform": describe(transform),
                "inputs": list(transform.output_channels(data.store.channels)),
                "visible_bars": data.windows.visible,
                "seeds": list(self.setup.seeds),
                "windows": {"train": len(train), "validation": len(validation)},
                "shown": list(_shown_channels(transform, data.store.channels)),
                "masked_share": _masked_share(self.objective, data.windows.visible),
                "untrained": fitted._untrained(windows, workspace),
                "training": training,
            },
        )

    def _pretrain_all(self, windows: _Windows, workspace: Workspace) -> dict[str, Any]:
        """Every seed that a run before this one did not finish; the batch size and precision they are trained with."""
        from moola.training.batch_size import choose_batch_size
        from moola.training.precision import realise
        from moola.training.ranks import current

        left = [seed for seed in self.setup.seeds if not (workspace.folder / f"history-seed{seed}.json").exists()]
        current().meet()  # all have looked: the first process must not finish a seed while another still decides
        batch_size = choose_batch_size(
            self._build(self.setup.seeds[0], windows)[1],
            lambda size: windows.to_train(size, self.setup.seeds[0]),
            self.fit,
            workspace.folder / "resume" / "batch_size.json",
            windows.least_batch,
        )
        check_batch_size(batch_size.size, windows.least_batch, current().world_size)
        if self.fit.batch_size == "auto":
            workspace.events.emit("batch_size", stage=self.name, **batch_size.to_json())
        for message in notes(len(windows.train), len(windows.validation), batch_size.size, windows.least_batch):
            workspace.events.emit("note", stage=self.name, message=message)
        for seed in left:
            self._pretrain(seed, windows, batch_size.size, workspace)
        precision = realise(self.fit.precision, windows.device)
        return {"batch_size": batch_size.size, "batch_size_why": batch_size.why, "precision": precision.name}

    def _build(self, seed: int, windows: _Windows) -> tuple[Encoder, Any]:
        """Encoder and objective with the random weights of a seed."""
        import torch

        from moola.training.memory import within_memory

        shape = self.setup.input_shape(windows.data)
        torch.manual_seed(seed)
        with within_memory(self.setup.encoder, "encoder"):
            encoder = self.setup.encoder.build(shape)
        inputs = WindowInputs(shape, windows.data.store.channels, windows.apply)
        with within_memory(self.objective, "objective"):
            objective: Any = self.objective.build(encoder, inputs)
        with within_memory(self.setup.encoder, "encoder"):
            return encoder, objective.to(windows.device)

    def _pretrain(self, seed: int, windows: _Windows, batch_size: int, workspace: Workspace) -> None:
        from moola.training.loop import fit
        from moola.training.ranks import current
        from moola.training.weights import save_weights

        folder, writes = workspace.folder, current().first
        encoder, objective = self._build(seed, windows)
        known = self.setup.settling_inputs(windows.data, windows.train, self.setup.transform).to(windows.device)

        def snapshot(epoch: int) -> None:
            if writes:
                encoder.settle(known)
                save_weights(folder / "snapshots" / f"seed{seed}-epoch{epoch:03d}.safetensors", encoder.state_dict())

        def on_epoch(record: dict[str, float]) -> None:
            epoch = int(record["epoch"])
            if self.monitoring.takes_snapshot(epoch) or epoch == self.fit.epochs:
                snapshot(epoch)
            workspace.events.emit("epoch", stage=self.name, seed=seed, **record)
            shown = {name: round(value, 4) for name, value in record.items() if name in ("loss", "val_loss")}
            done = self.setup.seeds.index(seed) * self.fit.epochs + epoch
            workspace.progress(done, len(self.setup.seeds) * self.fit.epochs, f"seed {seed}, epoch {epoch}", **shown)

        def on_alarm(alarm: Alarm) -> None:
            workspace.events.emit("note", stage=self.name, seed=seed, alarm=alarm.kind, message=alarm.message)

        def on_resume(done: dict[str, int]) -> None:
            message = f"seed {seed} resumed after epoch {done['epoch']} (step {done['step']})"
            workspace.events.emit("note", stage=self.name, seed=seed, message=message)

        snapshot(0)
        watched = windows.to_validate(seed)
        history = fit(
            objective,
            windows.to_train(batch_size, seed),
            self.fit,
            validate=lambda: mean_over_windows(objective, watched),
            checkpoint=folder / "resume" / f"seed{seed}.safetensors",
            on_epoch=on_epoch,
            on_steps=lambda line: workspace.events.emit("steps", stage=self.name, seed=seed, **line),
            on_alarm=on_alarm,
            on_resume=on_resume,
        )
        if not writes:
            return
        if self.fit.patience:
            kept = int(min(history, key=lambda record: record["val_loss"])["epoch"])
            _forget_snapshots(folder, seed, after=kept)
            snapshot(kept)
        encoder.settle(known)
        save_weights(folder / f"encoder-seed{seed}.safetensors", encoder.state_dict())
        if seed == self.setup.seeds[0]:
            (batch,) = windows.to_show(seed)
            _save_pictures(folder, objective, self.setup.transform, batch, windows.data)
            learned = objective.state_dict()
            if isinstance(objective, Reconstructing):
                save_weights(folder / OBJECTIVE_WEIGHTS, learned)
        write_json(folder / f"history-seed{seed}.json", history)

    def _untrained(self, windows: _Windows, workspace: Workspace) -> list[str]:
        """Layers that the first seed's encoder has as they were at random; the log is told of them."""
        from moola.training.alarms import look_at_layers
        from moola.training.movement import snapshot, untrained_layers
        from moola.training.weights import load_weights, transfer_weights

        seed = self.setup.seeds[0]
        encoder = self.setup.encoder.build(self.setup.input_shape(windows.data))
        transfer_weights(encoder, load_weights(workspace.folder / "snapshots" / f"seed{seed}-epoch000.safetensors"))
        before = snapshot(encoder)
        transfer_weights(encoder, load_weights(workspace.folder / f"encoder-seed{seed}.safetensors"))
        untrained = untrained_layers(encoder, before)
        for alarm in look_at_layers(untrained):
            workspace.events.emit("note", stage=self.name, alarm=alarm.kind, message=alarm.message)
        return untrained


@dataclass(frozen=True)
class _Windows:
    """The windows of all seeds, with their bars where the model trains."""

    data: WindowSet
    train: np.ndarray
    validation: np.ndarray
    values: torch.Tensor | HostBars
    apply: Callable[[torch.Tensor], torch.Tensor]
    augment: Callable[[torch.Tensor, Draws], torch.Tensor] | None
    least_batch: int

    @classmethod
    def of(cls, data: WindowSet, train: np.ndarray, validation: np.ndarray, stage: Pretrain) -> _Windows:
        """Bring the bars to the device that the run asks for."""
        from moola.data.gathering import place_bars
        from moola.training.device import choose_device

        channels, transform = data.store.channels, stage.setup.transform
        values = place_bars(data.store.values, choose_device(stage.setup.device))
        augment = chain(stage.augmentations, channels)
        least = least_batch(stage.objective)
        return cls(data, train, validation, values, lambda bars: transform.apply(bars, channels), augment, least)

    @property
    def device(self) -> torch.device:
        return self.values.device

    def to_train(self, batch_size: int, seed: int) -> DeviceBatches:
        """Batches in seeded order, shared out where several processes train.

        A last batch of which some process could learn nothing is left out: of other windows in each epoch.
        """
        from moola.training.ranks import current

        ranks = current()
        shared = {"rank": ranks.rank, "world_size": ranks.world_size}
        too_small = 0 < len(self.train) % batch_size < self.least_batch * ranks.world_size
        return self._batches(self.train, batch_size, seed, augment=self.augment, drop_last=too_small, **shared)

    def as_they_are(self) -> DeviceBatches:
        """The windows to train on in their order, in batches that no process shares."""
        return self._batches(self.train, _PORTION, 0, shuffle=False)

    def to_validate(self, seed: int) -> DeviceBatches:
        return self._batches(self.validation, _PORTION, seed, shuffle=False)

    def to_show(self, seed: int) -> DeviceBatches:
        """One batch of a few windows from all over the validation part."""
        return self._batches(evenly_spaced(self.validation, N_PICTURES), N_PICTURES, seed, shuffle=False)

    def _batches(self, windows: np.ndarray, batch_size: int, seed: int, **options: Any) -> DeviceBatches:
        from moola.data.device_batches import DeviceBatches

        starts = self.data.windows.starts[windows]
        return DeviceBatches(self.values, starts, self.data.windows.visible, self.apply, batch_size, seed, **options)


def mean_over_windows(objective: Objective, batches: DeviceBatches) -> dict[str, float]:
    """Validation figures of all windows, a portion at a time: memory does not grow with their number."""
    totals: dict[str, float] = {}
    for batch in batches:
        for name, value in objective.validate(batch).items():
            totals[name] = totals.get(name, 0.0) + value * len(batch.index)
    return {name: total / len(batches.starts) for name, total in totals.items()}


def pretraining_windows(data: WindowSet, validation_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Window numbers to pretrain on and to validate on: the training span without its labels, cut once in time.

    Windows that overlap the sealed test are in neither, because they are not in the training span. Windows that
    share time with the validation part do not train; independent cases share none and are simply cut.

    Raises:
        DataError: one of the two is empty.
    """
    rows = data.rows_of("train")
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


def _save_pictures(folder: Path, objective: Objective, transform: Transform, batch: Batch, data: WindowSet) -> None:
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


def _shown_channels(transform: Transform, channels: tuple[str, ...]) -> tuple[str, ...]:
    """What `_save_pictures` keeps of a window."""
    from moola.features.candles import OHLC

    return OHLC if isinstance(transform, Restorable) else transform.output_channels(channels)


def _forget_snapshots(folder: Path, seed: int, *, after: int) -> None:
    """Delete those of epochs whose weights were not kept: the curve ends with the encoder that is used."""
    for path in (folder / "snapshots").glob(f"seed{seed}-epoch*.safetensors"):
        if int(path.stem.rpartition("epoch")[2]) > after:
            path.unlink()


def _masked_share(objective: ObjectiveConfig, n_bars: int) -> float | None:
    realised = getattr(objective, "realised_ratio", None)
    return realised(n_bars) if realised else None
