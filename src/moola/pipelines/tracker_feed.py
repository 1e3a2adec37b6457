"""What happens in a run, as calls to trackers: events as they come, and the files that stages publish."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from moola.layout import read_json
from moola.pipelines.context import Context
from moola.pipelines.events import Event, EventLog, figures_of
from moola.pipelines.hooks import Hook
from moola.pipelines.rented import rent_figures
from moola.pipelines.stage import Stage
from moola.pipelines.tracked_results import results_told
from moola.tracking.journal import JOURNAL, Journal
from moola.tracking.tracker import TrackedRun

SYSTEM = "system"
"""Series of figures of the machine."""
_OWN_CURVES = ("pretrain", "probe", "search")
"""Stages whose curves come seed by seed, from other events or files than their progress."""
_FROM_FILES = ("probe",)
"""Those whose files tell their epochs (`moola.pipelines.tracked_results`), so that a reused stage does, too."""


class TrackerFeed(Hook):
    """Journals what trackers are to be told; where the journal takes nothing, the run goes on, and is told once.

    Args:
        journal: of the run.
        run: what is tracked.
        events: the run's log, which is listened to.
    """

    def __init__(self, journal: Journal, run: TrackedRun, events: EventLog) -> None:
        self._journal, self._run, self._events = journal, run, events
        self._is_begun = self._is_failing = False
        self._began_s = 0.0

    def begin(self) -> None:
        """Say that the run starts, and listen; what lies between an attempt and the next is no time of the run."""
        self._began_s = time.monotonic() - self._journal.last_step(SYSTEM)
        self.tell("start", run=self._run)
        self._events.listen(self._on_event)

    def after_stage(self, stage: Stage, context: Context) -> None:
        """Say what the stage has published."""
        for method, arguments in results_told(stage, context.artifacts[stage.provides], self._run):
            self.tell(method, **arguments)

    def finish(self, status: str) -> None:
        """Say how the run ended, how long it took and what its machine cost."""
        figures: dict[str, Any] = {"run/status": status}
        with contextlib.suppress(Exception):  # a manifest that a full disk tore
            manifest = read_json(self._run.folder / "manifest.json")
            figures |= {"run/seconds": manifest["seconds"], "run/attempts": manifest["attempts"]}
            figures |= rent_figures(self._run.folder)
        self.tell("log_summary", figures=figures)
        self.tell("finish", status=status)

    def close(self) -> None:
        """Bring the journal to disk."""
        with contextlib.suppress(OSError):
            self._journal.close()

    def _on_event(self, event: Event) -> None:
        for series, step, figures in points(event, time.monotonic() - self._began_s):
            if figures:
                self.tell("log_figures", series=series, step=step, figures=figures, time_s=round(time.time(), 3))

    def tell(self, method: str, **arguments: Any) -> None:
        """Journal a call, which never raises: what cannot be written is lost to the trackers, not to the run folder.

        Args:
            method: of `moola.tracking.tracker.Tracker`.
            arguments: its own.
        """
        try:
            if not self._is_begun and method != "start":
                self._journal.append("start", run=self._run)
            self._journal.append(method, **arguments)
        except Exception as error:  # whatever is wrong with tracking is no matter of the run
            self._fail(error)
            return
        self._is_begun, was_failing, self._is_failing = True, self._is_failing, False
        if was_failing:
            self._emit(
                "tracker_back", tracker="all", message=f"{JOURNAL} can be written again; what came between is lost"
            )

    def _fail(self, error: Exception) -> None:
        is_new, self._is_failing = not self._is_failing, True
        if is_new:
            self._emit(
                "tracker_failed",
                tracker="all",
                what=f"{self._run.folder / JOURNAL} cannot be written, so trackers are told nothing",
                why=f"{type(error).__name__}: {error}",
                way_out="the run goes on; free space, or choose another disk with paths.artifacts=FOLDER",
            )

    def _emit(self, event: str, **fields: Any) -> None:
        with contextlib.suppress(OSError):
            self._events.emit(event, **fields)


def points(event: Event, at_work_s: float) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Points of curves in an event: series, step and figures.

    Args:
        event: of a run's log.
        at_work_s: seconds of the run, its pauses left out; the step of figures of the machine.
    """
    stage, name = event.get("stage", ""), event["event"]
    if name == "steps":
        yield f"{stage}/seed{event['seed']}", event["step"], figures_of(event)
    elif name == "epoch" and stage not in _FROM_FILES:
        member = f"/member{event['member']}" if event.get("member") else ""
        yield f"{stage}/seed{event['seed']}{member}/epochs", event["epoch"], figures_of(event)
    elif name == "system":
        yield SYSTEM, round(at_work_s), figures_of(event)
    elif name == "trial":
        yield event["study"], event["number"], figures_of(event)
    elif name == "progress" and stage not in _OWN_CURVES:
        yield stage, event["done"], figures_of(event)
