"""A run as its log tells it so far: stages, progress, curves and what it said."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moola.dashboard.event_tail import EventTail
from moola.errors import cause_of
from moola.pipelines.console import spoken
from moola.pipelines.events import Event, figures_of

Axis = Literal["step", "epoch", "second"]
_MOST_POINTS = 4096
_LOG_LINES = 60


@dataclass(frozen=True, order=True)
class CurveName:
    """What a curve is of.

    Attributes:
        stage: in which it is measured; ``system`` for the machine.
        figure: ``loss``, ``parts/NAME``, ``val_loss``.
        axis: what its x counts.
    """

    stage: str
    figure: str
    axis: Axis


@dataclass
class Points:
    """A curve that grows; when it is long, pairs of neighbours give way to their lowest and highest."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)

    def add(self, x: float, y: float) -> None:
        """Append a point; a step that was reached before is reached again by a later attempt, which counts."""
        while self.x and self.x[-1] >= x:
            self.x.pop()
            self.y.pop()
        self.x.append(x)
        self.y.append(y)
        if len(self.x) > _MOST_POINTS:
            self._thin()

    def _thin(self) -> None:
        kept: list[int] = []
        for first in range(0, len(self.x), 4):
            group = [place for place in range(first, min(first + 4, len(self.x))) if math.isfinite(self.y[place])]
            group = group or [first]
            kept += sorted({min(group, key=self.y.__getitem__), max(group, key=self.y.__getitem__)})
        self.x, self.y = [self.x[place] for place in kept], [self.y[place] for place in kept]


@dataclass
class StageState:
    """A stage of the latest attempt: ``running``, ``finished``, ``reused``, ``interrupted`` or ``failed``."""

    name: str
    status: str = "running"
    seconds: float | None = None
    what: str = ""


@dataclass
class Progress:
    """How far the stage at work is."""

    stage: str
    done: int
    total: int
    what: str


class LiveRun:
    """Follows one run folder.

    Args:
        folder: of the run.

    Attributes:
        version: grows with everything that is new.
        stages: of the latest attempt, in order.
        n_stages: how many there will be; 0 where it is not known.
        progress: of the stage at work; None where none is.
        curves: name -> seed -> points; the machine has seed 0.
        resumed: seconds, those of the pauses left out, at which a later attempt began.
        log: the last lines that the run said.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = 0
        self._tail = EventTail(folder / "events.jsonl")
        self._forget()

    def _forget(self) -> None:
        self.stages: dict[str, StageState] = {}
        self.n_stages = 0
        self.progress: Progress | None = None
        self.curves: dict[CurveName, dict[int, Points]] = {}
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.resumed: list[float] = []
        self._began_s: float | None = None
        self._last_s = 0.0

    def follow(self) -> bool:
        """Read what is new; whether anything is."""
        events = self._tail.read()
        if self._tail.restarted:
            self._forget()
        for event in events:
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # of another moola, or by hand
                self._take(event)
        self.version += bool(events)
        return bool(events)

    def _take(self, event: Event) -> None:
        kind = event["event"]
        second = self._second(event, begins=kind == "run_started")
        if kind == "run_started":
            self.stages, self.progress = {}, None
        elif kind == "steps":
            self._add(event["stage"], "step", event["seed"], event["step"], event)
        elif kind == "epoch" and not event.get("member"):  # of an ensemble the first is shown
            self._add(event["stage"], "epoch", event["seed"], event["epoch"], event)
        elif kind == "system":
            self._add("system", "second", 0, second, event)
        elif kind == "progress":
            self.progress = Progress(event["stage"], int(event["done"]), int(event["total"]), str(event["what"]))
        elif kind.startswith("stage_"):
            self._take_stage(kind.removeprefix("stage_"), event)
        line = spoken(event)
        if line or event.get("error"):
            self.log.append(line or f"{kind.replace('_', ' ')}: {event['error']}")

    def _take_stage(self, what: str, event: Event) -> None:
        name = str(event["stage"])
        if what == "started":
            self.stages[name], self.n_stages, self.progress = StageState(name), int(event["total"]), None
        elif what == "waiting":
            self.stages[name].what = f"waits: {event['why']}"
        elif what in ("finished", "reused", "failed"):
            seconds, error = event.get("seconds") if what != "failed" else None, str(event.get("error", ""))
            ended = "interrupted" if what == "failed" and error == cause_of(KeyboardInterrupt()) else what
            self.stages[name] = StageState(name, ended, seconds, error)
            self.progress = None

    def _add(self, stage: str, axis: Axis, seed: int, x: float, event: Event) -> None:
        """Every figure of an event as a point of its own curve."""
        for figure, y in figures_of(event).items():
            self.curves.setdefault(CurveName(stage, figure, axis), {}).setdefault(int(seed), Points()).add(float(x), y)

    def _second(self, event: Event, *, begins: bool) -> float:
        """Seconds that the run has been at work; what lies between an attempt and the next is none of them."""
        try:
            at_s = datetime.datetime.fromisoformat(event["time"]).timestamp()
        except (KeyError, TypeError, ValueError):  # of another moola, or by hand
            return self._last_s
        if self._began_s is None:
            self._began_s = at_s
        elif begins:
            self._began_s = at_s - self._last_s
            self.resumed.append(self._last_s)
        self._last_s = max(self._last_s, at_s - self._began_s)
        return at_s - self._began_s
