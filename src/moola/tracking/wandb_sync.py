"""Sending W&B what a run told while there was no key, no network, or while it ran on a pod: a replay of its journal.

Not W&B's own sync of an offline folder, for three reasons. A pod has no such folder, while every run has its journal. A
folder is of one attempt, while the journal is of the run, and its numbers tell W&B what is there already. And offline
the client refuses the inputs of an artifact, so that its folder holds no lineage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.config import structure
from moola.errors import DataError, StorageError
from moola.layout import lock_at_once, naming, spoken_folder
from moola.tracking.delivery import FOLDER, TrackerError
from moola.tracking.journal import JOURNAL, Call, read_calls, told_folders
from moola.tracking.tracker import RefusedError, TrackedRun, check_packages
from moola.tracking.wandb_account import find_account
from moola.tracking.wandb_session import NAME, read_record
from moola.tracking.wandb_tracker import WandbTracker

_OWN_KEYS = ("project", "entity", "base_url")
"""Of the configuration, that a command may give anew."""


@dataclass(frozen=True)
class Sent:
    """What became of a run.

    Attributes:
        calls: that W&B was told now; 0: it had all of them.
        place: of the run there, as a web address; empty where it was not asked.
        left_out: calls that W&B does not take, and why.
    """

    calls: int
    place: str = ""
    left_out: Sequence[str] = ()


def runs_to_send(results: Path) -> list[Path]:
    """Folders of runs and searches that were to tell W&B, the oldest first.

    Args:
        results: folder of all run folders.
    """
    return sorted((folder for folder in told_folders(results) if _section(folder) is not None), key=_began)


def send(folder: Path, given: Mapping[str, Any] | None = None, *, is_own: bool = True) -> Sent:
    """Tell W&B what it does not have of a run.

    Args:
        folder: of the run.
        given: ``project``, ``entity`` or ``base_url`` in place of the run's own.
        is_own: the run was made on this machine; one from a pod does not say which server gets the key.

    Raises:
        StorageError: the run has no journal, or is under way.
        DataError: the run is not `is_own`, and names a server that neither `given` nor the environment does.
        MissingPackageError: the client is not installed.
        TrackerError: there is no key, the server is out of reach, or it refuses. What it took stays taken.
    """
    calls = list(read_calls(folder))
    starts = [call for call in calls if call.method == "start"]
    if not starts:
        raise StorageError(
            f"{spoken_folder(folder)} told no tracker anything",
            f"{folder / JOURNAL} is missing or empty",
            "run it again with tracker=wandb: what is finished is reused",
        )
    tracker = _tracker(folder, given or {})
    if not is_own:
        _check_server(folder, tracker, given or {})
    check_packages({NAME: tracker})
    _check_key(tracker)
    if _is_sent(folder, tracker, calls[-1].number):
        return Sent(0)
    with _alone(folder):
        try:
            return _tell(tracker, starts[-1].run(folder), calls)
        except Exception as error:
            raise _refusal(error, tracker) from error
        finally:
            tracker.abandon()


def _tell(tracker: WandbTracker, run: TrackedRun, calls: Sequence[Call]) -> Sent:
    """Tell everything; the tracker leaves out what W&B has."""
    left_out: list[str] = []
    tracker.start(run)
    place = tracker.place
    for call in calls:
        if call.method in ("start", "finish"):
            continue
        subject = f"{call.method} {call.arguments.get('name', '')}".rstrip()
        if missing := call.missing(run.folder):
            left_out.append(f"{subject}: {', '.join(map(str, missing))} is not there any more")
            continue
        try:
            call.tell(tracker, run.folder)
        except RefusedError as error:
            left_out.append(f"{subject}: {error}")
    tracker.number = calls[-1].number
    is_done = calls[-1].method == "finish"
    tracker.finish(calls[-1].arguments["status"] if is_done else "interrupted")
    return Sent(len(calls), place, tuple(left_out))


def _tracker(folder: Path, given: Mapping[str, Any]) -> WandbTracker:
    """The run's own, online."""
    section = _section(folder) or {}
    record = read_record(folder)
    known = {key: record[key] for key in ("project", "entity") if record.get(key) and not section.get(key)}
    keys = {**known, **section, **{key: given[key] for key in _OWN_KEYS if given.get(key)}, "mode": "online"}
    return structure(WandbTracker, keys, f"tracker.{NAME}")


def _section(folder: Path) -> dict[str, Any] | None:
    """Keys of the tracker in the configuration that the run told; None where it was not to tell W&B."""
    start = next((call for call in read_calls(folder) if call.method == "start"), None)
    section = start.arguments["config"].get("tracker", {}) if start is not None else {}
    return dict(section[NAME] or {}) if NAME in section else None


def _began(folder: Path) -> float:
    return next((call.time_s for call in read_calls(folder)), 0.0)


def _is_sent(folder: Path, tracker: WandbTracker, last: int) -> bool:
    """Whether the last call is known to be where the tracker would tell it."""
    record = read_record(folder)
    wanted = {"url": tracker.account.url, "project": tracker.target_project}
    is_there = all(record.get(name) == value for name, value in wanted.items())
    return is_there and tracker.target_entity in (None, record.get("entity")) and record.get("sent", 0) >= last


def _check_server(folder: Path, tracker: WandbTracker, given: Mapping[str, Any]) -> None:
    """Refuse a server that the journal of a pod alone names: it would get the key."""
    if tracker.account.url != find_account("online", given.get("base_url")).url:
        raise DataError(
            f"{folder.name} came from a pod, and whoever has a pod writes what comes back",
            f"so its word is not taken for where your key is sent: {tracker.account.url}",
            f"say it yourself: moola wandb sync {folder.name} --base-url {tracker.account.url}",
        )


def _check_key(tracker: WandbTracker) -> None:
    account = tracker.account
    if account.key is None:
        raise TrackerError(
            f"there is no key for {account.url}",
            "neither WANDB_API_KEY nor ~/.netrc has one",
            "set WANDB_API_KEY, or run `wandb login`; nothing was sent, and nothing is lost",
        )


def _refusal(error: Exception, tracker: WandbTracker) -> TrackerError:
    """What, why and the way out of an outage."""
    said = " ".join(str(error).split()) or type(error).__name__
    where = "/".join(part for part in (tracker.target_entity, tracker.target_project) if part)
    if any(word in said.casefold() for word in ("permission", "403", "denied", "not authorized")):
        way_out = "name a project that you may write to: --entity NAME --project NAME"
        return TrackerError(f"the project {where} cannot be written at {tracker.account.url}", said, way_out)
    if "401" in said or "api key" in said.casefold() or "unauthorized" in said.casefold():
        way_out = "set another WANDB_API_KEY, or run `wandb login --relogin`"
        return TrackerError(f"{tracker.account.url} does not take the key", said, way_out)
    way_out = "try again: W&B keeps what it has, and the rest stays in the run folder"
    return TrackerError(f"{tracker.account.url} cannot be told", said, way_out)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else at the run, and nobody else who tells W&B of it.

    Raises:
        StorageError: somebody is.
    """
    locks = [folder / ".lock", folder / FOLDER / f"{NAME}.lock"]
    with contextlib.ExitStack() as stack:
        for path in locks:
            path.parent.mkdir(exist_ok=True)
            with naming(path):
                handle = stack.enter_context(path.open("a"))
            if not lock_at_once(handle):
                way_out = "wait for it: with a key it tells W&B itself, and without one this command does then"
                raise StorageError(f"{spoken_folder(folder)} is under way in another process", "", way_out)
        yield
