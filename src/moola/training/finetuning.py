"""Fine-tuning an encoder and a head on few labels, and the same from scratch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch

from moola.config import reject
from moola.data.device_batches import Batch, DeviceBatches
from moola.data.draws import mix_seeds
from moola.errors import DataError
from moola.models import ENCODERS, EncoderConfig, FitResources, LabelledWindows, Role, require_classes
from moola.training.alarms import Alarm, check_inputs
from moola.training.consistency import Consistency, ConsistencyLoss
from moola.training.embedding import embed
from moola.training.fitted_encoder import FittedEncoder, Member
from moola.training.head_start import HeadStart, start_head
from moola.training.labelled_task import LabelledTask
from moola.training.losses import ClassLoss
from moola.training.mixing import Mixing
from moola.training.movement import Movement, movement, snapshot
from moola.training.optimisation import ParameterGroup
from moola.training.probe import build_encoder, encoder_plan
from moola.training.schedule import FitConfig
from moola.training.unfreezing import encoder_groups, frozen_layers
from moola.training.weights import digest_weights

_MEMBER = 0x_E75
"""Sets the seeds of an ensemble's members apart from every other."""


@dataclass(frozen=True)
class FinetunedEncoder:
    """Encoder and linear heads, trained together for a fixed number of epochs: nothing is chosen on held-out data.

    Attributes:
        init: ``pretrained``, or ``random`` for the same training from scratch.
        head_dropout: on what the heads get.
        head_start: of the class head: ``random``; ``ridge``, where a probe of the encoder that it starts with ends; or
            ``zero``, as blank as can be, the embedding standardised as for the probe (`moola.training.head_start`).
        frozen_epochs: epochs in which only the heads train (0 from scratch).
        unfreeze_every_epochs: after these the layers of the encoder begin to train one by one, the last one first, as
            many epochs apart; 0: all together (`moola.training.unfreezing`).
        trained_layers: how many of the last layers train at all; null: all.
        encoder_lr_factor: learning rate of the encoder's last layer as a share of the heads'.
        lr_decay: of that rate, from a layer to the one before it.
        l2_sp: strength of the penalty on the distance from the pretrained weights (L2-SP, `moola.training.losses`).
        loss: of the classes.
        mixing: of training windows with each other.
        pointer_weight: of the loss of pointers, where the labels come with some; 0: they are left alone.
        consistency: of views of windows without a label, fold by fold (`moola.training.consistency`); off by default.
        members: fits from the same pretrained weights that differ in all other random numbers; their probabilities are
            averaged.
        encoder: section of an encoder of its own (``{name: lstm, hidden: 32}``), or the encoder itself, in place of the
            run's; only from scratch, since pretrained weights fit the encoder that was pretrained.
    """

    init: Literal["pretrained", "random"] = "pretrained"
    head_dropout: float = 0.2
    head_start: HeadStart = "random"
    frozen_epochs: int = 3
    unfreeze_every_epochs: int = 0
    trained_layers: int | None = None
    encoder_lr_factor: float = 0.5
    lr_decay: float = 1.0
    l2_sp: float = 0.0
    loss: ClassLoss = field(default_factory=ClassLoss)
    mixing: Mixing = field(default_factory=Mixing)
    pointer_weight: float = 1.0
    consistency: Consistency = field(default_factory=Consistency)
    members: int = 1
    encoder: EncoderConfig | None = None
    deterministic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.encoder is not None and not dataclasses.is_dataclass(self.encoder):
            section = cast("Mapping[str, Any]", self.encoder)
            object.__setattr__(self, "encoder", ENCODERS.build_section(section, "encoder"))
        layers = self.trained_layers
        reject(
            (not 0 <= self.head_dropout < 1, f"head_dropout: {self.head_dropout} must lie in [0, 1)"),
            (self.frozen_epochs < 0, f"frozen_epochs: {self.frozen_epochs} must not be negative"),
            (
                self.unfreeze_every_epochs < 0,
                f"unfreeze_every_epochs: {self.unfreeze_every_epochs} must not be negative",
            ),
            (layers is not None and layers < 0, f"trained_layers: {layers} must not be negative, or null for all"),
            (self.encoder_lr_factor <= 0, f"encoder_lr_factor: {self.encoder_lr_factor} must be positive"),
            (not 0 < self.lr_decay <= 1, f"lr_decay: {self.lr_decay} must lie in (0, 1]"),
            (self.l2_sp < 0, f"l2_sp: {self.l2_sp} must not be negative"),
            (
                self.l2_sp > 0 and self.init == "random",
                "l2_sp: pulls towards pretrained weights; use init=pretrained or l2_sp=0",
            ),
            (
                self.encoder is not None and self.init == "pretrained",
                "encoder: the pretrained weights fit the run's encoder alone; use init=random, or encoder=null",
            ),
            (self.pointer_weight < 0, f"pointer_weight: {self.pointer_weight} must not be negative"),
            (self.members < 1, f"members: {self.members} must be at least 1"),
        )

    def schedule_rules(self, schedule: FitConfig, path: str) -> tuple[tuple[bool, str], ...]:
        """Rules for `moola.config.reject` that a schedule has to keep with this model, which stands at `path`."""
        return (
            (
                self.frozen_epochs >= schedule.epochs and self.trained_layers != 0,
                f"{path}.frozen_epochs: {self.frozen_epochs} leaves none of trainer.finetune.epochs={schedule.epochs}; "
                f"give at most {schedule.epochs - 1}, or more than {self.frozen_epochs} epochs",
            ),
            (
                self.unfreeze_every_epochs > 0
                and self.trained_layers not in (0, 1)
                and self.frozen_epochs < schedule.epochs <= self.frozen_epochs + self.unfreeze_every_epochs,
                f"{path}.unfreeze_every_epochs: {self.unfreeze_every_epochs} after frozen_epochs={self.frozen_epochs} "
                f"leaves none of trainer.finetune.epochs={schedule.epochs} to the layer before the last; give fewer, "
                f"or more than {self.frozen_epochs + self.unfreeze_every_epochs} epochs",
            ),
            (
                schedule.patience > 0,
                "trainer.finetune.patience: stops by a validation loss, and fine-tuning holds no labels out; use 0",
            ),
            (
                schedule.batch_size == "auto",
                "trainer.finetune.batch_size: auto goes by speed, but here it decides what is learned; give a number",
            ),
            (
                schedule.checkpoint_every_steps is not None or schedule.checkpoint_every_epochs != 1,
                "trainer.finetune.checkpoint_every_epochs, checkpoint_every_steps: fine-tuning is short and saves "
                "nothing before its end; use 1 and null",
            ),
        )

    @property
    def role(self) -> Role:
        """Also from scratch it is a model and no control: it learns from labels alone."""
        return "model"

    @property
    def uses_encoder(self) -> bool:
        """It rests on the run's or on its own."""
        return True

    @property
    def needs_pretraining(self) -> bool:
        """Only the pretrained one."""
        return self.init == "pretrained"

    @property
    def most_unlabelled(self) -> int:
        """Windows without a label that a fit looks at."""
        return self.consistency.pool if self.consistency.active else 0

    def fit(self, windows: LabelledWindows, resources: FitResources) -> FittedEncoder:
        """Train on these windows.

        Raises:
            ConfigError: the schedule leaves a layer frozen that should train.
            DataError: the windows hold one class only, inputs that are not finite, or pointers to bars that the model
                does not see.
            TransferError: pretrained weights do not fit, or a layer did not move as it should.
        """
        n_bars = windows.inputs.shape[1]
        first, past = resources.zone or (0, n_bars)
        zone = (first, min(past, n_bars))
        check_labelled(windows, zone if self.pointer_weight > 0 else None)
        own = dataclasses.replace(resources, encoder=self.encoder or resources.encoder)
        members = tuple(self._fit_member(windows, own, zone, number) for number in range(self.members))
        seen = tuple(np.unique(windows.labels).tolist())
        return FittedEncoder(members, own.device, seen, encoder_plan(windows, own))

    def load(self, folder: Path, resources: FitResources) -> FittedEncoder:
        """Every member, on the device of `resources`."""
        return FittedEncoder.load(folder, self.encoder or resources.encoder, resources.device)

    def check_windows(self, n_bars: int) -> None:
        """Refuse windows that are too short for an encoder of its own; the run's is asked elsewhere.

        Raises:
            ConfigError: they are.
        """
        check = getattr(self.encoder, "check_windows", None)
        if check is not None:
            check(n_bars)

    def _fit_member(
        self, windows: LabelledWindows, resources: FitResources, zone: tuple[int, int], number: int
    ) -> Member:
        from moola.training.loop import fit  # brings Lightning, which takes seconds to import

        seed = mix_seeds(resources.seed, _MEMBER, number) if number else resources.seed
        encoder, report = build_encoder(windows, self.init, dataclasses.replace(resources, seed=seed))
        started_from, before = digest_weights(encoder.state_dict()), snapshot(encoder)
        groups = encoder_groups(
            encoder,
            resources.trainer.epochs,
            frozen_epochs=self.frozen_epochs,
            every_epochs=self.unfreeze_every_epochs,
            lr_factor=self.encoder_lr_factor,
            lr_decay=self.lr_decay,
            trained_layers=self.trained_layers,
        )
        torch.manual_seed(mix_seeds(seed, 1))
        task = LabelledTask(
            encoder,
            windows,
            zone=zone,
            head_dropout=self.head_dropout,
            class_loss=self.loss,
            mixing=self.mixing,
            pointer_weight=self.pointer_weight,
            l2_sp=self.l2_sp,
            consistency=self._consistency_loss(windows, resources),
            seed=seed,
        ).to(resources.device)
        if self.head_start != "random":
            start_head(task.head, self.head_start, embed(encoder, windows.inputs, resources.device), windows.labels)
            task.train()  # embedding left the encoder in evaluation mode
        groups.append(ParameterGroup(task.head_parameters(), name="heads"))
        batches = training_batches(windows, resources, seed)
        fit(
            task,
            batches,
            resources.trainer,
            groups=groups,
            on_epoch=self._attended(task, windows, resources, number),
            on_alarm=self._passed_on(task, resources),
        )
        moved = movement(encoder, before)
        moved.check(frozen_layers(encoder, self.trained_layers))
        return Member(task, moved, started_from, report)

    def _attended(
        self, task: LabelledTask, windows: LabelledWindows, resources: FitResources, number: int
    ) -> Callable[[dict[str, float]], None] | None:
        """Tells who asked for it of each epoch: its record and the network, of one member where there are several."""
        tell, show = resources.on_epoch, resources.on_partial_fit
        if tell is None and show is None:
            return None
        seen = tuple(np.unique(windows.labels).tolist())
        epochs, plan = resources.trainer.epochs, encoder_plan(windows, resources)
        now = FittedEncoder((Member(task, Movement({}, {}), "", None),), resources.device, seen, plan)

        def attend(record: dict[str, float]) -> None:
            if tell is not None:
                tell({"member": number, **record})
            if show is not None:
                show((number + record["epoch"] / epochs) / self.members, now)

        return attend

    def _consistency_loss(self, windows: LabelledWindows, resources: FitResources) -> ConsistencyLoss | None:
        if not self.consistency.active:
            return None
        if resources.unlabelled is None or windows.transform is None:
            raise ValueError("consistency needs FitResources.unlabelled and LabelledWindows.transform")
        bars, channels = resources.unlabelled
        return ConsistencyLoss(self.consistency, bars, windows.transform, channels, resources.device)

    def _passed_on(self, task: LabelledTask, resources: FitResources) -> Callable[[Alarm], None] | None:
        """Where alarms go; that a penalty is small is none, nor that what stands alone beside it is large."""
        tell = resources.on_alarm
        quiet = {"l2_sp": self.l2_sp > 0, "consistency": self.consistency.active}
        silent = {name for name, there in quiet.items() if there}
        if tell is None or not silent:
            return tell
        silent |= set() if task.pointer_head is not None else {"classes"}
        return lambda alarm: None if alarm.part in silent else tell(alarm)


def check_labelled(windows: LabelledWindows, zone: tuple[int, int] | None) -> None:
    """Refuse windows that nothing can be learnt from.

    Args:
        windows: to train on.
        zone: first and past-the-end bar that pointers may name; None: pointers are not looked at.

    Raises:
        DataError: one class only, or none; inputs that are not finite; or pointers outside the zone.
    """
    require_classes(windows)
    inputs, bars, labels = (torch.from_numpy(part) for part in (windows.inputs, windows.bars, windows.labels))
    check_inputs(
        Batch(inputs, labels, torch.arange(len(labels)), 0, 0, bars, 0, len(labels)), "in the labelled windows"
    )
    if zone is None or windows.pointers is None:
        return
    outside = (windows.pointers >= 0) & ((windows.pointers < zone[0]) | (windows.pointers >= zone[1]))
    if outside.any():
        raise DataError(
            "pointers name bars that the model does not see",
            f"{int(outside.any(axis=1).sum())} of {len(windows)} windows; bars {zone[0]} to {zone[1] - 1} are visible",
            "show the whole zone (data.window.visible), or leave pointers alone with pointer_weight=0",
        )


def training_batches(windows: LabelledWindows, resources: FitResources, seed: int) -> DeviceBatches:
    """The windows in seeded order on the device; transformed once, or anew each time where their bars are augmented."""
    n_bars = windows.inputs.shape[1]
    values, transform = windows.inputs, _as_it_is
    if resources.augment is not None:
        if windows.transform is None:
            raise ValueError("bars are augmented before they are transformed: LabelledWindows.transform is needed")
        values, transform = windows.bars, windows.transform
    return DeviceBatches(
        torch.from_numpy(values).to(resources.device).flatten(0, 1),
        np.arange(len(windows)) * n_bars,
        n_bars,
        transform,
        resources.trainer.batch_size,
        seed,
        labels=windows.labels,
        augment=resources.augment,
    )


def _as_it_is(inputs: torch.Tensor) -> torch.Tensor:
    return inputs
