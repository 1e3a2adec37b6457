"""What every stage that holds an encoder shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from moola.config import RunConfig, build_all
from moola.features import TRANSFORMS, Transform
from moola.models import ENCODERS, EncoderConfig, FitResources
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.training.schedule import FitConfig


@dataclass(frozen=True)
class EncoderSetup:
    """Inputs, encoder and where it is computed.

    Attributes:
        seeds: one encoder each.
        device: ``auto``, ``cpu`` or ``cuda``.
        transform: from bars to the encoder's inputs.
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

    def resources(self, seed: int, data: Dataset, trainer: FitConfig, pretrained: Artifact | None) -> FitResources:
        """What a model may use besides its training windows.

        Args:
            seed: of the fit.
            data: for the simple features.
            trainer: fine-tuning schedule.
            pretrained: artifact of the stage ``pretrain``, or None where nothing pretrained is to be used.
        """
        from moola.training.device import choose_device
        from moola.training.weights import load_weights

        return FitResources(
            seed=seed,
            summary=lambda inputs: data.summary(self.transform, inputs),
            device=choose_device(self.device),
            encoder=self.encoder,
            pretrained=load_weights(pretrained.path(f"encoder-seed{seed}.safetensors")) if pretrained else None,
            trainer=trainer,
        )
