"""Everything that the page of one window shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moola.drawing.chart import Chart
from moola.labels.events import window_digest
from moola.labels.folding import WindowState
from moola.review.nearby import Choice, Neighbour, choices_of, neighbours, told_reason
from moola.review.queue import QueueFilter, QueueRow
from moola.review.session import Places, Progress, ReviewSession, is_split

_SAID = {"accept": "accepted", "relabel": "relabelled", "blacklist": "blacklisted", "skip": "skipped"}


@dataclass(frozen=True)
class Opinion:
    """What one model says, as bars: (choice, probability) of every label."""

    model: str
    parts: tuple[tuple[Choice, float], ...]
    against: bool


@dataclass(frozen=True)
class WindowFacts:
    """One window for its page.

    Attributes:
        row: as it stands in the queue.
        digest: of its bars.
        rank: its place among those of the filter, from 1, and how many these are; None where that is not told.
        symbol: name of its series.
        first: time of its first bar, in words.
        last: of its last bar.
        given: its given label; None where it has none, or where the window is blind.
        predicted: what models would give; None as well.
        choices: labels to choose from.
        blind: nobody's opinion is shown, of the log only what this annotator said.
        reason: for the priority, as far as it may be told.
        opinions: of each model.
        split: models disagree among themselves.
        neighbours: near duplicates first, then the nearest.
        space: what neighbours are near in.
        chart: the window up to the end of its zone.
        readings: the figures of each bar, in words.
        chart_after: all of it; None where nothing comes after.
        marks: first and last marked bar, as decided, else as given; None where nothing is marked.
        zone: first and past-the-end bar that may be marked.
        state: what the log says.
        outcome: the same in words; empty where nothing is decided.
        links: where keys lead: ``before``, ``after``, ``undecided`` -> window id or None.
        progress: how far one is.
        revision: of the log.
    """

    row: QueueRow
    digest: str
    rank: tuple[int, int] | None
    symbol: str
    first: str
    last: str
    given: Choice | None
    predicted: Choice | None
    choices: tuple[Choice, ...]
    blind: bool
    reason: str
    opinions: tuple[Opinion, ...]
    split: bool
    neighbours: tuple[Neighbour, ...]
    space: str
    chart: Chart
    readings: tuple[str, ...]
    chart_after: Chart | None
    marks: tuple[int, int] | None
    zone: tuple[int, int]
    state: WindowState | None
    outcome: str
    links: dict[str, str | None]
    progress: Progress
    revision: int


def window_facts(session: ReviewSession, position: int, wanted: QueueFilter) -> WindowFacts:
    """Gather what the page of a window shows."""
    material, row = session.material, session.row(position)
    windows, blind = material.windows, session.is_blind(row.window_id)
    state = session.journal.own_state(row.window_id) if blind else session.journal.state(row.window_id)
    choices = {choice.name: choice for choice in choices_of(material.classes)}
    times = windows.times(row.row)
    given = None if blind else choices.get(row.given_label or "")
    return WindowFacts(
        row=row,
        digest=window_digest(windows.bars(row.row)),
        rank=session.rank(position, wanted),
        symbol=windows.symbol(row.row),
        first=times.words(0),
        last=times.words(windows.index.length - 1),
        given=given,
        predicted=None if blind else choices.get(row.pred_label or ""),
        choices=tuple(choices.values()),
        blind=blind,
        reason="" if blind else told_reason(session, row),
        opinions=() if blind else _opinions(session, position, choices, given),
        split=is_split(row),
        neighbours=neighbours(session, position, wanted, blind=blind),
        space=material.space.name if material.space else "",
        chart=windows.chart(row.row, after=False),
        readings=tuple(windows.readings(row.row)),
        chart_after=windows.chart(row.row, after=True) if windows.has_after else None,
        marks=_marks(state, None if blind else windows.marked(row.row)),
        zone=windows.zone,
        state=state,
        outcome=outcome_words(state, session.journal.annotator, plain=blind or row.given_label is None),
        links=_links(session, session.places(position, wanted)),
        progress=session.progress(wanted),
        revision=session.journal.revision,
    )


def outcome_words(state: WindowState | None, annotator: str, *, plain: bool = False) -> str:
    """What the log says of a window, in words; empty where it says nothing about its label.

    Args:
        state: of the window.
        annotator: who reads it.
        plain: not to tell whether the label was the given one: there was none, or it was not shown.
    """
    if state is None or not state.annotators:
        return ""
    if state.conflict:
        said = ", ".join(f"{name}: {label or 'leave it out'}" for name, label in state.annotators.items())
        return f"annotators disagree ({said}): the label stays as given"
    others = [name for name in state.annotators if name != annotator]
    by = "" if not others else f" by {', '.join(state.annotators)}"
    said = "labelled" if plain and state.label else _SAID[state.decision or "accept"]
    return f"{said}{f' as {state.label}' if state.label else ''}{by}"


def _marks(state: WindowState | None, given: tuple[int, int] | None) -> tuple[int, int] | None:
    if state is not None and state.start is not None and state.end is not None:
        return state.start, state.end
    return given


def _links(session: ReviewSession, places: Places) -> dict[str, str | None]:
    found = {"before": places.before, "after": places.after, "undecided": places.undecided}
    return {name: None if place is None else session.row(place).window_id for name, place in found.items()}


def _opinions(
    session: ReviewSession, position: int, choices: dict[str, Choice], given: Choice | None
) -> tuple[Opinion, ...]:
    opinions = session.material.opinions
    ordered = [choices[name] for name in opinions.classes]
    return tuple(
        Opinion(
            model,
            tuple(zip(ordered, map(float, said), strict=True)),
            given is not None and ordered[int(np.argmax(said))] != given,
        )
        for model, said in opinions.at(position)
    )
