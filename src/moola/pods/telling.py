"""Trackers of a run on a pod: the pod keeps what they are to be told, and the client tells them when it is back.

So no key of theirs travels, and a pod needs none of their packages. Whoever has the pod writes every byte of that
journal: it is told as far as it can do no harm here, and what becomes of it changes nothing of how the run ended.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from moola.errors import MoolaError
from moola.layout import digest_file
from moola.pipelines.rented import journal_rent
from moola.pods.bundle import Bundle
from moola.tracking.delivery import Delivery, sync_line
from moola.tracking.journal import JOURNAL, Call, read_calls
from moola.tracking.tracker import Tracker, check_packages, trackers_from_config

_MOST_BYTES = 1024**3
"""Of a journal; more is none that a run wrote."""


def tell_trackers(bundle: Bundle, folder: Path, artifacts: Path, tell: Callable[[str], None]) -> None:
    """Tell the trackers that the run was sent with what its journal holds, and what its pods cost.

    Nothing is raised: whatever cannot be told is said, with the command that tells it later.

    Args:
        bundle: what was sent; its own configuration counts, not the one that came back.
        folder: of the run, as it was published.
        artifacts: folder outside which no file is sent anywhere.
        tell: is told what happens.
    """
    trackers: Mapping[str, Tracker] = {}
    try:
        trackers = _trackers(bundle)
        if not trackers or not (folder / JOURNAL).is_file():
            return
        if problems := _problems(folder, artifacts):
            tell(f"{JOURNAL} of the pod is not sent to {', '.join(trackers)}: {'; '.join(problems)}")
            return
        journal_rent(folder)
        _deliver(trackers, folder, tell)
    except KeyboardInterrupt:
        tell(f"interrupted; the run itself is done{_later(folder, trackers)}")
    except Exception as error:  # a tracker's failure is none of the run's
        said = error.spoken() if isinstance(error, MoolaError) else f"{type(error).__name__}: {error}"
        tell(f"trackers were not told: {said}{_later(folder, trackers)}")


def _trackers(bundle: Bundle) -> dict[str, Tracker]:
    import yaml

    section = (yaml.safe_load(bundle.facts["config"]) or {}).get("tracker") or {}
    return {name: one for name, one in trackers_from_config(section).items() if name != "local"}


def _later(folder: Path, trackers: Iterable[str]) -> str:
    return "".join(f"\nlater: {sync_line(folder, name)}" for name in trackers)


def _deliver(trackers: Mapping[str, Tracker], folder: Path, tell: Callable[[str], None]) -> None:
    """Tell all of them at the same time, each for as long as it may take."""

    def event(name: str, **fields: Any) -> None:
        words = (fields.get(key) for key in ("message", "what", "why", "way_out"))
        tell(": ".join(str(word) for word in words if word))

    check_packages(trackers)
    deliveries = [Delivery(name, tracker, folder, event) for name, tracker in trackers.items()]
    for delivery in deliveries:
        delivery.begin()
        delivery.no_more()
    began = time.monotonic()
    try:
        for delivery in deliveries:
            if left := delivery.wait(began + delivery.tracker.wait_s):
                tell(f"{left} calls to {delivery.name} wait in {folder / JOURNAL}{_later(folder, [delivery.name])}")
            else:
                tell(f"{delivery.name} was told of {folder.name}")
    finally:
        for delivery in deliveries:
            delivery.abandon()


def _problems(folder: Path, artifacts: Path) -> list[str]:
    """Why a journal cannot be believed; empty where it can."""
    if (size := (folder / JOURNAL).stat().st_size) > _MOST_BYTES:
        return [f"it has {size:,} bytes"]
    calls = list(read_calls(folder))
    if not calls or calls[0].method != "start":
        return ["it does not begin with a start"]
    found = dict.fromkeys(problem for call in calls if (problem := _problem(call, folder, artifacts.resolve())))
    return list(found)[:3]


def _problem(call: Call, folder: Path, artifacts: Path) -> str:
    """What is wrong with a call; empty: nothing."""
    if not (isinstance(call.number, int) and isinstance(call.arguments, dict) and isinstance(call.files, dict)):
        return f"a call of {call.method} is none"
    known = _names_of(call.method)
    if not set(call.arguments) <= known:
        return f"a call of {call.method} has other arguments"
    for name, digest in call.files.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(artifacts):
            return f"{name[:100]!r} lies outside {artifacts}"
        if path.is_file() and digest_file(path) != digest:
            return f"{name[:100]!r} is not the file that it speaks of"
    named = {call.arguments.get(key) for key in ("svg", "html")} - {None} | set(call.arguments.get("files") or ())
    return "" if named <= set(call.files) else f"a call of {call.method} names files without their digests"


def _names_of(method: str) -> set[str]:
    """Names that the arguments of a call may have."""
    from dataclasses import fields

    from moola.tracking.tracker import TrackedArtifact, TrackedRun

    if method == "start":
        return {item.name for item in fields(TrackedRun)} - {"folder"}
    if method == "log_artifact":
        return {item.name for item in fields(TrackedArtifact)}
    return set(inspect.signature(getattr(Tracker, method)).parameters) - {"self"}
