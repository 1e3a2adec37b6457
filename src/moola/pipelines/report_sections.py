"""What the report's page shows, gathered from the artifacts: one function a section."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

import moola
from moola import drawing
from moola.evaluation import report as page
from moola.evaluation.estimates import Estimate
from moola.evaluation.intervals import wilson_interval
from moola.evaluation.metrics import METRICS, reliability
from moola.layout import read_json
from moola.pipelines.artifacts import Artifact, git_state
from moola.pipelines.dataset import Dataset
from moola.pipelines.events import now
from moola.pipelines.pictures import saved_embeddings, saved_reconstructions
from moola.pipelines.predictions import Predictions
from moola.pipelines.scoring import HEADLINE, Scores, SplitName, display_name
from moola.pipelines.setup import adopted_encoder

SHOWN_LABELS = 12
SPLITS: dict[SplitName, str] = {"test": "Sealed test", "oof": "Out of fold"}
SHOWN_METRICS: dict[SplitName, tuple[str, ...]] = {
    "test": ("balanced_accuracy", "macro_f1", "log_loss", "brier", "ece"),
    "oof": ("balanced_accuracy", "macro_f1", "log_loss"),
}


def build_report(
    data: Dataset,
    predictions: Predictions,
    scores: Scores,
    inputs: Mapping[str, Artifact],
    experiment: str,
    run_id: str,
    seeds: tuple[int, ...],
    queue: int,
) -> page.Report:
    """The whole page; a section whose stage was switched off is None."""
    git = git_state()
    issues = inputs.get("label_issues")
    doubtful = (
        pl.read_csv(
            issues.path("label_issues.csv"), schema_overrides={"given_label": pl.String, "pred_label": pl.String}
        )
        if issues
        else None
    )
    return page.Report(
        title=f"{experiment}: what the figures are worth",
        run_id=run_id,
        experiment=experiment,
        created=now()[:16].replace("T", " ") + " UTC",
        moola_version=moola.__version__,
        git_commit=git["git_commit"] or "",
        git_dirty=bool(git["git_dirty"]),
        alarms=scores.alarms.alarms,
        checks=scores.alarms.n_checks,
        verdict=scores.verdict,
        statements=_statements(data, inputs, seeds),
        leaderboard=_leaderboard(predictions, scores, inputs),
        comparisons=_comparisons(scores),
        pretraining=_pretraining(inputs, seeds),
        reconstructions=saved_reconstructions(inputs["encoder"]) if "encoder" in inputs else None,
        calibration=_calibration(data, predictions, scores),
        doubtful=_doubtful(data, doubtful) if doubtful is not None else None,
        planted=_planted(data, doubtful, queue) if doubtful is not None else None,
        lineage=_lineage(inputs, seeds),
        absent={"reconstructions": "this objective rebuilds nothing"} if "encoder" in inputs else {},
    )


def _statements(data: Dataset, inputs: Mapping[str, Artifact], seeds: tuple[int, ...]) -> tuple[str, ...]:
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
    told.append("Labels as given: " + ", ".join(f"{n} {name}" for name, n in counts) + ".")
    gap = proof["test"]["gap_bars"]
    told.append(
        f"{proof['windows']['train']:,} windows train, {proof['windows']['test']:,} are sealed "
        f"({len(data.test):,} of them with a known label), "
        f"{proof['windows']['excluded']:,} lie across the border and belong to neither"
        + ("." if gap is None else f"; {gap} bars lie between the last training and the first test window.")
    )
    told.append(_folds_told(data, proof))
    if "encoder" in inputs:
        told.append(_encoder_told(inputs["encoder"]))
    told.append(
        f"Seeds {', '.join(map(str, seeds))}{'' if data.every_label_given else '; one draw of labels'}. "
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


def _encoder_told(encoder: Artifact) -> str:
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


def _marks(inputs: Mapping[str, Artifact]) -> dict[SplitName, str]:
    """What the heading of a split says of the encoder that its figures rest on."""
    if "encoder" not in inputs:
        return {}
    adopted = adopted_encoder(inputs["encoder"])
    seen = adopted is not None and adopted["may_have_seen_test"]
    return {"oof": "transductive", "test": "may have been seen" if seen else ""}


def _leaderboard(predictions: Predictions, scores: Scores, inputs: Mapping[str, Artifact]) -> page.Leaderboard:
    marks = _marks(inputs)
    shown: list[SplitName] = [split for split in SPLITS if split in scores.figures]
    order = sorted(
        (m for m in predictions.models if m in scores.figures[shown[0]]),
        key=lambda model: -scores.figures[shown[0]][model][HEADLINE].value,
    )
    rows = tuple(
        page.ModelRow(
            display_name(model),
            display_name(model),
            predictions.role(model),
            {
                (SPLITS[split], METRICS[metric].label): scores.figures[split][model][metric]
                for split in shown
                if model in scores.figures[split]
                for metric in SHOWN_METRICS[split]
            },
        )
        for model in order
    )
    majority = scores.figures[shown[0]].get("majority")
    return page.Leaderboard(
        splits=tuple(page.Split(SPLITS[split], marks.get(split, "")) for split in shown),
        metrics=tuple(
            page.Metric(METRICS[name].label, METRICS[name].higher_is_better) for name in SHOWN_METRICS["test"]
        ),
        rows=rows,
        headline=(SPLITS[shown[0]], METRICS[HEADLINE].label),
        reference=drawing.Reference("majority class", majority[HEADLINE].value) if majority else None,
    )


def _comparisons(scores: Scores) -> tuple[page.Comparison, ...]:
    return tuple(
        page.Comparison(
            display_name(d.a), display_name(d.b), SPLITS[d.split], METRICS[d.metric].label, d.difference, d.sentence
        )
        for d in scores.differences
    )


def _pretraining(inputs: Mapping[str, Artifact], seeds: tuple[int, ...]) -> page.Pretraining | None:
    encoder = inputs.get("encoder")
    if encoder is None:
        return None
    histories = {seed: read_json(encoder.path(f"history-seed{seed}.json")) for seed in seeds}
    share = read_json(encoder.path("encoder.json")).get("masked_share")
    return page.Pretraining(
        _loss(histories),
        _rebuilding(histories),
        _probe(inputs),
        f"{share:.1%} of the visible bars are hidden." if share else "",
        saved_embeddings(inputs["probe"]) if "probe" in inputs else (),
    )


def _loss(histories: Mapping[int, list[dict[str, float]]]) -> page.CurvePanel:
    """Training and validation loss of each seed."""
    return page.CurvePanel(
        "Loss",
        "epoch",
        "loss",
        tuple(_curves(histories, {"loss": "training", "val_loss": "validation"})),
        (),
        "Validation windows are the last part of the training span, under the same draws in every epoch and seed. "
        "The training loss may hold parts that validation leaves out.",
    )


def _rebuilding(histories: Mapping[int, list[dict[str, float]]]) -> page.CurvePanel | None:
    """Error of each seed on hidden bars, with what asks for no model; None where no inputs are rebuilt."""
    last = next(iter(histories.values()))[-1]
    if "val_reconstruction" not in last:
        return None
    trivial = {"val_copy_last": "copy last bar", "val_mean": "window mean"}
    return page.CurvePanel(
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


def _probe(inputs: Mapping[str, Artifact]) -> page.CurvePanel | None:
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
    return page.CurvePanel(
        "Probes while pretraining",
        "epoch",
        "balanced accuracy, out of fold",
        curves,
        tuple(drawing.Reference(f"random, {words[probe]}", start[probe].item()) for probe in words),
        "A logistic regression and a vote of the nearest neighbours on the frozen encoder, on the labels as they were "
        "given, out of fold. Dotted: the same probes on random weights, a mean over seeds.",
    )


def _calibration(data: Dataset, predictions: Predictions, scores: Scores) -> tuple[page.Calibration, ...]:
    split: SplitName = "test" if "test" in scores.figures else "oof"
    judged = data.test if split == "test" else predictions.judged(data.labels)
    ids, truth = judged["window_id"], data.class_numbers(judged["true_label"])
    found: list[page.Calibration] = []
    for model in predictions.models:
        if predictions.role(model) == "control" or not predictions.has(model, split):
            continue
        probabilities = predictions.of_model(model, split, ids)
        bins = reliability(probabilities, truth)
        name = display_name(model)
        found.append(
            page.Calibration(name, bins.confidence, bins.accuracy, bins.count, scores.figures[split][model]["ece"])
        )
    return tuple(found)


def _doubtful(data: Dataset, issues: pl.DataFrame) -> tuple[page.DoubtfulLabel, ...]:
    known = bool(data.labels["planted"].any())
    planted = dict(zip(data.labels["window_id"], data.labels["planted"], strict=True))
    table = issues.head(SHOWN_LABELS).join(data.table, on="window_id", how="left", maintain_order="left")
    shown: list[page.DoubtfulLabel] = []
    for row in table.iter_rows(named=True):
        bars = data.windows.gather(data.store.values, np.array([row["row"]]), data.windows.length)[0]
        channels = [i for i, name in enumerate(data.store.channels) if name != "volume"]
        shown.append(
            page.DoubtfulLabel(
                row["window_id"],
                "first bar" if data.store.independent else f"{row['first_time']:%Y-%m-%d}",
                "last bar" if data.store.independent else f"{row['last_time']:%Y-%m-%d}",
                bars[:, channels],
                tuple(data.store.channels[i] for i in channels),
                _spans(data),
                row["given_label"],
                row["pred_label"],
                row["label_quality"],
                planted[row["window_id"]] if known else None,
            )
        )
    return tuple(shown)


def _spans(data: Dataset) -> tuple[drawing.Span, ...]:
    first, end = data.windows.zone
    spans: list[drawing.Span] = []
    if first > 0:
        spans.append(drawing.Span(0, first, "context", "context"))
    if (first, end) != (0, data.windows.length):
        spans.append(drawing.Span(first, end, "zone", "zone"))
    if end < data.windows.length:
        spans.append(drawing.Span(end, data.windows.length, "after", "after"))
    return tuple(spans)


def _planted(data: Dataset, issues: pl.DataFrame, queue: int) -> page.PlantedFound | None:
    flipped = set(data.labels.filter(pl.col("planted"))["window_id"])
    if not flipped:
        return None
    flagged = issues.filter(pl.col("is_label_issue"))["window_id"].to_list()
    found = len(flipped & set(flagged))
    early = len(flipped & set(issues.head(queue)["window_id"]))
    return page.PlantedFound(
        len(flipped), len(flagged), found, _share(found, len(flagged)), _share(found, len(flipped)), early, queue
    )


def _share(hits: int, n: int) -> Estimate:
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, 1)
    low, high = wilson_interval(hits, n)
    return Estimate(hits / n, low, high, n, 1)


def _lineage(inputs: Mapping[str, Artifact], seeds: tuple[int, ...]) -> page.Lineage:
    stages = tuple(
        page.StageRow(item.stage, item.key, item.digest, item.manifest["seconds"])
        for item in sorted(inputs.values(), key=lambda item: item.manifest["started"])
    )
    versions = {"moola": moola.__version__, **inputs["oof"].manifest["versions"]}
    return page.Lineage(stages, versions, seeds, ("moola run --config-path FOLDER_OF_THIS_FILE",))
