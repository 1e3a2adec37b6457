"""Everything that the page of one window shows."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

import numpy as np

from moola.drawing.chart import Chart
from moola.labels.folding import WindowState
from moola.review.queue import QueueFilter, QueueRow
from moola.review.session import Places, Progress, ReviewSession, is_split

KEYED = 9
"""Labels that have a key: 1 to 9."""
_SAID = {"accept": "accepted", "relabel": "relabelled", "blacklist": "blacklisted", "skip": "skipped"}


@dataclass(frozen=True)
class Choice:
    """A label that can be chosen.

    Attributes:
        name: the label.
        number: its place among the classes, from 0: its colour, and one less than its key.
        key: that chooses it; empty where there are more labels than keys.
    """

    name: str
    number: int
    key: str


@dataclass(frozen=True)
class Opinion:
    """What one model says, as bars: (choice, probability) of every label."""

    model: str
    parts: tuple[tuple[Choice, float], ...]
    against: bool


@dataclass(frozen=True)
class Neighbour:
    """A labelled window near this one; `is_duplicate` where it looks the same and has another label."""

    window_id: str
    label: Choice | None
    distance: float | None
    picture: str
    when: str
    is_duplicate: bool
    href: str


@dataclass(frozen=True)
class WindowFacts:
    """One window for its page.

    Attributes:
        row: as it stands in the queue.
        position: its place there, from 0.
        n_queue: windows in the queue.
        symbol: name of its series.
        first: time of its first bar, in words.
        last: of its last bar.
        given: its given label; None where it has none, or where the window is blind.
        predicted: what models would give; None as well.
        choices: labels to choose from.
        blind: nobody's opinion is shown.
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
    position: int
    n_queue: int
    symbol: str
    first: str
    last: str
    given: Choice | None
    predicted: Choice | None
    choices: tuple[Choice, ...]
    blind: bool
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


def choices_of(classes: tuple[str, ...]) -> tuple[Choice, ...]:
    """The labels with their keys."""
    return tuple(Choice(name, i, str(i + 1) if i < KEYED else "") for i, name in enumerate(classes))


def window_facts(session: ReviewSession, position: int, wanted: QueueFilter) -> WindowFacts:
    """Gather what the page of a window shows."""
    material, row = session.material, session.row(position)
    windows, state, blind = material.windows, session.state(position), session.is_blind(position)
    choices = {choice.name: choice for choice in choices_of(material.classes)}
    times = windows.times(row.row)
    given = None if blind else choices.get(row.given_label or "")
    return WindowFacts(
        row=row,
        position=position,
        n_queue=len(material.queue),
        symbol=windows.symbol(row.row),
        first=times.words(0),
        last=times.words(windows.index.length - 1),
        given=given,
        predicted=None if blind else choices.get(row.pred_label or ""),
        choices=tuple(choices.values()),
        blind=blind,
        opinions=() if blind else _opinions(session, position, choices, given),
        split=is_split(row),
        neighbours=_neighbours(session, position, wanted, blind=blind),
        space=material.space.name if material.space else "",
        chart=windows.chart(row.row, after=False),
        readings=tuple(windows.readings(row.row)),
        chart_after=windows.chart(row.row, after=True) if windows.has_after else None,
        marks=_marks(state, None if blind else windows.marked(row.row)),
        zone=windows.zone,
        state=state,
        outcome=outcome_words(state, session.journal.annotator),
        links=_links(session, session.places(position, wanted)),
        progress=session.progress(wanted),
        revision=session.journal.revision,
    )


def outcome_words(state: WindowState | None, annotator: str) -> str:
    """What the log says of a window, in words; empty where it says nothing about its label."""
    if state is None or not state.annotators:
        return ""
    if state.conflict:
        said = ", ".join(f"{name}: {label or 'leave it out'}" for name, label in state.annotators.items())
        return f"annotators disagree ({said}): the label stays as given"
    others = [name for name in state.annotators if name != annotator]
    by = "" if not others else f" by {', '.join(state.annotators)}"
    return f"{_SAID[state.decision or 'accept']}{f' as {state.label}' if state.label else ''}{by}"


def href(window_id: str, wanted: QueueFilter) -> str:
    """Address of a window's page."""
    return "/?" + urlencode({"window": window_id, **wanted.query()})


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


def _neighbours(session: ReviewSession, position: int, wanted: QueueFilter, *, blind: bool) -> tuple[Neighbour, ...]:
    """The near duplicate with another label, where there is one, and the five nearest others.

    Where the window is blind the labels of others stay: they are what a reviewer compares with, and no opinion of it.
    """
    space, row = session.material.space, session.row(position)
    duplicate = session.position(row.near_duplicate_of) if row.near_duplicate_of and not blind else None
    found = [] if duplicate is None else [_neighbour(session, duplicate, None, wanted, is_duplicate=True)]
    near = space.around(position, 6) if space else []
    near = [(place, distance) for place, distance in near if place != duplicate][: 5 - len(found)]
    return (*found, *(_neighbour(session, place, distance, wanted) for place, distance in near))


def _neighbour(
    session: ReviewSession, position: int, distance: float | None, wanted: QueueFilter, *, is_duplicate: bool = False
) -> Neighbour:
    row, windows = session.row(position), session.material.windows
    label = session.label(position)
    choice = next((one for one in choices_of(session.material.classes) if one.name == label), None)
    when = windows.times(row.row)
    return Neighbour(
        row.window_id,
        choice,
        distance,
        windows.thumbnail(row.row),
        when.words(0) if when.moments else row.window_id,
        is_duplicate,
        href(row.window_id, wanted),
    )
