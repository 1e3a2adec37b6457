"""Moving an old tree into the folders of the contract, with nothing lost.

A file moves only to a place where nothing is. Where the same content lies there already the old copy goes; where
other content lies there both stay and the conflict is reported. Every step is written to a journal before it is taken,
and the same command goes on after a crash.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moola.layout import Layout, digest_file, replace_file_atomically, sync_folder

Kind = Literal["move", "drop_copy", "conflict", "review", "remove_empty"]
_EVENT_FILE = "events.out.tfevents"


@dataclass(frozen=True)
class Step:
    """One thing to do, or to look at.

    Attributes:
        kind: ``move`` to a free place; ``drop_copy`` of a file whose content is at the target already; ``conflict``:
            other content is there, nothing is done; ``review``: a person has to decide, nothing is done;
            ``remove_empty``: a folder that holds nothing any more.
        source: what it is about.
        target: where it goes or what it meets, or None.
        why: in words, for conflicts and reviews.
    """

    kind: Kind
    source: Path
    target: Path | None = None
    why: str = ""


def plan_migration(layout: Layout) -> list[Step]:
    """Every step for the old folders that are there; nothing is changed."""
    steps: list[Step] = []
    planned: set[Path] = set()
    claimed: dict[Path, Path] = {}
    for old, new in _moves(layout):
        if old.is_dir() and not old.is_symlink():
            steps += _plan_folder(old, new, planned, claimed)
        elif old.exists() or old.is_symlink():
            steps.append(Step("review", old, None, "a file or link where a folder is expected"))
    runs = layout.artifacts / "runs"
    if runs.is_dir() and not _holds_event_files(runs):
        steps.append(Step("review", runs, None, "it holds no TensorBoard event files"))
    for old in (layout.data / "experiments", layout.data / "interim"):
        if old.is_dir():
            count = sum(1 for _ in _files(old))
            why = f"{count} files: decide where they belong; the folder goes when it is empty"
            steps.append(Step("review", old, None, why) if count else Step("remove_empty", old))
    return steps


def migrate(steps: list[Step], journal: Path) -> None:
    """Take the steps in order.

    Args:
        steps: from `plan_migration`, made just now.
        journal: JSON lines, appended and synced before each step.

    Raises:
        OSError: a file cannot be moved; everything before it has been, and the same command goes on.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a") as log:
        for step in steps:
            if step.kind in ("conflict", "review"):
                continue
            line = {"kind": step.kind, "source": str(step.source), "target": str(step.target) if step.target else None}
            log.write(json.dumps(line) + "\n")
            log.flush()
            os.fsync(log.fileno())
            _take(step)


def _moves(layout: Layout) -> Iterator[tuple[Path, Path]]:
    """Old folder, new folder; the more special ones first."""
    data, artifacts = layout.data, layout.artifacts
    for runs in (data / "artifacts" / "runs", artifacts / "runs"):
        if _holds_event_files(runs):
            yield runs, artifacts / "logs" / "tensorboard"
    if data / "artifacts" != artifacts:
        yield data / "artifacts", artifacts
    yield data / "logs", artifacts / "logs"
    yield data / "pretraining", data / "processed" / "unlabeled"
    yield data / "reports", artifacts / "results"
    yield data / "training_cleaned", data / "processed" / "archived"
    for name in ("bespoke", "bespoke_annotations"):
        yield data / "corrections" / name, data / "corrections" / "candlesticks_annotations"


def _plan_folder(old: Path, new: Path, planned: set[Path], claimed: dict[Path, Path]) -> list[Step]:
    """Steps for all files below `old` that no more special rule has `planned`."""
    files = [path for path in _files(old) if path not in planned]
    planned.update(files)
    return [*(_plan_file(path, new / path.relative_to(old), claimed) for path in files), Step("remove_empty", old)]


def _plan_file(source: Path, target: Path, claimed: dict[Path, Path]) -> Step:
    """The step for one file; `claimed` holds the targets that earlier steps will fill, and from what."""
    if source.is_symlink():
        return Step("review", source, None, f"a link to {os.readlink(source)}")
    blocked = next((folder for folder in target.parents if folder.exists() and not folder.is_dir()), None)
    if blocked is not None:
        return Step("conflict", source, blocked, "a file stands where a folder is needed")
    there = claimed.get(target, target if target.exists() or target.is_symlink() else None)
    if there is None:
        claimed[target] = source
        return Step("move", source, target)
    if there.is_file() and not there.is_symlink() and digest_file(there) == digest_file(source):
        return Step("drop_copy", source, target)
    return Step("conflict", source, there, "the other one has different content")


def _holds_event_files(folder: Path) -> bool:
    return any(path.name.startswith(_EVENT_FILE) for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    """Files and links below a folder, in order."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in sorted([*names, *links]))


def _take(step: Step) -> None:
    if step.kind == "remove_empty":
        _remove_empty(step.source)
        return
    assert step.target is not None
    if step.kind == "drop_copy":
        if digest_file(step.source) == digest_file(step.target):  # looked at again: the plan may be older than the file
            step.source.unlink()
        return
    step.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(step.source, step.target)  # unlike a rename it never overwrites
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        _copy(step.source, step.target)
    sync_folder(step.target.parent)
    step.source.unlink()


def _copy(source: Path, target: Path) -> None:
    """Copy to another file system, and look at the copy before the original may go."""
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    with replace_file_atomically(target) as copy, source.open("rb") as original:
        shutil.copyfileobj(original, copy)
    if digest_file(target) != digest_file(source):
        target.unlink()
        raise OSError(errno.EIO, "the copy differs from its original", str(target))
    shutil.copystat(source, target)


def _remove_empty(folder: Path) -> None:
    """Remove a folder and the folders in it as far as they hold nothing."""
    for place, _, _ in os.walk(folder, topdown=False):
        if not any(Path(place).iterdir()):
            Path(place).rmdir()
