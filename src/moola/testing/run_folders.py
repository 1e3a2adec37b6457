"""Run folders without runs: for tests and benchmarks of what reads many of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

MODELS = ("finetuned", "logistic_regression", "majority")
METRICS = ("accuracy", "balanced_accuracy", "log_loss")


def write_run_folder(results: Path, name: str, *, status: str = "finished", number: int = 0, **changed: Any) -> Path:
    """Write the small files of one run: manifest, configuration, summary, metrics and a short log.

    Args:
        results: the folder of run folders.
        name: of the run folder, and the run's id.
        status: what the manifest says.
        number: makes figures and configuration differ between runs.
        changed: parts of the manifest.

    Returns:
        The run folder.
    """
    folder = results / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        _CONFIG.format(name=name.rpartition("-")[0] or name, hidden=2 ** (3 + number % 6))
    )
    files = {"config.yaml": "0" * 64}
    if status == "finished":
        summary, metrics = _figures(number)
        _write(folder / "summary.json", summary)
        _write(folder / "metrics.json", metrics)
        files |= dict.fromkeys(("summary.json", "metrics.json", "judged.parquet"), "0" * 64)
    started = f"2026-01-{1 + number // 1440 % 28:02d}T{number // 60 % 24:02d}:{number % 60:02d}:00.000Z"
    manifest = {
        "run_id": name,
        "name": name.rpartition("-")[0] or name,
        "target": "run",
        "status": status,
        "attempts": 1,
        "first_started": started,
        "started": started,
        "finished": None if status == "running" else started.replace(":00.000Z", ":30.000Z"),
        "seconds": None if status == "running" else 30.0 + number % 90,
        "command": ["moola run"],
        "seeds": [0, 1],
        "git_commit": "0" * 40,
        "git_dirty": False,
        "stages": [],
        "files": files,
        "error": None if status in ("running", "finished") else "DataError: no bars",
    }
    _write(folder / "manifest.json", manifest | changed)
    return folder


def write_run_folders(results: Path, n: int) -> None:
    """Write `n` finished runs that differ in configuration and figures."""
    for number in range(n):
        write_run_folder(results, f"many-{number:012x}", number=number)


def _figures(number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Contents of ``summary.json`` and ``metrics.json``."""

    def figure(place: int) -> dict[str, Any]:
        value = 0.7 + 0.2 * math.sin(number + place)
        return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 174, "seeds": 2}

    rows = [
        {"model": model, "split": split, "metric": metric, **figure(place)}
        for place, (model, split, metric) in enumerate(
            (a, b, c) for a in MODELS for b in ("oof", "test") for c in METRICS
        )
    ]
    given = {model: figure(20 + place) for place, model in enumerate(MODELS)}
    alarm = {"code": "collapsed", "severity": "alarm", "model": "majority", "message": "", "split": "test"}
    summary = {"verdict": ["One.", "Two.", "Three."], "chosen": "finetuned", "as_given": given, "stacks": []}
    return {**summary, "alarms": [alarm] * (number % 3 == 0)}, rows


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2))


_CONFIG = """\
name: {name}
seeds: [0, 1]
data:
  source: arch_indices
  symbols: [sp500, nasdaq]
  window: {{length: 105, stride_bars: 1}}
encoder: {{name: bilstm, hidden: {hidden}, layers: 1}}
objective: {{name: mixture}}
trainer:
  pretrain: {{epochs: 12, batch_size: 128, lr: 0.002}}
stage:
  skip: []
  insert: {{}}
"""
