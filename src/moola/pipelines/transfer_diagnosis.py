"""What pretraining was worth in one run: every figure of it that has a twin without pretraining."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from moola.drawing import figure, interval
from moola.errors import DataError
from moola.evaluation.comparison import signed
from moola.evaluation.metrics import METRICS
from moola.layout import read_json
from moola.pipelines.results import FinishedRun
from moola.pipelines.scores import FINETUNED, HEADLINE, SCRATCH, PairedDifference, Scores, display_name, without_nan

TWINS = {FINETUNED: SCRATCH, "pretrained_probe": "random_init_probe"}
"""Model that starts from pretrained weights -> the same without."""


@dataclass(frozen=True)
class TransferDiagnosis:
    """What was found.

    Attributes:
        run_id: of the run.
        differences: pretrained minus not, on the same windows, out of fold and on the sealed test.
        probes: rows of {seed, probe, start, end}: a frozen encoder before and after pretraining, out of fold.
        labels: rows of {n_labels, pretrained, scratch}: figures on the sealed test where fewer labels were given,
            each {value, low, high}.
        alarms: those of the models that were compared.
    """

    run_id: str
    differences: tuple[PairedDifference, ...]
    probes: tuple[dict[str, Any], ...]
    labels: tuple[dict[str, Any], ...]
    alarms: tuple[str, ...]

    def lines(self) -> list[str]:
        """The same in words."""
        label = METRICS[HEADLINE].label
        told = [f"{label}, {d.split}: {_told(d)}" for d in self.differences]
        told += [
            f"{row['probe']} probe, seed {row['seed']}: {row['start']:.3f} on random weights, {row['end']:.3f} after "
            "pretraining, out of fold"
            for row in self.probes
        ]
        told += [
            f"{row['n_labels']} labels: {_figure(row['pretrained'])} pretrained, {_figure(row['scratch'])} from "
            "scratch, on the sealed test"
            for row in self.labels
        ]
        return [*told, *(f"alarm: {alarm}" for alarm in self.alarms)]

    def to_json(self) -> dict[str, Any]:
        """As plain values, null for what is not known."""
        differences = [{**vars(one), "difference": vars(one.difference)} for one in self.differences]
        return without_nan({**vars(self), "differences": differences})


def diagnose_transfer(run: FinishedRun) -> TransferDiagnosis:
    """Gather what a run says of its pretraining.

    Raises:
        DataError: no model of the run has a twin without pretraining.
    """
    scores = Scores.from_json(read_json(run.file("scores.json")))
    found = tuple(one for one in scores.differences if TWINS.get(one.a) == one.b)
    if not found:
        raise DataError(
            f"{run.run_id} says nothing of pretraining",
            f"it compared none of {', '.join(f'{a} with {b}' for a, b in TWINS.items())}",
            "run it with these models and the stage 'pretrain'",
        )
    compared = {display_name(name) for one in found for name in (one.a, one.b)}
    alarms = tuple(a["message"] for a in run.alarms if a["severity"] == "alarm" and a["model"] in compared)
    return TransferDiagnosis(run.run_id, found, tuple(_probes(run)), tuple(_labels(run)), alarms)


def _told(one: PairedDifference) -> str:
    return f"{display_name(one.a)} minus {display_name(one.b)} is {signed(one.difference)}: {one.sentence}"


def _figure(found: Mapping[str, Any]) -> str:
    low, high = (math.nan if found[end] is None else found[end] for end in ("low", "high"))
    return f"{figure(found['value'])} {interval(low, high)}"


def _probes(run: FinishedRun) -> list[dict[str, Any]]:
    if not run.has("probe.json"):
        return []
    points = pl.DataFrame(read_json(run.file("probe.json"))).sort("seed", "epoch")
    return [
        {"seed": seed, "probe": probe, "start": rows[probe][0], "end": rows[probe][-1]}
        for (seed,), rows in points.group_by("seed", maintain_order=True)
        for probe in ("linear", "knn")
    ]


def _labels(run: FinishedRun) -> list[dict[str, Any]]:
    if not run.has("tables/label_efficiency.csv"):
        return []
    table = pl.read_csv(run.file("tables/label_efficiency.csv"))
    both = {name: table.filter(pl.col("model") == display_name(name)) for name in (FINETUNED, SCRATCH)}
    joined = both[FINETUNED].join(both[SCRATCH], on="n_labels", suffix="_scratch").sort("n_labels")
    return [
        {
            "n_labels": int(row["n_labels"]),
            "pretrained": {end: row[end] for end in ("value", "low", "high")},
            "scratch": {end: row[f"{end}_scratch"] for end in ("value", "low", "high")},
        }
        for row in joined.iter_rows(named=True)
    ]
