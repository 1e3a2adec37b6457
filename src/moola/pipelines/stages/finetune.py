"""The classifier itself: the encoder fine-tuned on all given labels, saved with what it needs to be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from moola.config import RunConfig, build_all, describe, structure
from moola.features import TRANSFORMS, Transform
from moola.layout import write_json
from moola.models import ENCODERS, EncoderConfig, FitResources
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.stage import Stage, Workspace
from moola.training.finetuning import FinetunedEncoder
from moola.training.schedule import FitConfig


@dataclass(frozen=True)
class Finetune(Stage):
    """One classifier a seed, as safetensors, and how far each layer moved."""

    seeds: tuple[int, ...]
    device: Literal["auto", "cpu", "cuda"]
    transform: Transform
    encoder: EncoderConfig
    fit: FitConfig
    model: FinetunedEncoder
    name: ClassVar[str] = "finetune"
    provides: ClassVar[str] = "classifier"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "encoder")
    room: ClassVar[str] = "artifacts/models/pretrained"
    packages: ClassVar[Mapping[str, str]] = {"polars": "data"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``trainer.finetune`` and the model named ``finetuned``, or its defaults where there is none."""
        from moola.training.finetuning import FinetunedEncoder

        chosen = {key: value for key, value in config.model.get("finetuned", {}).items() if key != "kind"}
        return cls(
            config.seeds,
            config.device,
            *build_all(
                lambda: TRANSFORMS.build_section(config.transform, "transform"),
                lambda: ENCODERS.build_section(config.encoder, "encoder"),
                lambda: structure(FitConfig, config.trainer.get("finetune", {}), "trainer.finetune"),
                lambda: structure(FinetunedEncoder, chosen, "model.finetuned"),
            ),
        )

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``classifier-seedS.safetensors`` and ``classifier.json``."""
        from moola.training.device import choose_device
        from moola.training.weights import load_weights, save_weights

        data = Dataset.open(inputs)
        windows = data.gather(data.labels["row"], data.labels["label"], self.transform)
        deltas: dict[str, dict[str, float]] = {}
        for number, seed in enumerate(self.seeds, start=1):
            resources = FitResources(
                seed=seed,
                summary=lambda some: data.summary(self.transform, some),
                device=choose_device(self.device),
                encoder=self.encoder,
                pretrained=load_weights(inputs["encoder"].path(f"encoder-seed{seed}.safetensors")),
                trainer=self.fit,
            )
            fitted = self.model.fit(windows, resources)
            save_weights(workspace.folder / f"classifier-seed{seed}.safetensors", fitted.task.state_dict())
            deltas[str(seed)] = fitted.deltas
            workspace.progress(
                number, len(self.seeds), f"seed {seed}", largest_change=round(max(fitted.deltas.values()), 3)
            )
        write_json(
            workspace.folder / "classifier.json",
            {
                "classes": list(data.classes),
                "model": describe(self.model),
                "encoder": describe(self.encoder),
                "transform": describe(self.transform),
                "source_channels": list(data.store.channels),
                "visible_bars": data.windows.visible,
                "labels": len(windows),
                "relative_weight_change": deltas,
            },
        )
