"""The tracker that is always there: the run folder and its log of events are its record."""

from __future__ import annotations

from dataclasses import dataclass

from moola.tracking.tracker import Tracker


@dataclass(frozen=True)
class LocalTracker(Tracker):
    """Keeps nothing beside the run folder, which holds everything that other trackers are told."""
