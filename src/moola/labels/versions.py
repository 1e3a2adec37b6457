"""Exported labels: numbered folders that are never changed, each with what it was made from."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

import moola
from moola.errors import DataError, StorageError, did_you_mean
from moola.labels import POINTER_COLUMNS
from moola.labels.blacklist import write_blacklist
from moola.labels.corrections import EVENTS
from moola.labels.events import LabelEvent, LabelLog, now
from moola.labels.folding import WindowState, fold, in_effect, last_decisions
from moola.layout import changed_files, digest_file, read_json, replace_atomically, sync_folder, write_json

ROOM = "processed/labeled"
"""Where versions lie in the data folder."""
TABLE, BLACKLIST, MANIFEST = "labels.parquet", "window_blacklist.csv", "manifest.json"
NO_LABEL = "(none)"
_COLUMNS = {
    "window_id": pl.String,
    "label": pl.String,
    **dict.fromkeys(POINTER_COLUMNS, pl.Int64),
    "given_label": pl.String,
    "span": pl.String,
    "annotators": pl.String,
}


@dataclass(frozen=True)
class LabelVersion:
    """One exported version.

    Attributes:
        folder: ``v001``, with ``labels.parquet``, the log it was made from (``events.jsonl``),
            ``window_blacklist.csv`` and ``manifest.json``.
        manifest: what it was made from, counts, and the SHA-256 of each file.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``v001``."""
        return self.folder.name

    def table(self) -> pl.DataFrame:
        """One row a labelled window.

        ``window_id``, ``label``, pointers within the window, ``given_label`` (before the review; null: it had none),
        ``span`` (``train``, ``test``, ``excluded``; null: not known), ``annotators``.
        """
        return pl.read_parquet(self.folder / TABLE)

    def reasons(self) -> dict[str, str]:
        """Why windows have no label in it (`why_unlabelled`)."""
        overlapped = (self.manifest.get("corrections") or {}).get("overlapped", {})
        return why_unlabelled(fold(LabelLog(self.folder / EVENTS).read().events), overlapped)


def table_of_states(states: Mapping[str, WindowState], labels: pl.DataFrame) -> pl.DataFrame:
    """The table of a version from labels that are corrected already.

    Args:
        states: what was decided.
        labels: ``window_id``, ``label``, and where they are known `POINTER_COLUMNS`, ``given_label``, ``span``.
    """
    people = [", ".join(states[name].annotators) if name in states else None for name in labels["window_id"]]
    absent = [pl.lit(None, kind).alias(name) for name, kind in _COLUMNS.items() if name not in labels.columns]
    frame = labels.with_columns(absent).with_columns(pl.Series("annotators", people, dtype=pl.String))
    return frame.select(pl.col(name).cast(kind) for name, kind in _COLUMNS.items())


def write_version(
    room: Path,
    table: pl.DataFrame,
    events: Sequence[LabelEvent],
    made_from: Mapping[str, Any],
    windows: pl.DataFrame | None = None,
) -> LabelVersion:
    """Write the next version, whole or not at all; no earlier one is touched.

    Args:
        room: the folder of all versions.
        table: as `table_of_states` makes it.
        events: the whole log.
        made_from: JSON values for the manifest.
        windows: of blacklisted ones, as `moola.labels.blacklist.write_blacklist` wants them.

    Raises:
        StorageError: nothing can be made there.
    """
    building = room / f".{uuid.uuid4().hex}.building"
    try:
        building.mkdir(parents=True)
    except FileNotFoundError as error:  # a file system that takes no new folders
        why = error.strerror or str(error)
        raise StorageError(
            f"no version can be made in {room}", why, "choose another place with --data FOLDER"
        ) from error
    try:
        with replace_atomically(building / TABLE) as handle:
            table.write_parquet(handle)
        LabelLog(building / EVENTS).append(*events)
        if not events:
            (building / EVENTS).touch()
        write_blacklist(building / BLACKLIST, blacklistings(events), windows)
        files = {name: digest_file(building / name) for name in (TABLE, EVENTS, BLACKLIST)}
        counts = dict(sorted(Counter(table["label"]).items()))
        head = {"created": now(), "moola": moola.__version__, "windows": len(table), "labels": counts}
        log = {"events": len(events), "sha256": log_digest(events)}
        write_json(building / MANIFEST, {**head, **made_from, "log": log, "files": files})
        folder = _publish(building, room)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return LabelVersion(folder, read_json(folder / MANIFEST))


def _publish(building: Path, room: Path) -> Path:
    """Give the folder the next number; another process may take one at the same time."""
    number = max((int(name[1:]) for name in version_names(room)), default=0)
    while True:
        number += 1
        folder = room / f"v{number:03d}"
        try:
            os.rename(building, folder)  # refused where a folder with files has the name by now
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            continue
        sync_folder(room)
        return folder


def version_names(room: Path) -> list[str]:
    """``v001``, ``v002``, ..., those that are there."""
    found = (path.name for path in room.glob("v*") if (path / MANIFEST).is_file() and path.name[1:].isdigit())
    return sorted(found, key=lambda name: int(name[1:]))


def blacklistings(events: Sequence[LabelEvent]) -> list[LabelEvent]:
    """For each window that is blacklisted the event that did it last."""
    counting = last_decisions(in_effect(events)).values()
    return list({event.window_id: event for event in counting if event.decision == "blacklist"}.values())


def log_digest(events: Sequence[LabelEvent]) -> str:
    """SHA-256 (hex) of the names of all events: a log that was copied or merged in another order is the same log."""
    return hashlib.sha256("\n".join(sorted(event.event_id for event in events)).encode()).hexdigest()


def open_version(name: str, room: Path) -> LabelVersion:
    """A version by its name (``v002``, ``2``) or its folder, whole as it was written.

    Raises:
        DataError: there is none of this name; near names are told.
        StorageError: files are missing or were changed.
    """
    known = version_names(room)
    places = [room / name, *([room / f"v{int(name):03d}"] if name.isdigit() else []), Path(name)]
    folder = next((place for place in places if (place / MANIFEST).is_file()), None)
    if folder is None:
        hint = did_you_mean(name, known) if known else "none was exported yet"
        raise DataError(
            f"there is no version '{name}' of the labels", f"looked in {room}; {hint}", "moola labels export"
        )
    manifest = read_json(folder / MANIFEST)
    wrong = changed_files(folder, manifest.get("files", {TABLE: ""}))
    if wrong:
        lines = "\n".join(f"- {file} {what}" for file, what in wrong.items())
        raise StorageError(f"{folder} is not what was exported", lines, "export the labels again: moola labels export")
    return LabelVersion(folder, manifest)


def diff_labels(
    before: Mapping[str, str],
    after: Mapping[str, str],
    reasons: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> pl.DataFrame:
    """Windows whose label differs: ``window_id``, ``before``, ``after``.

    Args:
        before: window -> label.
        after: the same, later.
        reasons: of either side, window -> why it has no label there (`why_unlabelled`); `NO_LABEL` of others.
    """
    names = dict.fromkeys((*before, *after))
    sides = list(zip((before, after), reasons, strict=True))
    rows = ((name, *(labels.get(name) or why.get(name, NO_LABEL) for labels, why in sides)) for name in names)
    kinds = {"window_id": pl.String, "before": pl.String, "after": pl.String}
    return pl.DataFrame([row for row in rows if row[1] != row[2]], schema=kinds, orient="row")


def why_unlabelled(states: Mapping[str, WindowState], overlapped: Mapping[str, str]) -> dict[str, str]:
    """Window -> why it has no label, in words: ``(skip)``, ``(blacklist)`` or which blacklisted window it overlaps.

    Args:
        states: what was decided.
        overlapped: of ``corrections.json`` (`moola.labels.corrections.CorrectionCounts`).
    """
    told = {name: f"(left out: overlaps blacklisted {other})" for name, other in overlapped.items()}
    return told | {name: f"({state.decision})" for name, state in states.items() if state.removed}


def said_in(states: Mapping[str, WindowState]) -> dict[str, str]:
    """Window -> what a log says of it: its label, or that it is removed or in conflict; notes alone say nothing."""
    told = ((name, "(conflict)" if one.conflict else one.label or f"({one.decision})") for name, one in states.items())
    return {name: text for name, text in told if text != "(None)"}
