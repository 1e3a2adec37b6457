"""How long people take over a decision."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from moola.labels.events import LabelEvent

_PAUSE = datetime.timedelta(minutes=2)
"""A longer time between two decisions is a pause and does not count as work."""


@dataclass(frozen=True)
class DecisionTimes:
    """The time of one person.

    Attributes:
        annotator: who.
        decisions: made while reviewing, also those that were taken back: they took their time too.
        windows: that these are about.
        timed: of these, how many say how long they took.
        median: seconds from when a window was shown to the decision; NaN where nothing was timed.
        low: lower quartile of the same.
        high: upper quartile.
        per_minute: decisions a minute as `pace_of` counts them; None where too few lie close together.
    """

    annotator: str
    decisions: int
    windows: int
    timed: int
    median: float
    low: float
    high: float
    per_minute: float | None


def decision_times(events: Iterable[LabelEvent]) -> list[DecisionTimes]:
    """Of every annotator who reviewed, in alphabetical order; decisions that were imported took no time here."""
    by_person: dict[str, list[LabelEvent]] = {}
    for event in events:
        if event.source == "review" and event.decision not in ("note", "undo"):
            by_person.setdefault(event.annotator, []).append(event)
    return [_times_of(name, by_person[name]) for name in sorted(by_person)]


def _times_of(annotator: str, events: Sequence[LabelEvent]) -> DecisionTimes:
    seconds = [event.seconds for event in events if event.seconds is not None]
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist() if seconds else [float("nan")] * 3
    n_windows = len({event.window_id for event in events})
    moments = sorted(datetime.datetime.fromisoformat(event.at) for event in events)
    return DecisionTimes(annotator, len(events), n_windows, len(seconds), median, low, high, pace_of(moments))


def pace_of(moments: Sequence[datetime.datetime]) -> float | None:
    """Decisions a minute; None where fewer than three lie close together.

    Args:
        moments: of the decisions, ascending.
    """
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    worked = [gap for gap in gaps if datetime.timedelta(0) < gap <= _PAUSE]
    if len(worked) < 2:
        return None
    return 60 * len(worked) / sum(worked, datetime.timedelta()).total_seconds()
