"""The classifier itself: the encoder fine-tuned on all given labels, saved with what it needs to be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from moola.config import RunConfig, build_all, describe, reject, structure
from moola.layout import write_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Stage, Workspace
from moola.training.finetuning import FinetunedEncoder
from moola.training.schedule import FitConfig, TrainerSection


@dataclass(frozen=True)
class Finetune(Stage):
    """One classifier a seed, as safetensors, and how far each layer moved."""

    setup: EncoderSetup
    fit: FitConfig
    model: FinetunedEncoder
    name: ClassVar[str] = "finetune"
    provides: ClassVar[str] = "classifier"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "encoder")
    room: ClassVar[str] = "artifacts/models/pretrained"
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"polars": "data"}

    def __post_init__(self) -> None:
        reject(self.model.never_trains(self.fit, "model.finetuned"))

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """``trainer.finetune`` and the model named ``finetuned``, or its defaults where there is none."""
        from moola.training.finetuning import FinetunedEncoder

        chosen = {key: value for key, value in config.model.get("finetuned", {}).items() if key != "kind"}
        setup, trainer, model = build_all(
            lambda: EncoderSetup.from_config(config),
            lambda: TrainerSection.from_config(config.trainer),
            lambda: structure(FinetunedEncoder, chosen, "model.finetuned"),
        )
        return cls(setup, trainer.finetune, model)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``classifier-seedS.safetensors`` and ``classifier.json``."""
        from moola.training.weights import save_weights

        data = Dataset.open(inputs)
        require_labels(data)
        transform = self.setup.encoder_transform(inputs["encoder"])
        windows = data.gather(data.labels["row"], data.labels["label"], transform)
        deltas: dict[str, dict[str, float]] = {}
        for number, seed in enumerate(self.setup.seeds, start=1):
            resources = self.setup.resources(seed, data, self.fit, inputs["encoder"])
            fitted = self.model.fit(windows, resources)
            save_weights(workspace.folder / f"classifier-seed{seed}.safetensors", fitted.task.state_dict())
            deltas[str(seed)] = fitted.deltas
            workspace.progress(
                number, len(self.setup.seeds), f"seed {seed}", largest_change=round(max(fitted.deltas.values()), 3)
            )
        write_json(
            workspace.folder / "classifier.json",
            {
                "classes": list(data.classes),
                "model": describe(self.model),
                "encoder": describe(self.setup.encoder),
                "transform": describe(transform),
                "source_channels": list(data.store.channels),
                "visible_bars": data.windows.visible,
                "labels": len(windows),
                "relative_weight_change": deltas,
            },
        )
