"""What a run wrote: told with digests, and given away byte by byte."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time

from moola.pods.remote.files import BLOCK, Refusal, digest_file, glob_rule, inside, make_folder, project_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


_HELD = "held"
_HELD_S = 86400.0
"""Seconds after which nobody comes back for what was held."""


def list_files(root: str, run: str, patterns: list[str], most_files: int, hold: str) -> dict[str, Any]:
    """What fits the patterns below a run's project: path, size and SHA-256 of each file, and what is no file.

    Links are named, never followed. What is told is held for `read_files` by a second name, so that a large file which
    the run replaces more often than it travels comes all the same. Of a file that grows meanwhile, what it was before
    is told. Listing stops after `most_files`, so that nobody has to read an endless answer.

    Args:
        root: of the pod.
        run: id.
        patterns: as of `glob_rule`.
        most_files: at which it stops.
        hold: a name of the client's own; what was held by it before is let go.
    """
    project, held = project_folder(root, run), _held_folder(root, run, hold)
    release_files(root, run, hold)
    files, others = [], []
    for path, facts in _walk(project, patterns):
        if len(files) + len(others) > most_files:
            break
        if stat.S_ISREG(facts.st_mode):
            with contextlib.suppress(FileNotFoundError):  # replaced or deleted by the run just now
                full = _hold(os.path.join(project, path), inside(held, path))
                size = os.lstat(full).st_size
                files.append({"path": path, "size": size, "sha256": digest_file(full, size)})
        else:
            others.append({"path": path, "kind": "link" if stat.S_ISLNK(facts.st_mode) else "special"})
    return {"files": files, "others": others}


def release_files(root: str, run: str, hold: str) -> dict[str, Any]:
    """Let go what was held by a name, and by names that nobody comes back for."""
    holds = os.path.join(os.path.dirname(project_folder(root, run)), _HELD)
    shutil.rmtree(_held_folder(root, run, hold), ignore_errors=True)
    for name in os.listdir(holds) if os.path.isdir(holds) else []:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(os.path.join(holds, name)).st_mtime < time.time() - _HELD_S:
                shutil.rmtree(os.path.join(holds, name), ignore_errors=True)
    return {}


def _held_folder(root: str, run: str, hold: str) -> str:
    return inside(os.path.join(os.path.dirname(project_folder(root, run)), _HELD), hold)


def _hold(path: str, held: str) -> str:
    """Another name for a file; its own where the disk gives none."""
    make_folder(os.path.dirname(held))
    try:
        os.link(path, held, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        return path
    return held


def _walk(project: str, patterns: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    fits = glob_rule(patterns)
    for folder, folders, names in os.walk(project):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted(names + links):
            full = os.path.join(folder, name)
            path = os.path.relpath(full, project)
            if fits(path):
                with contextlib.suppress(FileNotFoundError):
                    yield path, os.lstat(full)


def read_files(root: str, run: str, pieces: list[list[Any]], hold: str) -> Iterator[bytes]:
    """The bytes of files of a run's project, one after the other: [path, first byte, byte after the last] each.

    They are those that `list_files` held by this name, where it could; the client checks digests.
    """
    project, held = project_folder(root, run), _held_folder(root, run, hold)
    for path, start, end in pieces:
        full = inside(held, path)
        if not os.path.lexists(full):
            full = inside(project, path)
        descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb", buffering=0) as handle:
            handle.seek(start)
            left = end - start
            while left:
                block = handle.read(min(BLOCK, left))
                if not block:
                    raise Refusal("changed", "a file shrank while it was read", path)
                left -= len(block)
                yield block
