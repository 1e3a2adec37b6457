"""The log of decisions as one reviewer sees it: kept up with what every process and tab appends."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable

from moola.errors import StorageError
from moola.labels.events import LabelEvent, LabelLog
from moola.labels.folding import WindowState, fold, in_effect
from moola.labels.pace import pace_of

_PACE_OVER = 30
"""Decisions that the pace is measured over."""


class Journal:
    """Events of a log, folded window by window as they come.

    Args:
        log: where events are written.
        annotator: who reviews.
        tell: is told, in words, when somebody takes events away under way.
    """

    def __init__(self, log: LabelLog, annotator: str, tell: Callable[[str], None] = lambda words: None) -> None:
        self.log, self.annotator, self._tell = log, annotator, tell
        self.torn = ""
        self._base = 0
        self._gone: set[str] = set()
        self._missing: set[str] = set()
        self._forget()
        self.refresh()

    def _forget(self) -> None:
        self._events: list[LabelEvent] = []
        self._of_window: dict[str, list[LabelEvent]] = defaultdict(list)
        self._states: dict[str, WindowState] = {}
        self._known: set[str] = set()

    @property
    def revision(self) -> int:
        """Grows with every event, and where events are taken away."""
        return self._base + len(self._events)

    @property
    def event_ids(self) -> frozenset[str]:
        """Of all events in the log."""
        return frozenset(self._known)

    def refresh(self) -> set[str]:
        """Read what was appended since the last time, by whomever; the windows that it speaks of.

        Raises:
            StorageError: the log is not what was written.
        """
        content = self.log.read()
        self.torn = content.torn or self.torn
        known = len(self._events)
        if len(content.events) < known or (known and content.events[known - 1].event_id != self._events[-1].event_id):
            self._start_anew({event.event_id for event in content.events})
            known = 0
        changed = {event.window_id for event in content.events[known:]} | (set() if known else self._gone)
        for event in content.events[known:]:
            self._events.append(event)
            self._of_window[event.window_id].append(event)
            self._known.add(event.event_id)
            self._missing.discard(event.event_id)
        for name in changed:
            state = fold(self._of_window[name]).get(name)
            self._states.pop(name, None)
            if state is not None:
                self._states[name] = state
        return changed

    def _start_anew(self, found: set[str]) -> None:
        """Somebody deleted the log, cut it or put another in its place: what it holds now is what counts."""
        before = len(self._missing)
        self._missing |= self._known - found
        self._base = self.revision + 1
        self._gone |= set(self._of_window)
        self._forget()
        if len(self._missing) > before:
            self._tell(self.lost)

    @property
    def lost(self) -> str:
        """What was taken out of the log while it was in use and is not back, in words; empty where all is there."""
        if not self._missing:
            return ""
        return (
            f"{self.log.path} was deleted or changed while it was in use; events that are gone and count no more: "
            f"{len(self._missing):,}. Bring them back from a copy (moola labels import COPY), or decide again"
        )

    def append(self, event: LabelEvent) -> set[str]:
        """Write an event, unless one of its id is there; what changed as in `refresh`."""
        self.log.append(event)
        return self.refresh()

    def holds(self, event_id: str) -> bool:
        """Whether an event is in the log."""
        return event_id in self._known

    def event(self, event_id: str) -> LabelEvent:
        """An event that the log holds."""
        return next(event for event in reversed(self._events) if event.event_id == event_id)

    def changed_since(self, revision: int) -> set[str]:
        """Windows that events after this revision speak of."""
        changed = {event.window_id for event in self._events[max(revision - self._base, 0) :]}
        return changed | self._gone if revision < self._base else changed

    def state(self, window_id: str) -> WindowState | None:
        """What the log says of a window; None where it says nothing."""
        return self._states.get(window_id)

    def own_state(self, window_id: str) -> WindowState | None:
        """What it would say if nobody but this annotator had said anything; anybody's undo counts."""
        events = self._of_window.get(window_id, [])
        own = [event for event in events if event.annotator == self.annotator or event.decision == "undo"]
        return fold(own).get(window_id)

    def decided(self, window_id: str) -> bool:
        """Whether this annotator has decided about a window."""
        state = self._states.get(window_id)
        return state is not None and self.annotator in state.annotators

    def last_in_effect(self) -> LabelEvent | None:
        """The newest event of this annotator that an undo would take back."""
        for event in reversed(self._events):
            mine = event.annotator == self.annotator and event.source == "review" and event.decision != "undo"
            if mine and event in in_effect(self._of_window[event.window_id]):
                return event
        return None

    def pace(self) -> float | None:
        """Decisions a minute over the last ones, pauses left out; None before there are three."""
        wanted = [
            event
            for event in self._events[-10 * _PACE_OVER :]
            if event.annotator == self.annotator and event.source == "review" and event.decision not in ("note", "undo")
        ]
        return pace_of([datetime.datetime.fromisoformat(event.at) for event in wanted[-_PACE_OVER:]])


def check_writable(log: LabelLog) -> None:
    """Try to write before anybody decides anything; makes the file where there is none.

    Raises:
        StorageError: no decision could be written there.
    """
    try:
        log.append()
    except OSError as error:
        raise StorageError(
            f"no decision could be written to {log.path}",
            error.strerror or str(error),
            "let it be written, or choose another place: --log FILE",
        ) from error
