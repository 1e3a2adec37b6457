"""What a frozen encoder is worth while it pretrains: a linear probe on purged folds, beside its own random start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from moola.config import RunConfig
from moola.evaluation.metrics import compute_metrics
from moola.layout import write_json
from moola.models import LabelledWindows
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Stage, Workspace


@dataclass(frozen=True)
class Probe(Stage):
    """Balanced accuracy of a linear probe at each snapshot, out of fold, on the labels as given."""

    setup: EncoderSetup
    c: float = 0.1
    name: ClassVar[str] = "probe"
    provides: ClassVar[str] = "probe"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "encoder")
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"sklearn": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """The encoder and transform of the run."""
        return cls(EncoderSetup.from_config(config))

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``probe.json``: {seed, epoch, balanced_accuracy}, epoch 0 being the random start."""
        data = Dataset.open(inputs)
        require_labels(data)
        transform = self.setup.encoder_transform(inputs["encoder"])
        windows = data.gather(data.labels["row"], data.labels["label"], transform)
        names = sorted(name for name in inputs["encoder"].manifest["files"] if name.startswith("snapshots/"))
        points: list[dict[str, float]] = []
        for number, name in enumerate(names, start=1):
            seed, epoch = (
                int(part[len(word) :]) for part, word in zip(name[10:-12].split("-"), ("seed", "epoch"), strict=True)
            )
            score = self._score(inputs["encoder"], name, windows, data)
            points.append({"seed": seed, "epoch": epoch, "balanced_accuracy": score})
            workspace.progress(number, len(names), f"seed {seed}, epoch {epoch}", balanced_accuracy=round(score, 3))
        write_json(workspace.folder / "probe.json", points)

    def _score(self, artifact: Artifact, name: str, windows: LabelledWindows, data: Dataset) -> float:
        from moola.models.classical import linear_probe
        from moola.training.device import choose_device
        from moola.training.embedding import embed
        from moola.training.weights import load_weights, transfer_weights

        encoder = self.setup.encoder.build(self.setup.input_shape(data))
        transfer_weights(encoder, load_weights(artifact.path(name)))
        vectors = embed(encoder, windows.inputs, choose_device(self.setup.device))
        probabilities = np.zeros((len(windows), windows.n_classes))
        for fold in data.folds:
            probe = linear_probe(self.c).fit(vectors[fold.train], windows.labels[fold.train])
            probabilities[np.ix_(fold.held_out, probe.classes_)] += probe.predict_proba(vectors[fold.held_out])
        judged = probabilities.any(axis=1)  # walk-forward holds the first windows out never, combinatorial folds often
        probabilities = probabilities[judged] / probabilities[judged].sum(axis=1, keepdims=True)
        return float(compute_metrics(probabilities[None], windows.labels[judged])["balanced_accuracy"][0, 0])
