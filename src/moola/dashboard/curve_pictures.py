"""Curves of one run, a line a seed, or of several on the same axes, a colour a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moola.dashboard.live_run import CurveName, LiveRun
from moola.drawing.curves import Curve, draw_curves

_FIRST = ("loss", "val_loss", "linear_balanced_accuracy", "knn_balanced_accuracy", "gradient_norm", "windows_per_s")
"""Figures that are looked at first, in this order."""
_NAMES = {
    "loss": "loss",
    "val_loss": "loss on windows held out",
    "linear_balanced_accuracy": "balanced accuracy, linear",
    "knn_balanced_accuracy": "balanced accuracy, neighbours",
    "gradient_norm": "norm of the gradient",
    "windows_per_s": "windows a second",
}
_WIDTH, _HEIGHT = 520.0, 216.0


def split_names(runs: Sequence[LiveRun]) -> tuple[list[CurveName], list[CurveName]]:
    """The curves of some runs: those that are looked at first, and all others."""
    known = {name for run in runs for name in run.curves}
    known -= {name for name in known if name.axis == "epoch" and CurveName(name.stage, name.figure, "step") in known}
    first = [name for name in known if name.figure in _FIRST or name.stage == "system"]
    return sorted(first, key=_rank), sorted(known - set(first))


def draw_run(run: LiveRun, name: CurveName) -> str:
    """A curve of one run, a line a seed."""
    seeds = run.curves.get(name, {})
    lines = [
        Curve("" if len(seeds) == 1 and name.stage == "system" else f"seed {seed}", points.x, points.y)
        for seed, points in sorted(seeds.items())
    ]
    return _drawn(name, lines)


def draw_together(runs: Mapping[str, LiveRun], name: CurveName) -> str:
    """A curve of several runs on the same axes: a colour a run, with a line for each of its seeds."""
    lines: list[Curve] = []
    for colour, (run_name, run) in enumerate(runs.items()):
        for place, (seed, points) in enumerate(sorted(run.curves.get(name, {}).items())):
            label = "" if place else run_name if name.stage == "system" else f"{run_name}, seed {seed}"
            lines.append(Curve(label, points.x, points.y, colour=colour, dashed=colour >= 6))
    return _drawn(name, lines)


def _drawn(name: CurveName, lines: Sequence[Curve]) -> str:
    title = spoken(name)
    return draw_curves(lines, title=title, x_label=f"{name.axis}s", y_label=title, width=_WIDTH, height=_HEIGHT)


def spoken(name: CurveName) -> str:
    """What a curve shows, in words."""
    return f"{name.stage}: {_NAMES.get(name.figure, name.figure.replace('_', ' '))}"


def _rank(name: CurveName) -> tuple[int, CurveName]:
    return (_FIRST.index(name.figure) if name.figure in _FIRST else len(_FIRST)), name
