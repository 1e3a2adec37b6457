"""A run whose trackers are told: journal, one delivery a tracker, and the sampler of the machine, around the stages."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moola.config import RunConfig
from moola.pipelines.events import EventLog
from moola.pipelines.hooks import HookEntry
from moola.pipelines.sweep_record import SWEEP_VARIABLE
from moola.pipelines.system_figures import sampling
from moola.pipelines.tracker_feed import TrackerFeed
from moola.tracking.delivery import Delivery, failure_told, journal_only, sync_line
from moola.tracking.journal import JOURNAL, Journal
from moola.tracking.local import LocalTracker
from moola.tracking.tracker import TrackedRun, Tracker, trackers_from_config

_LATE_S = 5.0
"""The longest wait of a run that failed or was interrupted: whoever ended it wants it to end."""
_QUIET_S = 1.0
"""A wait that is longer is announced."""


@contextlib.contextmanager
def tracked(
    config: RunConfig, run_id: str, folder: Path, target: str | None, events: EventLog
) -> Iterator[tuple[HookEntry, ...]]:
    """Tell the trackers of the configuration what happens in the block; nothing of theirs ends it.

    Args:
        config: its section ``tracker`` has been checked.
        run_id: of the run.
        folder: of the run.
        target: stage that the command ends with; None for all.
        events: the run's log.

    Yields:
        Hooks for the pipeline.
    """
    trackers = trackers_from_config(config.tracker)
    trackers.pop("local", None)  # see `sampled`
    run = TrackedRun(
        run_id, config.name, folder, dataclasses.asdict(config), os.environ.get(SWEEP_VARIABLE) or None, target or "run"
    )
    with feeding(trackers, run, events) as feed:
        yield (HookEntry(feed, "trackers", priority=1),) if feed is not None else ()


@contextlib.contextmanager
def feeding(trackers: Mapping[str, Tracker], run: TrackedRun, events: EventLog) -> Iterator[TrackerFeed | None]:
    """Tell trackers what happens in the block; nothing of theirs ends it.

    Args:
        trackers: by name.
        run: what they are told of.
        events: its log, from which they hear most.

    Yields:
        What takes further calls to them; None: there are no trackers, or they cannot be told.
    """
    if not trackers:
        yield None
        return
    deliveries: list[Delivery] = []
    feed = None
    try:
        feed = TrackerFeed(Journal(run.folder), run, events)
        if not journal_only():
            deliveries = [Delivery(name, tracker, run.folder, _quietly(events)) for name, tracker in trackers.items()]
    except Exception as error:  # a full disk, a position that was edited
        _quietly(events)("tracker_failed", **failure_told(", ".join(trackers), run.folder, error))
    if feed is None:
        yield None
        return
    feed.begin()
    for delivery in deliveries:
        delivery.begin()
    status = "finished"
    try:
        yield feed
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        feed.finish(status)
        _end(deliveries, status, run.folder, events)
        feed.close()


def sampled(config: RunConfig, folder: Path, events: EventLog) -> contextlib.AbstractContextManager[None]:
    """Log figures of the machine while the block runs, as often as the tracker ``local`` of the configuration says."""
    local = trackers_from_config(config.tracker).get("local") or LocalTracker()
    return sampling(events, folder, local.system_every_s if isinstance(local, LocalTracker) else None)


def _end(deliveries: list[Delivery], status: str, folder: Path, events: EventLog) -> None:
    """Wait for what is left, a bounded time, and say how the rest is sent."""
    tell, begun = _quietly(events), time.monotonic()
    for delivery in deliveries:
        delivery.no_more()
    try:
        waits = [
            min(delivery.tracker.wait_s, _LATE_S if status != "finished" else float("inf")) for delivery in deliveries
        ]
        quiet = [begun + min(wait_s, _QUIET_S) for wait_s in waits]
        slow = [delivery.name for delivery, until in zip(deliveries, quiet, strict=True) if delivery.wait(until)]
        if slow:
            tell("note", message=f"waiting at most {max(waits):g} s for {', '.join(slow)}")
        left = [delivery.wait(begun + wait_s) for delivery, wait_s in zip(deliveries, waits, strict=True)]
    except KeyboardInterrupt:  # the run is over, and so is the patience
        left = [delivery.left for delivery in deliveries]
    for delivery, calls in zip(deliveries, left, strict=True):
        delivery.abandon()
        if calls:
            tell(
                "tracker_left",
                tracker=delivery.name,
                calls=calls,
                message=f"{calls} calls to {delivery.name} wait in {folder / JOURNAL}; "
                f"send them with: {sync_line(folder, delivery.name)}",
            )


def _quietly(events: EventLog) -> Any:
    """`EventLog.emit` that a full disk does not make raise."""

    def emit(event: str, **fields: Any) -> None:
        with contextlib.suppress(OSError):
            events.emit(event, **fields)

    return emit
