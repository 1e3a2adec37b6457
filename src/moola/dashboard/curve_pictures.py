"""Curves of one run, a line a seed, or of several on the same axes, a colour a run."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from moola.dashboard.live_run import CurveName, LiveRun, Points
from moola.drawing.curves import COLOURS, Curve, draw_curves

_FIRST = ("loss", "val_loss", "linear_balanced_accuracy", "knn_balanced_accuracy", "gradient_norm", "windows_per_s")
"""Figures that are looked at first, in this order."""
_NAMES = {
    "loss": "loss",
    "val_loss": "loss on windows held out",
    "linear_balanced_accuracy": "balanced accuracy, linear",
    "knn_balanced_accuracy": "balanced accuracy, neighbours",
    "gradient_norm": "norm of the gradient",
    "windows_per_s": "windows a second",
    "cpu_percent": "CPU, % of one core",
    "memory_mb": "memory, MB",
    "disk_free_gb": "free disk, GB",
    "gpu_percent": "GPU, %",
    "gpu_memory_mb": "GPU memory, MB",
    "lr": "learning rate",
}
_WIDTH, _HEIGHT = 520.0, 216.0


def split_names(runs: Sequence[LiveRun]) -> tuple[list[CurveName], list[CurveName]]:
    """The curves of some runs: those that are looked at first, and all others."""
    known = {name for run in runs for name in run.curves}
    known -= {name for name in known if name.axis == "epoch" and CurveName(name.stage, name.figure, "step") in known}
    first = [name for name in known if name.figure in _FIRST or name.stage == "system"]
    return sorted(first, key=_rank), sorted(known - set(first))


def without_training(run: LiveRun) -> str:
    """Why a run has no curve of its pretraining, or of any training; "" where it has."""
    if any(name.stage == "pretrain" for name in run.curves):
        return ""
    pretrain = run.stages.get("pretrain")
    if pretrain is not None and pretrain.status == "reused":
        return "no curve of pretraining, as its encoder was reused"
    return "" if any(name.stage != "system" for name in run.curves) else "no step of training in its log"


def draw_run(run: LiveRun, name: CurveName) -> str:
    """A curve of one run, a line a seed."""
    seeds = run.curves.get(name, {})
    lines: list[Curve] = []
    for colour, (seed, points) in enumerate(sorted(seeds.items())):
        label = "" if len(seeds) == 1 and name.stage == "system" else f"seed {seed}"
        lines += _attempts(run, name, points, label, colour)
    return _drawn(name, lines)


def draw_together(runs: Mapping[str, LiveRun], name: CurveName) -> str:
    """A curve of several runs on the same axes: a colour a run, with a line for each of its seeds."""
    lines: list[Curve] = []
    for colour, (run_name, run) in enumerate(runs.items()):
        for place, (seed, points) in enumerate(sorted(run.curves.get(name, {}).items())):
            label = "" if place else run_name if name.stage == "system" else f"{run_name}, seed {seed}"
            lines += _attempts(run, name, points, label, colour)
    return _drawn(name, lines)


def _attempts(run: LiveRun, name: CurveName, points: Points, label: str, colour: int) -> Iterator[Curve]:
    """A line; one over time breaks where the run was not at work, and the legend has the last of its parts."""
    breaks = [bisect.bisect_right(points.x, second) for second in run.resumed] if name.axis == "second" else []
    parts = [part for part in pairwise([0, *breaks, len(points.x)]) if part[0] < part[1]]
    for place, (first, end) in enumerate(parts, start=1):
        told = label if place == len(parts) else ""
        yield Curve(told, points.x[first:end], points.y[first:end], colour=colour, dashed=colour >= COLOURS)


def _drawn(name: CurveName, lines: Sequence[Curve]) -> str:
    title = spoken(name)
    return draw_curves(lines, title=title, x_label=f"{name.axis}s", y_label=title, width=_WIDTH, height=_HEIGHT)


def spoken(name: CurveName) -> str:
    """What a curve shows, in words."""
    return f"{'machine' if name.stage == 'system' else name.stage}: {_figure(name.figure)}"


def _figure(figure: str) -> str:
    """A figure in words: ``GPU 1 memory, MB``, ``learning rate, group0``, ``part of the loss: order``."""
    gpu = re.fullmatch(r"gpu([0-9]+)(_\w+)", figure)
    if gpu and f"gpu{gpu[2]}" in _NAMES:
        return _NAMES[f"gpu{gpu[2]}"].replace("GPU", f"GPU {gpu[1]}")
    kind, _, rest = figure.partition("/")
    if kind in ("lr", "parts") and rest:
        words = rest.replace("_", " ")
        return f"part of the loss: {words}" if kind == "parts" else f"{_NAMES['lr']}, {words}"
    return _NAMES.get(figure, figure.replace("_", " "))


def _rank(name: CurveName) -> tuple[int, CurveName]:
    return (_FIRST.index(name.figure) if name.figure in _FIRST else len(_FIRST)), name
