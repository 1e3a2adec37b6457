"""What a frozen encoder is worth while it pretrains: two probes on purged folds, beside its own random start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from moola import drawing
from moola.config import RunConfig, build_all
from moola.evaluation.metrics import compute_metrics
from moola.evaluation.report_content import Embedding
from moola.evaluation.report_pictures import draw_embedding, draw_reconstruction
from moola.layout import write_json, write_text
from moola.models import LabelledWindows
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.labelled import require_labels
from moola.pipelines.pictures import EMBEDDINGS, save_embeddings, saved_reconstructions
from moola.pipelines.setup import EncoderSetup
from moola.pipelines.stage import Stage, Workspace
from moola.training.schedule import ProbeSection, TrainerSection

_SNAPSHOT = re.compile(r"snapshots/seed(\d+)-epoch(\d+)\.safetensors")
_MOST_POINTS = 1000


@dataclass(frozen=True)
class Probe(Stage):
    """Balanced accuracy of a linear and a k-nearest-neighbour probe at each snapshot, and pictures.

    Out of fold, on the labels as given. Pictures are of the first seed: embeddings of the labelled windows before
    and after pretraining, and what the encoder rebuilt.
    """

    setup: EncoderSetup
    probes: ProbeSection
    name: ClassVar[str] = "probe"
    provides: ClassVar[str] = "probe"
    requires: ClassVar[tuple[str, ...]] = ("bars", "windows", "splits", "encoder")
    publishes: ClassVar[tuple[str, ...]] = ("probe.json", "embeddings.svg")
    publishes_some: ClassVar[tuple[str, ...]] = ("reconstructions.svg",)
    needs_labels: ClassVar[bool] = True
    packages: ClassVar[Mapping[str, str]] = {"sklearn": "evidence"}

    @classmethod
    def from_config(cls, config: RunConfig, settings: Mapping[str, Any]) -> Self:
        """The encoder and transform of the run, and ``trainer.probe``."""
        setup, trainer = build_all(
            lambda: EncoderSetup.from_config(config), lambda: TrainerSection.from_config(config.trainer)
        )
        return cls(setup, trainer.probe)

    def run(self, inputs: Mapping[str, Artifact], workspace: Workspace) -> None:
        """Writes ``probe.json``, ``embeddings.json`` and the pictures.

        ``probe.json``: {seed, epoch, linear, knn}, balanced accuracies; epoch 0 is the random start.
        ``embeddings.json``: `moola.evaluation.report_content.Embedding`, principal components before and after, and
        neighbours after; see `principal_components` and `neighbour_map`.
        ``embeddings.svg``, and ``reconstructions.svg`` where the objective rebuilds its inputs.
        """
        data = Dataset.open(inputs)
        require_labels(data)
        encoder = inputs["encoder"]
        transform = self.setup.encoder_transform(encoder)
        windows = data.gather(data.labels["row"], data.labels["label"], transform)
        snapshots = list(_snapshots(encoder))
        points: list[dict[str, float]] = []
        for number, (seed, epoch, snapshot) in enumerate(snapshots, start=1):
            scores = self._scores(self._embed(encoder, snapshot, windows, data), windows, data)
            points.append({"seed": seed, "epoch": epoch, **scores})
            figures = {f"{probe}_balanced_accuracy": score for probe, score in scores.items()}
            workspace.events.emit("epoch", stage=self.name, seed=seed, epoch=epoch, **figures)
            shown = {name: round(score, 3) for name, score in figures.items()}
            workspace.progress(number, len(snapshots), f"seed {seed}, epoch {epoch}", **shown)
        write_json(workspace.folder / "probe.json", points)
        self._write_embeddings(encoder, windows, data, workspace)
        _write_reconstructions(encoder, workspace)

    def _embed(self, artifact: Artifact, name: str, windows: LabelledWindows, data: Dataset) -> np.ndarray:
        """Embeddings of windows under the weights of this file, [n, E]."""
        from moola.training.device import choose_device
        from moola.training.embedding import embed
        from moola.training.weights import load_weights, transfer_weights

        encoder = self.setup.encoder.build(self.setup.input_shape(data))
        transfer_weights(encoder, load_weights(artifact.path(name)))
        return embed(encoder, windows.inputs, choose_device(self.setup.device))

    def _scores(self, vectors: np.ndarray, windows: LabelledWindows, data: Dataset) -> dict[str, float]:
        from moola.models.classical import linear_probe
        from moola.training.probe import knn_probe

        return {
            "linear": _out_of_fold(lambda _: linear_probe(self.probes.c), vectors, windows, data),
            "knn": _out_of_fold(lambda n: knn_probe(self.probes.neighbours, n), vectors, windows, data),
        }

    def _write_embeddings(
        self, artifact: Artifact, windows: LabelledWindows, data: Dataset, workspace: Workspace
    ) -> None:
        from moola.training.neighbour_map import neighbour_map
        from moola.training.principal_components import principal_components

        seed = self.setup.seeds[0]
        start = min((epoch, name) for own, epoch, name in _snapshots(artifact) if own == seed)[1]
        shown = np.linspace(0, len(windows) - 1, min(len(windows), _MOST_POINTS)).astype(np.int64)
        groups, ids = windows.labels[shown], tuple(data.labels["window_id"][shown.tolist()])
        embeddings: list[Embedding] = []
        vectors = np.empty(0)
        for when, name in {"random start": start, "after pretraining": f"encoder-seed{seed}.safetensors"}.items():
            vectors = self._embed(artifact, name, windows, data)
            points, shares = principal_components(vectors)
            embeddings.append(
                Embedding(when, points[shown], groups, data.classes, tuple(map(float, shares)), windows=ids)
            )
        places = neighbour_map(vectors[shown], seed)
        if places is not None:
            embeddings.append(Embedding("after pretraining, t-SNE", places, groups, data.classes, windows=ids))
        save_embeddings(workspace.folder / EMBEDDINGS, embeddings)
        drawn = [(f"Embeddings, {one.title}, seed {seed}", draw_embedding(one)) for one in embeddings]
        page = drawing.svg_file(drawn, title="Embeddings of the labelled windows")
        write_text(workspace.folder / "embeddings.svg", page)


def _snapshots(encoder: Artifact) -> Iterator[tuple[int, int, str]]:
    """Seed, epoch and file of each snapshot, in this order."""
    found = (_SNAPSHOT.fullmatch(name) for name in encoder.manifest["files"])
    yield from sorted((int(match[1]), int(match[2]), match[0]) for match in found if match)


def _out_of_fold(build: Any, vectors: np.ndarray, windows: LabelledWindows, data: Dataset) -> float:
    """Balanced accuracy of a classifier, built for a number of training windows, on what its folds hold out."""
    probabilities = np.zeros((len(windows), windows.n_classes))
    for fold in data.folds:
        probe = build(len(fold.train)).fit(vectors[fold.train], windows.labels[fold.train])
        probabilities[np.ix_(fold.held_out, probe.classes_)] += probe.predict_proba(vectors[fold.held_out])
    judged = probabilities.any(axis=1)  # walk-forward holds the first windows out never, combinatorial folds often
    probabilities = probabilities[judged] / probabilities[judged].sum(axis=1, keepdims=True)
    return float(compute_metrics(probabilities[None], windows.labels[judged])["balanced_accuracy"][0, 0])


def _write_reconstructions(encoder: Artifact, workspace: Workspace) -> None:
    drawn = [
        (f"Reconstruction, {shown.window_id}", draw_reconstruction(shown))
        for shown in saved_reconstructions(encoder) or ()
    ]
    if drawn:
        title = "Validation windows and what the encoder put in the place of hidden bars"
        write_text(workspace.folder / "reconstructions.svg", drawing.svg_file(drawn, title=title))
