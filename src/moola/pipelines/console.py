"""What a person sees while a run goes on: rich bars on a terminal, plain lines elsewhere; all on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, TextIO

from moola.pipelines.events import Event

_LINE_EVERY_S = 5.0
_WHOLE_RATE = 10
"""Steps a second, from which on they are told without decimals."""
_SILENT = ("epoch", "steps", "system")
"""Events of which a person sees nothing, not even that a bar goes away."""
_OWN = {"time", "event", "stage", "done", "total", "what"}


class Console(Protocol):
    """Shows events as they come."""

    def __call__(self, event: Event) -> None:
        """Show one event."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def open_console(stream: TextIO | None = None) -> Console:
    """Bars on a terminal when rich is installed, else plain lines; by default where stderr goes now."""
    found = sys.stderr if stream is None else stream
    if found.isatty():
        try:
            return RichConsole(found)
        except ImportError:
            pass
    return PlainConsole(found)


class PlainConsole:
    """One line a stage, and progress lines with rate and time to go at most every few seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last_line = 0.0
        self._rate = _Rate()

    def __call__(self, event: Event) -> None:
        """Print what a person wants to know of an event."""
        if event["event"] in _SILENT:
            return
        if event["event"] == "progress":
            self._rate.update(event)
            if time.monotonic() - self._last_line < _LINE_EVERY_S and event["done"] < event["total"]:
                return
            self._last_line = time.monotonic()
            line = f"    {event['done']}/{event['total']}  {event['what']}{_figures(event)}  {self._rate.spoken(event)}"
        else:
            self._rate = _Rate()
            line = spoken(event)
        if line:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to leave."""


class RichConsole:
    """A live bar for the stage at work and a line for each that is done."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console as Terminal
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("    {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Terminal(file=stream, highlight=False),
            transient=True,
        )
        self._task: Any = None
        self._progress.start()

    def __call__(self, event: Event) -> None:
        """Move the bar, or print a line above it."""
        from rich.markup import escape

        if event["event"] in _SILENT:
            return
        if event["event"] == "progress":
            words = escape(f"{event['what']}{_figures(event)}")
            if self._task is None:
                self._task = self._progress.add_task(words, total=event["total"])
            self._progress.update(self._task, completed=event["done"], total=event["total"], description=words)
            return
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        line = spoken(event)
        if line:
            self._progress.console.print(escape(line))

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


class _Rate:
    """Steps a second within one stage."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def update(self, event: Event) -> None:
        if self._first is None:
            self._first = (time.monotonic(), event["done"])

    def spoken(self, event: Event) -> str:
        assert self._first is not None
        started, done = self._first
        steps, seconds = event["done"] - done, time.monotonic() - started
        if steps <= 0 or seconds <= 0:
            return ""
        left_s = (event["total"] - event["done"]) * seconds / steps
        rate = steps / seconds
        told = f"{rate:,.0f}" if rate >= _WHOLE_RATE else f"{rate:.2g}"
        return f"({told}/s, {left_s:.0f} s left)"


def _figures(event: Event) -> str:
    return "".join(f"  {name} {value}" for name, value in event.items() if name not in _OWN)


def _hook_failed(event: Event) -> str:
    return f"    hook {event['hook']} failed at {event['moment']}: {event['error']}"


def spoken(event: Event) -> str:
    """What a person wants to know of an event, in a line; "" for nothing. Progress is told otherwise."""
    stage = event.get("stage", "")
    lines = {
        "run_started": lambda: f"run {event['run_id']}",
        "finding": lambda: f"    {event['severity']}: {event['message']}, {event['rows']:,} rows",
        "note": lambda: f"    note: {event['message']}",
        "batch_size": lambda: f"    batch size {event['size']}: {event['why']}",
        "stage_started": lambda: f"[{event['number']}/{event['total']}] {stage}",
        "stage_reused": lambda: f"    reused {event['key'][:12]} (took {event['seconds']:.1f} s when it was made)",
        "stage_finished": lambda: f"    done in {event['seconds']:.1f} s",
        "stage_waiting": lambda: f"    waiting: {event['why']}",
        "stage_failed": lambda: "    stopped here; everything finished before is kept",
        "hook_failed": lambda: "" if event["ends_run"] else _hook_failed(event),  # what ends a run is told at its end
        "tracker_failed": lambda: f"    warning: {event['what']}: {event['why']}; {event['way_out']}",
        "tracker_back": lambda: f"    note: {event['message']}",
        "tracker_refused": lambda: f"    warning: {event['tracker']} leaves out {event['what']}: {event['why']}",
        "tracker_left": lambda: f"    note: {event['message']}",
        "run_finished": lambda: f"finished in {event['seconds']:.1f} s",
    }
    return lines[event["event"]]() if event["event"] in lines else ""
