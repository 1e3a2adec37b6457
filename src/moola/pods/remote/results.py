"""What a run wrote: told with digests, and given away byte by byte."""

from __future__ import annotations

import contextlib
import os
import stat

from moola.pods.remote.files import BLOCK, Refusal, digest_file, glob_rule, inside, project_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def list_files(root: str, run: str, patterns: list[str], most_files: int) -> dict[str, Any]:
    """What fits the patterns below a run's project: path, size and SHA-256 of each file, and what is no file.

    Links are named, never followed. Of a file that grows meanwhile, what it was before is told. Listing stops after
    `most_files`, so that nobody has to read an endless answer.
    """
    project = project_folder(root, run)
    files, others = [], []
    for path, facts in _walk(project, patterns):
        if len(files) + len(others) > most_files:
            break
        if stat.S_ISREG(facts.st_mode):
            with contextlib.suppress(FileNotFoundError):  # replaced or deleted by the run just now
                digest = digest_file(os.path.join(project, path), facts.st_size)
                files.append({"path": path, "size": facts.st_size, "sha256": digest})
        else:
            others.append({"path": path, "kind": "link" if stat.S_ISLNK(facts.st_mode) else "special"})
    return {"files": files, "others": others}


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


def read_files(root: str, run: str, pieces: list[list[Any]]) -> Iterator[bytes]:
    """The bytes of files of a run's project, one after the other: [path, first byte, byte after the last] each.

    A file that is replaced while it is read gives its old bytes, for it stays open; the client checks digests.
    """
    project = project_folder(root, run)
    for path, start, end in pieces:
        descriptor = os.open(inside(project, path), os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb", buffering=0) as handle:
            handle.seek(start)
            left = end - start
            while left:
                block = handle.read(min(BLOCK, left))
                if not block:
                    raise Refusal("changed", "a file shrank while it was read", path)
                left -= len(block)
                yield block
