"""What trackers are told of a search: the figure of every trial as it ends, and what came of all of them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from moola.evaluation.estimates import Estimate
from moola.layout import digest_file
from moola.pipelines.events import EventLog
from moola.pipelines.tracked import feeding
from moola.pipelines.tracker_feed import TrackerFeed
from moola.sweeps.search.locks import locked
from moola.sweeps.search.running import Search, SearchOutcome
from moola.sweeps.search.storage import spoken_place
from moola.tracking.tracker import Figure, TrackedArtifact, TrackedRun, trackers_from_config

_LOCK = ".tracked.lock"
_DIGITS = 12
"""Of the study's id, in that of the run."""


@contextlib.contextmanager
def tracked_search(search: Search, events: EventLog) -> Iterator[TrackerFeed | None]:
    """Tell the trackers of the configuration of a search in the block; None where there are none.

    Of several processes that are at one search the first one tells them; what the others find comes at the end.

    Args:
        search: is about to begin.
        events: its log.
    """
    config, settings = search.base.config({}), search.settings
    trackers = trackers_from_config(config.tracker)
    trackers.pop("local", None)
    if not trackers:
        yield None
        return
    asked = dataclasses.asdict(settings) | {"storage": spoken_place(search.place)}
    del asked["dimensions"]  # the same as its space
    # Others may search under the same name and tell the same server.
    run_id = f"{settings.name}-{search.study_id[:_DIGITS]}"
    run = TrackedRun(
        run_id, settings.name, search.folder, {**dataclasses.asdict(config), "search": asked}, job="search"
    )
    with locked(search.folder / _LOCK, wait=False) as is_first:
        if is_first:
            with feeding(trackers, run, events) as feed:
                yield feed
        else:
            events.emit("note", message=f"another process is at this search and tells {', '.join(trackers)} of it")
            yield None


def tell_outcome(feed: TrackerFeed, search: Search, outcome: SearchOutcome, experiment: Path) -> None:
    """Tell the table of trials, the pictures, what the winner is worth, and its file.

    Args:
        feed: of the search.
        search: it.
        outcome: what came of it; its results are written.
        experiment: file of the winner, in the folder of the search.
    """
    found, folder = outcome.found, search.folder
    keys = list(outcome.settings.dimensions)
    rows = [
        [one.number, one.status, one.value, one.seconds, *(one.params.get(key) for key in keys)]
        for one in found.records
    ]
    feed.tell(
        "log_table", name="trials", columns=["trial", "status", outcome.settings.metric, "seconds", *keys], rows=rows
    )
    for svg in sorted((folder / "pictures").glob("*.svg")):
        caption = svg.stem.replace("_", " ")
        feed.tell("log_picture", name=f"pictures/{svg.stem}", svg=svg, caption=caption)
    feed.tell("log_page", name="search", html=folder / "search.html")
    feed.tell("log_summary", figures=_figures(outcome))
    artifact = TrackedArtifact(
        name=f"experiment-{found.name}",
        kind="experiment",
        digest=digest_file(experiment),
        files=(experiment, folder / "search.json"),
        facts={"trial": found.best.number, "command": outcome.settings.name},
    )
    feed.tell("log_artifact", artifact=artifact)


def _figures(outcome: SearchOutcome) -> dict[str, Figure]:
    evidence, found = outcome.evidence, outcome.found
    figures: dict[str, Figure] = {"search/trials": len(found.records), "search/best_trial": found.best.number}
    for where, pair in (("inner", evidence.inner), ("outer", evidence.outer)):
        if pair is not None:
            for name in ("winner", "default", "gain"):
                figures |= _spread(f"search/{where}/{name}", getattr(pair, name))
    return figures


def _spread(name: str, found: Estimate) -> dict[str, Figure]:
    return {name: found.value, f"{name}/low": found.low, f"{name}/high": found.high}
