"""What every stage that holds an encoder shares."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moola.augment import Augmentation, chain
from moola.config import RunConfig, build_all
from moola.features import TRANSFORMS, Fittable, Transform
from moola.features.summary import summary_spans
from moola.layout import read_json
from moola.models import ENCODERS, EncoderConfig, FitResources, LabelledWindows
from moola.models.encoder import InputShape
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.stage import Workspace
from moola.pipelines.window_set import WindowSet
from moola.training.schedule import FitConfig

if TYPE_CHECKING:
    from torch import Tensor

    from moola.training.alarms import Alarm

FITTED_TRANSFORM = "transform.json"
"""File of the encoder artifact that holds the fitted transform, where the transform has to be fitted."""
_FITTED_ON = 4096
"""Windows a transform is fitted on, evenly spaced over those given; neighbours overlap, so more would add little."""
_SETTLED_ON = 512
"""Windows that an encoder settles on, by the same reasoning; they go through it at once."""


@dataclass(frozen=True)
class EncoderSetup:
    """Inputs, encoder and where it is computed.

    Attributes:
        seeds: one encoder each.
        device: ``auto``, ``cpu`` or ``cuda``.
        transform: from bars to the encoder's inputs; perhaps one that is still to be fitted.
        encoder: its configuration.
    """

    seeds: tuple[int, ...]
    device: Literal["auto", "cpu", "cuda"]
    transform: Transform
    encoder: EncoderConfig

    @classmethod
    def from_config(cls, config: RunConfig) -> EncoderSetup:
        """``seeds``, ``device``, ``transform`` and ``encoder``.

        Raises:
            ConfigError: every problem of the two sections in one go.
        """
        built = build_all(
            lambda: TRANSFORMS.build_section(config.transform, "transform"),
            lambda: ENCODERS.build_section(config.encoder, "encoder"),
        )
        return cls(config.seeds, config.device, *built)

    def input_shape(self, data: WindowSet) -> InputShape:
        """What the windows look like to the encoder."""
        n_inputs = len(self.transform.output_channels(data.store.channels))
        return InputShape(n_inputs, data.windows.visible, summary_spans(data.windows.visible, data.windows.zone))

    def fitted_transform(self, data: WindowSet, rows: np.ndarray) -> Transform:
        """The transform, fitted on the visible bars of windows by number where it has to be; else as it is."""
        import torch

        if not isinstance(self.transform, Fittable):
            return self.transform
        bars = torch.from_numpy(data.windows.gather(data.store.values, evenly_spaced(rows, _FITTED_ON)))
        return self.transform.fit([bars], data.store.channels)

    def settling_inputs(self, data: WindowSet, rows: np.ndarray, transform: Transform) -> Tensor:
        """Inputs of windows from all over those given by number, [n, T, D], for `moola.models.encoder.Encoder.settle`.

        Args:
            data: bars and windows.
            rows: windows that an encoder may know.
            transform: fitted.
        """
        import torch

        bars = torch.from_numpy(data.windows.gather(data.store.values, evenly_spaced(rows, _SETTLED_ON)))
        return transform.apply(bars, data.store.channels)

    def encoder_transform(self, encoder: Artifact) -> Transform:
        """The transform that the encoder of this artifact was pretrained with.

        Raises:
            StorageError: the artifact holds none, or not one that can be used.
        """
        from moola.features.saving import load_transform

        if not isinstance(self.transform, Fittable):
            return self.transform
        return load_transform(encoder.path(FITTED_TRANSFORM))

    def fold_inputs(
        self, train: LabelledWindows, held_out: LabelledWindows, data: Dataset, pretrained: Artifact | None
    ) -> tuple[LabelledWindows, LabelledWindows]:
        """Both parts of a fold with the inputs that one model gets.

        A transform that has to be fitted comes with the pretrained encoder where the model starts from one. Else it
        is fitted here, on the training windows of the fold; what is held out is never looked at.
        """
        import torch

        if not isinstance(self.transform, Fittable):
            return train, held_out
        transform = (
            self.encoder_transform(pretrained)
            if pretrained
            else self.transform.fit([torch.from_numpy(train.bars)], data.store.channels)
        )
        return data.with_inputs(train, transform), data.with_inputs(held_out, transform)

    def resources(
        self,
        seed: int,
        data: Dataset,
        trainer: FitConfig,
        pretrained: Artifact | None,
        augmentations: Sequence[Augmentation] = (),
    ) -> FitResources:
        """What a model may use besides its training windows.

        Args:
            seed: of the fit.
            data: for the simple features.
            trainer: fine-tuning schedule.
            pretrained: artifact of the stage ``pretrain``, or None where nothing pretrained is to be used.
            augmentations: of the bars of training windows.
        """
        from moola.training.device import choose_device
        from moola.training.weights import load_weights

        return FitResources(
            seed=seed,
            summary=lambda inputs: data.summary(self.transform, inputs),
            device=choose_device(self.device),
            spans=summary_spans(data.windows.visible, data.windows.zone),
            encoder=self.encoder,
            pretrained=load_weights(pretrained.path(f"encoder-seed{seed}.safetensors")) if pretrained else None,
            trainer=trainer,
            zone=data.windows.zone,
            augment=chain(augmentations, data.store.channels),
            origin=origin_of(pretrained) if pretrained else "",
        )


def evenly_spaced(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of them, from the first to the last."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]


def noted(workspace: Workspace, which: str) -> Callable[[Alarm], None]:
    """Puts the alarms of a fit into the run's log, where a person sees them; `which` says what is fitted."""

    def note(alarm: Alarm) -> None:
        message = f"{which}: {alarm.message}"
        workspace.events.emit("note", stage=workspace.stage, alarm=alarm.kind, message=message)

    return note


def adopted_encoder(encoder: Artifact) -> dict[str, Any] | None:
    """What `moola.pipelines.stages.adopt_encoder.adoption` said; None for an encoder that this run pretrained."""
    return read_json(encoder.path("encoder.json")).get("adopted")


def origin_of(pretrained: Artifact) -> str:
    """Encoder and transform that an artifact of the stage ``pretrain`` was made with, in words; empty if unknown."""
    if "encoder.json" not in pretrained.manifest["files"]:
        return ""
    head = read_json(pretrained.path("encoder.json"))
    made = {"encoder": head.get("encoder"), "transform": head.get("transform")}
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in made.items() if value is not None)
