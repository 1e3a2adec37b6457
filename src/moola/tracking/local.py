"""The tracker that is always there: the run folder and its log of events are its record."""

from __future__ import annotations

from dataclasses import dataclass

from moola.config import reject
from moola.tracking.tracker import Tracker


@dataclass(frozen=True)
class LocalTracker(Tracker):
    """Keeps nothing beside the run folder, which holds everything that other trackers are told.

    Attributes:
        system_every_s: so often the log is told what the run takes of its machine; None: never.
    """

    system_every_s: float | None = 10.0

    def __post_init__(self) -> None:
        reject(
            (self.system_every_s is not None and self.system_every_s <= 0, "system_every_s: must be above 0, or null")
        )
