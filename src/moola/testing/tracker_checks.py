"""What a tracker has to keep: nothing lost and nothing doubled, though it is killed and told again."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from moola.drawing import svg_file
from moola.layout import write_text
from moola.tracking.delivery import FOLDER, Delivery
from moola.tracking.journal import Journal, read_calls
from moola.tracking.tracker import TrackedArtifact, TrackedRun, Tracker

Points = Mapping[tuple[str, int], float]
"""Series and name of a figure with a slash between, and step -> value."""
_STEPS = 12


def check_tracker(
    tracker: Tracker, folder: Path, points: Callable[[TrackedRun], list[tuple[str, int, float]]] | None = None
) -> TrackedRun:
    """Everything `moola.tracking.tracker.Tracker` promises.

    - It is a dataclass, so that a new one of the same configuration can go on; its packages are named with their
      extras; it never reads from the terminal.
    - Every kind of call works, with figures that are not finite, empty tables and cells, and names of all letters.
    - One that was killed before it flushed, and one that is told everything twice, hold every point once.
    - A run that has ended goes on.

    Args:
        tracker: that keeps nothing of a run ``check-0123456789ab`` yet.
        folder: to work in; the run's is in it.
        points: reads what the tracker keeps of a run: name of a figure (``series/name``), step and value of every
            point. None: points are not counted.

    Returns:
        The run that it was told of, for further looks.
    """
    assert dataclasses.is_dataclass(tracker), f"{type(tracker).__name__} is no dataclass"
    assert tracker.wait_s >= 0, f"wait_s is {tracker.wait_s}"
    assert all(isinstance(word, str) for pair in tracker.packages.items() for word in pair), "packages: module -> extra"
    run = _journaled(folder)
    calls = list(read_calls(run.folder))
    with _nobody_to_ask():
        killed = _anew(tracker)
        for call in calls[: _STEPS // 2]:
            call.tell(killed, run.folder)  # and no flush: what it kept in memory may be lost
        killed.close()
        told = Delivery("check", _anew(tracker), run.folder).deliver_rest()
        assert told == len(calls), f"{len(calls) - told} of {len(calls)} calls were not taken"
        shutil.rmtree(run.folder / FOLDER)  # as if the position had not been written
        Delivery("check", _anew(tracker), run.folder).deliver_rest()
    if points is not None:
        _check_points(points(run))
    return run


def _anew(tracker: Tracker) -> Tracker:
    return dataclasses.replace(tracker)  # type: ignore[type-var]


def _check_points(found: list[tuple[str, int, float]]) -> None:
    wanted = {
        (f"{series}/{name}", step): value for series, step, figures in _curves() for name, value in figures.items()
    }
    ours = [(name, step, value) for name, step, value in found if name.startswith("check/")]
    held = {(name, step): value for name, step, value in ours}
    lost = sorted(set(wanted) - set(held))
    assert not lost, f"{len(lost)} points are lost: {lost[:3]}"
    assert len(held) == len(ours), f"{len(ours) - len(held)} points are doubled"
    for place, value in wanted.items():
        same = math.isclose(held[place], value, rel_tol=1e-6) or (math.isnan(value) and math.isnan(held[place]))
        assert same, f"{place} is {held[place]}, not {value}"


def _curves() -> Iterator[tuple[str, int, dict[str, float]]]:
    for step in range(1, _STEPS + 1):
        yield "check/seed0", step, {"loss": 1 / step, "parts/mask": step / 3}
        yield "check/seed1", step, {"loss": math.nan if step == 3 else math.inf if step == 4 else 2 / step}


def _journaled(folder: Path) -> TrackedRun:
    """A run folder whose journal holds every kind of call."""
    run_folder = folder / "results" / "check-0123456789ab"
    config = {"name": "check", "seeds": [0, 1], "encoder": {"hidden": 8, "path": None}, "tracker": {}}
    run = TrackedRun(run_folder.name, "check", run_folder, config, group="sweep-1", job="run", tags=("tiny",))
    write_text(run_folder / "pictures" / "loss.svg", _picture())
    write_text(run_folder / "report.html", "<!doctype html><title>check</title><p>größer than 0</p>")
    weights = folder / "encoders" / "encoder.safetensors"
    write_text(weights, "weights")
    journal = Journal(run_folder)
    journal.append("start", run=run)
    for number, (series, step, figures) in enumerate(_curves()):
        if number == _STEPS:
            journal.append("start", run=run)  # an attempt that was killed, and the next one
        journal.append("log_figures", series=series, step=step, figures=figures, time_s=1_700_000_000.0 + number)
    for method, arguments in _results(run_folder, weights):
        journal.append(method, **arguments)
    journal.append("finish", status="interrupted")
    journal.append("start", run=run)
    journal.append("finish", status="finished")
    journal.close()
    return run


def _results(run_folder: Path, weights: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    summary = {
        "model/test/accuracy": 0.5,
        "model/test/accuracy/low": None,
        "verdict": "größer than chance",
        "alarms": 0,
    }
    yield "log_summary", {"figures": summary}
    yield "log_table", {"name": "leaderboard", "columns": ["model", "n"], "rows": [["a | b", 1], [None, 0.25]]}
    yield "log_table", {"name": "empty", "columns": [], "rows": []}
    yield "log_picture", {"name": "pictures/loss", "svg": run_folder / "pictures" / "loss.svg", "caption": "Loss"}
    yield "log_page", {"name": "report", "html": run_folder / "report.html"}
    artifact = TrackedArtifact("encoder-check", "encoder", "ab" * 32, (weights,), {"bars": "cd" * 32}, {"seconds": 1.5})
    yield "log_artifact", {"artifact": artifact}


def _picture() -> str:
    markup = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><rect width="40" height="20"/></svg>'
    return svg_file([("Loss", markup)], title="Loss")


@contextmanager
def _nobody_to_ask() -> Iterator[None]:
    """Whoever reads from the terminal fails."""

    class Nobody:
        def readline(self, *_: object) -> NoReturn:
            raise AssertionError("it asks a person")

        read = readline

        def isatty(self) -> bool:
            return False

    before, sys.stdin = sys.stdin, Nobody()  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdin = before
