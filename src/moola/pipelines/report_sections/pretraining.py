"""How the encoder learned: its losses, its probes, and where it puts labelled windows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from moola import drawing
from moola.evaluation.report_content import CurvePanel, Embedding, Pretraining
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.pictures import saved_embeddings

DOUBTS = {"below 0.2": 0.2, "0.2 to 0.5": 0.5, "0.5 to 0.8": 0.8, "0.8 and above": math.inf}
"""Steps of label quality, each with the end that it lies below."""


def pretraining(
    inputs: Mapping[str, Artifact], seeds: tuple[int, ...], issues: pl.DataFrame | None
) -> Pretraining | None:
    """Curves and maps; None where no encoder was pretrained.

    Args:
        inputs: artifacts of the run.
        seeds: of the run.
        issues: ``label_issues.csv``, for the doubt that maps are coloured by.
    """
    encoder = inputs.get("encoder")
    if encoder is None:
        return None
    histories = {seed: read_json(encoder.path(f"history-seed{seed}.json")) for seed in seeds}
    share = read_json(encoder.path("encoder.json")).get("masked_share")
    return Pretraining(
        loss_panel(histories),
        rebuilding_panel(histories),
        probe_panel(inputs),
        f"{share:.1%} of the visible bars are hidden." if share else "",
        embeddings(inputs["probe"], issues) if "probe" in inputs else (),
    )


def embeddings(probe: Artifact, issues: pl.DataFrame | None) -> tuple[Embedding, ...]:
    """Labelled windows by label, and the last map of them once more by doubt."""
    saved = saved_embeddings(probe)
    if issues is None or not saved or not saved[-1].windows:
        return saved
    return (*saved, by_doubt(saved[-1], issues))


def by_doubt(shown: Embedding, issues: pl.DataFrame) -> Embedding:
    """The same map, coloured by the quality of the labels; windows that no fold judged are left out."""
    quality = dict(zip(issues["window_id"], issues["label_quality"], strict=True))
    judged = [place for place, window in enumerate(shown.windows) if window in quality]
    found = [quality[shown.windows[place]] for place in judged]
    return dataclasses.replace(
        shown,
        title=f"{shown.title}, by label quality",
        points=np.asarray(shown.points, dtype=np.float64).reshape(-1, 2)[judged],
        groups=np.searchsorted(list(DOUBTS.values()), found, side="right"),
        names=tuple(DOUBTS),
        windows=tuple(shown.windows[place] for place in judged),
        ordered=True,
    )


def loss_panel(histories: Mapping[int, list[dict[str, float]]]) -> CurvePanel:
    """Training and validation loss of each seed."""
    return CurvePanel(
        "Loss",
        "epoch",
        "loss",
        tuple(_curves(histories, {"loss": "training", "val_loss": "validation"})),
        (),
        "Validation windows are the last part of the training span, under the same draws in every epoch and seed. "
        "The training loss may hold parts that validation leaves out.",
    )


def rebuilding_panel(histories: Mapping[int, list[dict[str, float]]]) -> CurvePanel | None:
    """Error of each seed on hidden bars, with what asks for no model; None where no inputs are rebuilt."""
    last = next(iter(histories.values()))[-1]
    if "val_reconstruction" not in last:
        return None
    trivial = {"val_copy_last": "copy last bar", "val_mean": "window mean"}
    return CurvePanel(
        "Rebuilding hidden bars",
        "epoch",
        "error on hidden bars",
        tuple(_curves(histories, {"val_reconstruction": "validation"})),
        tuple(drawing.Reference(words, last[name]) for name, words in trivial.items() if name in last),
        "Dotted: what two predictors without a model would give, on the same windows and bars.",
    )


def _curves(histories: Mapping[int, list[dict[str, float]]], figures: Mapping[str, str]) -> Iterator[drawing.Curve]:
    """A figure's course for each seed, named in words; what is of training is dashed."""
    for number, (seed, history) in enumerate(histories.items()):
        epochs = [record["epoch"] for record in history]
        for name, words in figures.items():
            values = [record.get(name, math.nan) for record in history]
            yield drawing.Curve(f"seed {seed}, {words}", epochs, values, colour=number, dashed=words == "training")


def probe_panel(inputs: Mapping[str, Artifact]) -> CurvePanel | None:
    """Both probes of each seed, and what they gave before any training: the lines to beat."""
    if "probe" not in inputs:
        return None
    points = pl.DataFrame(read_json(inputs["probe"].path("probe.json"))).sort("seed", "epoch")
    start = points.filter(pl.col("epoch") == 0).mean()
    words = {"linear": "linear", "knn": "neighbours"}
    curves = tuple(
        drawing.Curve(
            f"seed {seed}, {words[probe]}",
            rows["epoch"].to_list(),
            rows[probe].to_list(),
            colour=number,
            dashed=probe == "knn",
        )
        for number, ((seed,), rows) in enumerate(points.group_by("seed", maintain_order=True))
        for probe in words
    )
    return CurvePanel(
        "Probes while pretraining",
        "epoch",
        "balanced accuracy, out of fold",
        curves,
        tuple(drawing.Reference(f"random, {words[probe]}", start[probe].item()) for probe in words),
        "A logistic regression and a vote of the nearest neighbours on the frozen encoder, on the labels as they were "
        "given, out of fold. Dotted: the same probes on random weights, a mean over seeds.",
    )
