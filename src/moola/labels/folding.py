"""What labels are now: all events of a log taken together.

- An undo takes back one event, whoever made it; an undo can be undone, to any depth.
- Of one person's decisions about a window the last one (`LabelEvent.at`) counts. Skipping and blacklisting are one
  verdict: the window leaves the training set.
- A blacklisting holds until it is undone or its own author decides otherwise. What others say of the window is no
  conflict with it: that a span of time is of no use is no question of labels.
- Where people differ about a label, the verdict of more than half of them holds. Without one, which is always so where
  two differ, there is a conflict: the label stays as it was given until one of them yields or another person decides.
- Notes decide nothing.

Every rule is about one window, so that a window's events alone give its state.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from moola.labels.events import Decision, LabelEvent


@dataclass(frozen=True)
class WindowState:
    """What was decided about a window.

    Attributes:
        window_id: its name.
        label: that it should have; None where none was decided: it stays as it was given.
        start: first bar of what was marked, within the window; None where nobody marked anything anew.
        end: last bar of it.
        decision: that holds: accept, relabel, skip or blacklist; None where none does.
        annotators: annotator -> label that this person is for; None for one who removes the window.
        conflict: whether people differ and no verdict has more than half of them.
        removed: whether the window leaves the training set.
        notes: in the order of time.
        window_digest: of the bars that the decision was made on; empty where not known.
        first_time: of the window's first bar as the events tell it, UTC; empty where they do not.
        last_time: of its last bar.
        series: name of the series that it lies in; empty where the events do not tell.
    """

    window_id: str
    label: str | None
    start: int | None
    end: int | None
    decision: Decision | None
    annotators: Mapping[str, str | None]
    conflict: bool
    removed: bool
    notes: tuple[str, ...]
    window_digest: str = ""
    first_time: str = ""
    last_time: str = ""
    series: str = ""


def fold(events: Iterable[LabelEvent]) -> dict[str, WindowState]:
    """Window id -> its state, for every window with a decision or a note in effect, in the order of the log."""
    by_window: defaultdict[str, list[LabelEvent]] = defaultdict(list)
    for event in events:
        by_window[event.window_id].append(event)
    states = ((name, _state(name, in_effect(some))) for name, some in by_window.items())
    return {name: state for name, state in states if state.annotators or state.notes}


def in_effect(events: Iterable[LabelEvent]) -> list[LabelEvent]:
    """Events that nothing takes back, the earliest first; equal times keep the order of the log.

    An undo takes back the event of its own window that it names; one that names no such event does nothing, and events
    that take each other back in a circle do nothing either.
    """
    known = {(event.window_id, event.event_id): event for event in events}
    undoers = Counter((event.window_id, event.undoes) for event in known.values() if event.undoes)
    ready = [name for name in known if not undoers[name]]  # nothing undoes these
    undone: set[tuple[str, str]] = set()
    settled: set[tuple[str, str]] = set()
    while ready:
        name = ready.pop()
        settled.add(name)
        target = (name[0], known[name].undoes)
        if target not in known:
            continue
        if name not in undone:
            undone.add(target)
        undoers[target] -= 1
        if not undoers[target]:
            ready.append(target)
    kept = (event for name, event in known.items() if name in settled and name not in undone)
    return sorted(kept, key=lambda event: event.at)


def last_decisions(events: Iterable[LabelEvent]) -> dict[tuple[str, str], LabelEvent]:
    """(window, annotator) -> the decision of this person that counts, in the order in which they were made.

    Args:
        events: those `in_effect`.
    """
    last: dict[tuple[str, str], LabelEvent] = {}
    for event in events:
        if event.decision not in ("note", "undo"):
            last.pop((event.window_id, event.annotator), None)
            last[event.window_id, event.annotator] = event
    return last


def _state(window_id: str, events: list[LabelEvent]) -> WindowState:
    """Of one window, by the events in effect."""
    last = {annotator: event for (_, annotator), event in last_decisions(events).items()}
    verdicts = {name: event.verdict for name, event in last.items()}
    winner, votes = Counter(verdicts.values()).most_common(1)[0] if verdicts else (None, 0)
    agreed = 2 * votes > len(last)
    if any(event.decision == "blacklist" for event in last.values()):
        winner, agreed = None, True
    holding = [event for event in last.values() if event.verdict == winner] if agreed else []
    decided = holding[-1] if holding else None
    marked = next((event for event in reversed(holding) if event.start is not None), None)
    timed = next((event for event in reversed(holding) if event.first_time), None)
    return WindowState(
        window_id=window_id,
        label=winner if agreed else None,
        start=marked.start if marked else None,
        end=marked.end if marked else None,
        decision=_strictest(holding),
        annotators=verdicts,
        conflict=bool(last) and not agreed,
        removed=decided is not None and decided.verdict is None,
        notes=tuple(event.note for event in events if event.note),
        window_digest=decided.window_digest if decided else "",
        first_time=timed.first_time if timed else "",
        last_time=timed.last_time if timed else "",
        series=next((event.series for event in reversed(holding) if event.series), ""),
    )


def _strictest(holding: list[LabelEvent]) -> Decision | None:
    """The decision of those who agree: the last one, but nobody who skips softens a blacklisting."""
    decisions: list[Decision] = [event.decision for event in holding]
    return "blacklist" if "blacklist" in decisions else decisions[-1] if decisions else None
