"""What stages publish, as calls to trackers: one small reader for each kind of file."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from moola.layout import read_json
from moola.pipelines.artifacts import Artifact
from moola.pipelines.stage import Stage
from moola.tracking.tracker import Figure, TrackedArtifact, TrackedRun

Told = tuple[str, dict[str, Any]]
"""A method of `moola.tracking.tracker.Tracker` and its arguments."""
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MOST_ROWS = 10_000
"""Of a table; the whole of it is in the artifact."""
_KINDS = {"pretrain": "encoder", "oof": "oof", "report": "report", "label_issues": "labels"}
"""Stages whose result is kept as an artifact, and as what."""
_KEPT_FILES = {
    "encoder": ("encoder.json", "encoder-seed*.safetensors", "transform.json"),
    "oof": ("models.json", "oof.parquet"),
    "report": ("report.html",),
    "labels": ("label_issues.csv",),
}
_FACTS = ("stage", "key", "code", "versions", "started", "seconds", "energy_wh")


def results_told(stage: Stage, artifact: Artifact, run: TrackedRun) -> Iterator[Told]:
    """Calls for what a stage has left, built now or before.

    Args:
        stage: that is done.
        artifact: its result, whose published files lie in the run folder, too.
        run: that is tracked.
    """
    patterns = (*stage.publishes, *stage.publishes_some)
    published = [name for name in artifact.manifest["files"] if any(map(PurePath(name).match, patterns))]
    for name in published:
        reader = _READERS.get(name)
        if reader is not None:
            yield from reader(artifact.path(name))
        elif name.endswith(".svg"):
            yield _picture(name, run.folder)
        elif name.endswith(".html"):
            yield "log_page", {"name": PurePath(name).stem, "html": run.folder / name}
        elif PurePath(name).match("tables/*.csv"):
            yield from _csv_table(artifact.path(name))
    if stage.name == "pretrain":
        yield from _histories(artifact)
    if stage.name in _KINDS:
        yield "log_artifact", {"artifact": _artifact(_KINDS[stage.name], artifact, run)}


def _artifact(kind: str, artifact: Artifact, run: TrackedRun) -> TrackedArtifact:
    files = [name for name in artifact.manifest["files"] if any(map(PurePath(name).match, _KEPT_FILES[kind]))]
    return TrackedArtifact(
        name=f"{kind}-{run.experiment}",
        kind=kind,
        digest=artifact.digest,
        files=tuple(artifact.path(name) for name in files),
        made_from=dict(artifact.manifest["inputs"]),
        facts={"run": run.run_id} | {key: artifact.manifest[key] for key in _FACTS if key in artifact.manifest},
    )


def _picture(name: str, folder: Path) -> Told:
    place = PurePath(name).with_suffix("")
    return "log_picture", {
        "name": str(place),
        "svg": folder / name,
        "caption": place.name.replace("-", " ").replace("_", " "),
    }


def _histories(artifact: Artifact) -> Iterator[Told]:
    """Epochs of every seed, also where an earlier run pretrained; the journal knows those that were told live."""
    for name in artifact.manifest["files"]:
        place = PurePath(name)
        if place.match("history-seed*.json"):
            for record in read_json(artifact.path(name)):
                figures = {key: value for key, value in record.items() if key != "epoch"}
                yield _point(f"pretrain/{place.stem.removeprefix('history-')}/epochs", int(record["epoch"]), figures)


def _probe(path: Path) -> Iterator[Told]:
    for record in read_json(path):
        figures = {key: value for key, value in record.items() if key not in ("seed", "epoch") and value is not None}
        yield _point(f"probe/seed{record['seed']}", record["epoch"], figures)


def _point(series: str, step: int, figures: Mapping[str, float]) -> Told:
    return "log_figures", {"series": series, "step": step, "figures": dict(figures), "time_s": round(time.time(), 3)}


def _metrics(path: Path) -> Iterator[Told]:
    figures: dict[str, Figure] = {}
    for record in read_json(path):
        name = f"{record['model']}/{record['split']}/{record['metric']}"
        figures |= {name: record["value"], f"{name}/low": record["low"], f"{name}/high": record["high"]}
    yield "log_summary", {"figures": figures}


def _summary(path: Path) -> Iterator[Told]:
    known = read_json(path)
    figures = {"verdict": " ".join(known["verdict"]), "verdict/chosen": known["chosen"], "alarms": len(known["alarms"])}
    yield "log_summary", {"figures": figures}
    yield _table("alarms", known["alarms"])


def _calibration(path: Path) -> Iterator[Told]:
    figures: list[dict[str, Figure]] = []
    bins: list[dict[str, Figure]] = []
    for model, splits in read_json(path)["models"].items():
        for split, moments in splits.items():
            for moment in ("before", "after"):
                if not (known := moments.get(moment)):
                    continue
                place = {"model": model, "split": split, "calibrated": moment}
                for name, found in known["figures"].items():
                    figures.append({**place, "figure": name, **{k: found[k] for k in ("value", "low", "high")}})
                columns = known["reliability"]
                for confidence, accuracy, count in zip(
                    *(columns[k] for k in ("confidence", "accuracy", "count")), strict=True
                ):
                    if count:
                        bins.append({**place, "confidence": confidence, "accuracy": accuracy, "count": count})
    yield _table("calibration", figures)
    yield _table("reliability", bins)


def _confusion(path: Path) -> Iterator[Told]:
    known = read_json(path)
    classes = known["classes"]
    rows = [
        {"split": split, "model": model, "true": true, "predicted": predicted, "windows": count}
        for split, models in known["splits"].items()
        for model, found in models.items()
        for true, counts in zip(classes, found["confusion"], strict=True)
        for predicted, count in zip(classes, counts, strict=True)
    ]
    yield _table("confusion", rows)


def _csv_table(path: Path) -> Iterator[Told]:
    with path.open(newline="") as handle:
        header, *rows = list(csv.reader(handle)) or [[]]
    if header and path.stem != "confusion":  # which comes from per_class.json, also where there is no page
        values = [[_value(text) for text in row] for row in rows[:_MOST_ROWS]]
        yield "log_table", {"name": path.stem, "columns": header, "rows": values}


def _predictions(path: Path) -> Iterator[Told]:
    import polars as pl

    frame = pl.read_parquet(path, n_rows=_MOST_ROWS)
    yield "log_table", {"name": "oof", "columns": frame.columns, "rows": [list(row) for row in frame.iter_rows()]}


def _table(name: str, records: list[dict[str, Any]]) -> Told:
    columns = list(records[0]) if records else []
    rows = [[record.get(column) for column in columns] for record in records]
    return "log_table", {"name": name, "columns": columns, "rows": rows}


def _value(text: str) -> Figure:
    """A cell of a CSV file as a number where it is one; ``007`` is a name."""
    if text in ("", "nan", "NaN"):
        return None
    parts = _NUMBER.fullmatch(text)
    return text if parts is None else float(text) if any(parts.groups()) else int(text)


_READERS: Mapping[str, Callable[[Path], Iterator[Told]]] = {
    "calibration.json": _calibration,
    "label_issues.csv": _csv_table,
    "leaderboard.csv": _csv_table,
    "metrics.json": _metrics,
    "oof.parquet": _predictions,
    "per_class.json": _confusion,
    "probe.json": _probe,
    "summary.json": _summary,
}
