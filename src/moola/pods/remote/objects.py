"""Objects on a pod, and the tree of a run that is made of them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import time

from moola.pods.remote.files import (
    BLOCK,
    Refusal,
    blocks,
    digest_file,
    free_bytes,
    inside,
    make_folder,
    new_part,
    project_folder,
    read_json,
    remove,
    replacing,
    write_all,
    write_json,
)
from moola.pods.remote.rows import count_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

STRIP = 1024 * 1024
"""Bytes of a half-sent object that are compared at a time."""
PARTIAL_DAYS = 7
"""After which nobody waits for the rest of a half-sent object."""


def _object(root: str, sha: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", sha):
        raise Refusal("refused", "this is no SHA-256", repr(sha))
    return os.path.join(root, "objects", sha[:2], sha)


def _half_sent(root: str) -> dict[str, str]:
    """SHA-256 -> the longest file that holds a beginning of that object; forgotten ones are deleted."""
    found: dict[str, tuple[int, str]] = {}
    folder = os.path.join(root, "objects", "partial")
    for entry in os.scandir(folder) if os.path.isdir(folder) else ():
        with contextlib.suppress(FileNotFoundError):  # another client's, whole by now
            facts = entry.stat()
            if time.time() - facts.st_mtime > PARTIAL_DAYS * 86400:
                _remove_left(entry.path)
            else:
                sha = entry.name[:64]
                found[sha] = max(found.get(sha, (0, "")), (facts.st_size, entry.path))
    return {sha: path for sha, (_, path) in found.items()}


def _remove_left(path: str) -> None:
    """Delete a half-sent object, unless a process is writing it: who receives one holds its lock."""
    with contextlib.suppress(FileNotFoundError), open(path, "r+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            pass  # a file system without locks: whose file this was sends it once more
        remove(path)


def receive(
    root: str, objects: list[list[Any]], run: str, files: list[dict[str, Any]], *, stdin: BinaryIO
) -> dict[str, Any]:
    """Take objects, their bytes one after the other on stdin, and then `materialise` the run.

    Args:
        root: pod root.
        objects: SHA-256, size, and the offset from which it is sent, of each.
        run: run id.
        files: of its bundle.
        stdin: the bytes.
    """
    begun = _half_sent(root)
    partial = os.path.join(root, "objects", "partial")
    for sha, size, offset in objects:
        final = _object(root, sha)
        part = new_part(partial, sha)
        total = hashlib.sha256()
        try:
            with open(part, "wb", buffering=0) as handle:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for block in _bytes_of(begun.get(sha), sha, size, offset, stdin):
                    total.update(block)
                    write_all(handle, block)
                if total.hexdigest() != sha:
                    remove(part)
                    raise Refusal("changed", "an object is not what its digest says", sha)
                os.fchmod(handle.fileno(), 0o444)
                make_folder(os.path.dirname(final))
                try:
                    os.replace(part, final)
                except FileNotFoundError:
                    raise _gone(sha) from None
        except OSError:
            remove(part)  # a full disk needs the room more than the next attempt needs the beginning
            raise
    return materialise(root, run, files, frozenset(sha for sha, _, _ in objects))


def _gone(sha: str) -> Refusal:
    """Another process gave it its name, or took it for left: what is missing now is sent once more."""
    return Refusal("changed", "a half-sent object is gone", sha)


def _bytes_of(begun: str | None, sha: str, size: int, offset: int, stdin: BinaryIO) -> Iterator[bytes]:
    """The bytes of an object: what was sent before, copied so that no other process writes into it, then the rest."""
    held = 0
    if offset:
        if begun is None:
            raise _gone(sha)
        try:
            before = open(begun, "rb")  # noqa: SIM115
        except FileNotFoundError:
            raise _gone(sha) from None
        with before:
            while held < offset:
                block = before.read(min(BLOCK, offset - held))
                if not block:
                    raise _gone(sha)
                held += len(block)
                yield block
        _remove_left(begun)
    while held < size:
        block = stdin.read(min(BLOCK, size - held))
        if not block:
            raise Refusal("cut", "the connection ended within an object", sha)
        held += len(block)
        yield block


def materialise(
    root: str, run: str, files: list[dict[str, Any]], hashed: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Make a run's project the tree of a bundle; every file was hashed here, by now or when it last changed.

    Files that an earlier bundle of the run brought and this one lacks are deleted, unless the run wrote into them. What
    the run wrote stays, and so does what was put beside a bundle (kind "state"): this may be the only copy. Where
    objects are missing the answer names them, with the digests of the strips that are there, and nothing is deleted.

    Args:
        root: pod root.
        run: run id.
        files: of the bundle.
        hashed: objects that have just been hashed.
    """
    project = project_folder(root, run)
    os.makedirs(project, exist_ok=True)
    index = _Index(os.path.join(os.path.dirname(project), "tree.json"))
    missing = sorted({entry["sha256"] for entry in files if not _lay(root, project, entry, hashed, index)})
    free = free_bytes(project)
    if missing:
        begun = _half_sent(root)
        strips = {sha: _strips(begun[sha]) for sha in missing if sha in begun}
        return {"missing": missing, "strips": strips, "free": free}
    for path in index.before.keys() - index.now.keys():
        if index.has_what_it_had(path, inside(project, path)):
            remove(inside(project, path))
    index.write()
    data = [
        {"path": entry["path"], "sha256": entry["sha256"], "records": count_records(inside(project, entry["path"]))}
        for entry in files
        if entry["kind"] == "data"
    ]
    return {"missing": [], "strips": {}, "free": free, "data": data, "project": project}


class _Index:
    """Remembers which files were hashed, as git's index does: none is hashed again before it changes.

    A write changes a file's ctime, which no program can set. A file that changed within the clock's grain before it was
    noted might change once more and not show it, so it is noted without a stamp.
    """

    GRAIN_NS = 50_000_000

    def __init__(self, path: str) -> None:
        self.path = path
        self.before: dict[str, list[Any]] = read_json(path) or {}
        self.now: dict[str, list[Any]] = {}

    def knows(self, path: str, sha: str, facts: os.stat_result) -> bool:
        """Whether the file had this digest and has not changed since."""
        return self.before.get(path) == [sha, *_stamp(facts)]

    def has_what_it_had(self, path: str, place: str) -> bool:
        """Whether there is still what a bundle before this one brought."""
        facts, sha = _facts(place), self.before[path][0]
        return facts is not None and (self.knows(path, sha, facts) or digest_file(place) == sha)

    def note(self, entry: dict[str, Any], facts: os.stat_result) -> None:
        """Remember a file of the bundle that has just been hashed; one of the run's state is the run's own."""
        if entry["kind"] == "state":
            return
        path, sha = entry["path"], entry["sha256"]
        is_old = time.time_ns() - facts.st_ctime_ns > self.GRAIN_NS
        self.now[path] = [sha, *_stamp(facts)] if is_old else [sha]

    def write(self) -> None:
        """Keep it for the next time."""
        if self.now != self.before:
            write_json(self.path, self.now)


def _stamp(facts: os.stat_result) -> list[int]:
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def _strips(path: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as handle:  # another client's, whole by now
        return [hashlib.sha256(block).hexdigest() for block in blocks(handle, STRIP) if len(block) == STRIP]
    return []


def _lay(root: str, project: str, entry: dict[str, Any], hashed: frozenset[str], index: _Index) -> bool:
    """Put one file in its place unless it is there; False where its object is missing or damaged."""
    path, sha, is_data = inside(project, entry["path"]), entry["sha256"], entry["kind"] == "data"
    mode = 0o755 if entry["executable"] else 0o644
    facts = _facts(path)
    if facts is not None and (index.knows(entry["path"], sha, facts) or _holds(path, facts, entry)):
        if not is_data and stat.S_IMODE(facts.st_mode) != mode:
            os.chmod(path, mode)
        index.note(entry, facts)
        return True
    source = _object(root, sha)
    if not os.path.exists(source):
        return False
    if sha not in hashed and digest_file(source) != sha:
        remove(source)  # a bad disk, or a run that wrote into its data: it has to come again
        return False
    make_folder(os.path.dirname(path))
    with replacing(path) as part:
        if not (is_data and _linked(source, part)):  # data are large and only read: one copy has to do
            with open(source, "rb") as before, open(part, "wb", buffering=0) as after:
                for block in blocks(before):
                    write_all(after, block)
            os.chmod(part, mode)
    index.note(entry, os.lstat(path))
    return True


def _holds(path: str, facts: os.stat_result, entry: dict[str, Any]) -> bool:
    return facts.st_size == entry["size"] and digest_file(path) == entry["sha256"]


def _facts(path: str) -> os.stat_result | None:
    """Of a regular file; None where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        facts = os.lstat(path)
        return facts if stat.S_ISREG(facts.st_mode) else None
    return None


def _linked(source: str, path: str) -> bool:
    try:
        os.link(source, path)
    except OSError:  # a file system without links
        return False
    return True
