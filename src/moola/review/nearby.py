"""Windows that are shown beside one: its near duplicate, the nearest labelled ones, and more like it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from moola.labels.priority import INVALID_POINTER, ISSUE, OUTLIER
from moola.review.queue import QueueFilter, QueueRow
from moola.review.session import ReviewSession

KEYED = 9
"""Labels that have a key: 1 to 9."""
_NEAREST = 5
_REASONS = {
    ISSUE: "models and label disagree",
    INVALID_POINTER: "its marks cannot be right",
    OUTLIER: "looks like no other window",
}
"""What the queue says in a word."""


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
class Neighbour:
    """A window near another one.

    Attributes:
        window_id: its name.
        symbol: name of its series.
        when: time of its first bar, in words.
        picture: of its bars, SVG.
        label: that it has; None where it has none, or where that is hidden.
        hidden: whether this annotator has still to judge it blindly.
        is_duplicate: it looks the same and has another label.
        href: its page; empty where it is not in the queue.
    """

    window_id: str
    symbol: str
    when: str
    picture: str
    label: Choice | None
    hidden: bool
    is_duplicate: bool
    href: str


def choices_of(classes: tuple[str, ...]) -> tuple[Choice, ...]:
    """The labels with their keys."""
    return tuple(Choice(name, i, str(i + 1) if i < KEYED else "") for i, name in enumerate(classes))


def href(window_id: str, wanted: QueueFilter) -> str:
    """Address of a window's page."""
    return "/?" + urlencode({"window": window_id, **wanted.query()})


def neighbours(session: ReviewSession, position: int, wanted: QueueFilter, *, blind: bool) -> tuple[Neighbour, ...]:
    """The near duplicate with another label, where there is one, and the nearest others, five in all.

    Where the window is blind the labels of others stay: they are what a reviewer compares with, and no opinion of it.
    """
    space, row = session.material.space, session.row(position)
    twin = None if blind or _hides_twin(session, row) else row.near_duplicate_of
    duplicate = session.position(twin) if twin else None
    found = [] if duplicate is None else [_neighbour(session, session.row(duplicate).row, wanted, is_duplicate=True)]
    near = space.around(position, _NEAREST + 1) if space else []
    rows = [session.row(place).row for place, _ in near if place != duplicate][: _NEAREST - len(found)]
    return (*found, *(_neighbour(session, number, wanted) for number in rows))


def similar(session: ReviewSession, position: int, wanted: QueueFilter) -> tuple[Neighbour, ...]:
    """More windows like one, of all that the run has; none where nobody embedded them."""
    embedded = session.material.embedded
    near = embedded.like(session.row(position).row) if embedded else []
    return tuple(_neighbour(session, number, wanted) for number, _ in near)


def told_reason(session: ReviewSession, row: QueueRow) -> str:
    """The reason for a priority, without a near duplicate whose label is hidden: one would tell the other's."""
    parts = row.reason.split("; ")
    if _hides_twin(session, row):
        parts = [part for part in parts if not part.endswith(f": {row.near_duplicate_of}")]
    return "; ".join(_REASONS.get(part, part) for part in parts)


def _hides_twin(session: ReviewSession, row: QueueRow) -> bool:
    return row.near_duplicate_of is not None and session.hides(row.near_duplicate_of)


def _neighbour(session: ReviewSession, number: int, wanted: QueueFilter, *, is_duplicate: bool = False) -> Neighbour:
    """A window by its number in the run."""
    windows = session.material.windows
    window_id, when = windows.ids[number], windows.times(number)
    hidden = session.hides(window_id)
    label = None if hidden else session.label(window_id)
    return Neighbour(
        window_id,
        windows.symbol(number),
        when.words(0) if when.moments else window_id,
        windows.thumbnail(number),
        next((one for one in choices_of(session.material.classes) if one.name == label), None),
        hidden,
        is_duplicate,
        "" if session.position(window_id) is None else href(window_id, wanted),
    )
