"""What a run is, in plain sentences: windows, labels, spans, folds, and what the encoder has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.dataset import Dataset
from moola.pipelines.setup import adopted_encoder


def statements(data: Dataset, inputs: Mapping[str, Artifact], seeds: tuple[int, ...]) -> tuple[str, ...]:
    """A sentence each."""
    labels = read_json(inputs["windows"].path("labels.json"))
    proof = read_json(inputs["splits"].path("proof.json"))
    flipped = int(data.labels["planted"].sum())
    told = [
        f"{len(data.windows):,} windows of {data.windows.length} bars from {len(data.store.series):,} series; "
        f"a model sees the first {data.windows.visible} bars of a window."
    ]
    told += _left_out_told(inputs["bars"])
    if labels["from_rule"]:
        told.append(
            "The labels are weak: a formula made them from the candles, no person did. "
            "So the truth of every labelled window is known and figures are computed against it; windows that the "
            "formula leaves open are never scored, which makes the scored ones the clearer cases."
        )
    told.append(
        f"The models were given {len(data.labels)} labels"
        + (f", {flipped} of which were flipped on purpose, so that finding them can be measured." if flipped else ".")
    )
    counts = data.labels["label"].value_counts().sort("label").iter_rows()
    told.append("Labels as given: " + ", ".join(f"{name}: {n}" for name, n in counts) + ".")
    gap = proof["test"]["gap_bars"]
    told.append(
        f"{proof['windows']['train']:,} windows train, {proof['windows']['test']:,} are sealed "
        f"({len(data.test):,} of them with a known label), "
        f"{proof['windows']['excluded']:,} lie across the border and belong to neither"
        + ("." if gap is None else f"; {gap} bars lie between the last training and the first test window.")
    )
    told.append(_folds_told(data, proof))
    if "encoder" in inputs:
        told.append(encoder_told(inputs["encoder"]))
    told.append(
        f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} ({', '.join(map(str, seeds))})"
        f"{'' if data.every_label_given else '; one draw of labels'}. "
        + (
            "Intervals are 95 %, over cases and seeds."
            if data.store.independent
            else "Intervals are 95 %, over windows in blocks of time and over seeds."
        )
    )
    return tuple(told)


def _left_out_told(bars: Artifact) -> list[str]:
    """What of the source is not in the bars, and why; nothing where all of it is, or another stage made the bars."""
    if "ingest.json" not in bars.manifest["files"]:
        return []
    summary = read_json(bars.path("ingest.json"))
    if not summary["rows_quarantined"]:
        return []
    reasons = [f"{one['message']} ({one['rows']:,})" for one in summary["findings"] if one["severity"] == "error"]
    return [
        f"{summary['rows_quarantined']:,} of {summary['rows_read']:,} rows of the source were bad and left out: "
        f"{'; '.join(reasons)}. They are in quarantine.csv, beside the bars."
    ]


def _folds_told(data: Dataset, proof: Mapping[str, Any]) -> str:
    """How the labelled windows were folded, as measured on the finished folds."""
    gaps = [fold["gap_bars"] for fold in proof["folds"] if fold["gap_bars"] is not None]
    told = f"{len(data.folds)} folds; no window that trains overlaps one that its fold predicts"
    if gaps:
        told += f", and at least {min(gaps)} bars lie between them"
    told += {
        "once": ".",
        "some": f". {(data.labels['fold'] < 0).sum()} labelled windows only train: their block comes before every "
        "held-out one.",
        "many": ". A window is held out by several folds, and the mean of their probabilities is what is scored.",
    }[proof["coverage"]]
    return told


def encoder_told(encoder: Artifact) -> str:
    """What the encoder has seen, that of a run of its own or one that was brought along; and what never trained."""
    adopted = adopted_encoder(encoder)
    if adopted is None:
        told = (
            "Out-of-fold figures are transductive: the encoder was pretrained once, on the inputs of all training "
            "windows, held-out folds among them, never on labels. The sealed test was not seen at all."
        )
    else:
        told = f"{adopted['told']}."
    if adopted is not None and adopted["same_bars"]:
        told += (
            " Out-of-fold figures are transductive: it learned from inputs of windows that folds hold out, "
            "never from their labels."
        )
    if untrained := read_json(encoder.path("encoder.json")).get("untrained"):
        told += f" Pretraining did not train {', '.join(untrained)}: that part of the embedding is random."
    return told
