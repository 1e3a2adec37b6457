"""To the pod: only objects that it lacks, from the last whole megabyte on, and a tree that it has hashed itself."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from moola.errors import StorageError
from moola.layout import digest_file
from moola.pods.bundle import Bundle, BundledFile
from moola.pods.patience import Patience
from moola.pods.remote.objects import STRIP
from moola.pods.remote.rows import PARQUET
from moola.pods.wire import Answer, ConnectionLostError, PodConnection, RemoteError

Progress = Callable[[int, int], None]
"""Takes the bytes that are there and those that will be."""
_BLOCK = 1 << 20
_SILENCE_S = 60.0
_HASHED_PER_S = 50e6
"""Bytes that the slowest disk and processor of a pod read and hash in a second; the pod is silent meanwhile."""


def silent(done: int, total: int) -> None:
    """Shows no progress."""


@dataclass(frozen=True)
class DataFile:
    """A data file as the pod itself found it.

    Attributes:
        path: relative to the project.
        sha256: of the bytes on the pod.
        rows: of the table, None where that cannot be said.
    """

    path: str
    sha256: str
    rows: int | None


@dataclass(frozen=True)
class PushReport:
    """What a push did.

    Attributes:
        project: the folder on the pod in which the run works.
        files: how many it holds from here.
        bytes: their size together.
        sent_objects: objects that had to travel.
        sent_bytes: bytes that travelled, those of attempts that broke included.
        data: what the pod says about each data file, compared with what was packed.
        took_s: wall time, seconds.
    """

    project: str
    files: int
    bytes: int
    sent_objects: int
    sent_bytes: int
    data: tuple[DataFile, ...]
    took_s: float


def push(
    connection: PodConnection,
    root: str,
    bundle: Bundle,
    run: str,
    *,
    progress: Progress = silent,
    extra: Mapping[str, Path] | None = None,
    patience: Patience | None = None,
) -> PushReport:
    """Make the run's project on the pod the tree of the bundle.

    Every byte is hashed on the pod before this returns. A broken connection is made again, and goes on where the pod
    says that it stopped; two pushes at a time do each other no harm.

    Args:
        connection: to the pod.
        root: pod root.
        bundle: what is packed.
        run: run id.
        progress: told as bytes leave.
        extra: state of the run, e.g. a checkpoint to go on from: path on the pod, relative to the project -> path here.
            It is the run's from then on, and no later push deletes it.
        patience: when to give up; `Patience()` where none is given.

    Raises:
        StorageError: a file here is no longer what was packed, the pod's disk is too small, or the pod has other data
            than was packed.
        ConnectionLostError: the connection does not come back.
    """
    started = time.monotonic()
    patience = patience or Patience()
    cargo = _Cargo(bundle, extra or {})
    size = sum(file.size for file in cargo.files)
    tree = {"root": root, "run": run, "files": cargo.entries()}
    timeout_s = _SILENCE_S + size / _HASHED_PER_S
    left = float("inf")
    while True:
        try:
            answer = connection.request("materialise", tree, timeout_s=timeout_s)
            if answer["missing"]:
                plan = cargo.plan(answer)
                left = sum(size - offset for _, size, offset in plan)
                cargo.check_room(connection, answer)
                asked = {**tree, "objects": plan}
                answer = connection.request("receive", asked, timeout_s=timeout_s, body=cargo.blocks(plan, progress))
            if not answer["missing"]:
                break
            patience.failed(RemoteError("changed", "objects on the pod are damaged again and again"), left)
        except ConnectionLostError as error:
            patience.failed(error, left)
        except RemoteError as error:
            if error.kind != "changed":
                raise
            patience.failed(error, left)
    data = _compared(bundle, answer["data"])
    took_s = time.monotonic() - started
    return PushReport(answer["project"], len(cargo.files), size, len(cargo.sent), cargo.sent_bytes, data, took_s)


class _Cargo:
    """The files of one push and their bytes."""

    def __init__(self, bundle: Bundle, extra: Mapping[str, Path]) -> None:
        self.bundle = bundle
        added = {path: _extra_file(path, here) for path, here in extra.items()}
        self._extra = {file.sha256: extra[path] for path, file in added.items()}
        self.files = sorted({**{file.path: file for file in bundle.files}, **added}.values())
        self._added = added
        self._sizes = {file.sha256: file.size for file in self.files}
        self.sent: set[str] = set()
        self.sent_bytes = 0

    def entries(self) -> list[dict[str, Any]]:
        """The files as the pod is told of them."""
        return [{**vars(file), "kind": "state"} if file.path in self._added else vars(file) for file in self.files]

    def plan(self, answer: Answer) -> list[tuple[str, int, int]]:
        """(SHA-256, size, offset to send from) of each object that the pod lacks.

        Raises:
            RemoteError: the pod asks for what is not in the bundle.
        """
        foreign = set(answer["missing"]) - self._sizes.keys()
        if foreign:
            raise RemoteError("broken", "the pod asks for objects that are not in the bundle", ", ".join(foreign))
        return [(sha, self._sizes[sha], self._offset(sha, answer["strips"].get(sha, ()))) for sha in answer["missing"]]

    def check_room(self, connection: PodConnection, answer: Answer) -> None:
        """Refuse what the pod's disk cannot take; code is there twice, as an object and in the tree."""
        missing = set(answer["missing"])
        needed = sum(self._sizes[sha] for sha in missing)
        needed += sum(file.size for file in self.files if file.kind != "data" and file.sha256 in missing)
        if needed > answer["free"]:
            raise StorageError(
                f"the disk of {connection.describe()} is too small",
                f"{needed:,} bytes are needed and {answer['free']:,} are free",
                "ask for a larger disk, or leave files out with .moolaignore",
            )

    def blocks(self, plan: Sequence[tuple[str, int, int]], progress: Progress) -> Iterator[bytes]:
        """The bytes of a plan."""
        total = sum(size for _, size, _ in plan)
        done = sum(offset for _, _, offset in plan)
        for sha, size, offset in plan:
            self.sent.add(sha)
            with self._open(sha) as handle:
                handle.seek(offset)
                while offset < size:
                    block = handle.read(min(_BLOCK, size - offset))
                    if not block:
                        raise StorageError("a file shrank while it was sent", f"object {sha}", "pack and send again")
                    yield block
                    offset += len(block)
                    done += len(block)
                    self.sent_bytes += len(block)
                    progress(done, total)

    def _open(self, sha: str) -> BinaryIO:
        return self._extra[sha].open("rb") if sha in self._extra else self.bundle.open_object(sha)

    def _offset(self, sha: str, strips: Sequence[str]) -> int:
        """Where to go on with an object whose first strips have these digests on the pod."""
        if not strips:
            return 0
        offset = 0
        with self._open(sha) as handle:
            for digest in strips:
                if hashlib.sha256(handle.read(STRIP)).hexdigest() != digest:
                    break
                offset += STRIP
        return min(offset, self._sizes[sha])


def _extra_file(path: str, here: Path) -> BundledFile:
    try:
        return BundledFile(path, digest_file(here), here.stat().st_size, False, "run")
    except OSError as error:
        raise StorageError(f"{here} cannot be read", error.strerror or str(error), "see who may read it") from error


def _compared(bundle: Bundle, told: Sequence[Mapping[str, Any]]) -> tuple[DataFile, ...]:
    """What the pod told about its data files.

    Raises:
        StorageError: a digest or a row count is not that of what was packed.
    """
    packed = {file.path: file.sha256 for file in bundle.files if file.kind == "data"}
    rows: Mapping[str, int] = bundle.facts.get("rows", {})
    found = {line["path"]: line for line in told}
    problems = [f"- {path}: the pod says nothing about it" for path in packed.keys() - found.keys()]
    for path in packed.keys() & found.keys():
        if found[path]["sha256"] != packed[path]:
            problems.append(f"- {path}: the pod has SHA-256 {found[path]['sha256']}, packed was {packed[path]}")
        elif path in rows and not _same_rows(path, rows[path], found[path]["records"]):
            problems.append(
                f"- {path}: the pod counts {found[path]['records']:,} lines, packed were {rows[path]:,} rows"
            )
    if problems:
        why = "\n".join(sorted(problems))
        raise StorageError("the pod has other data than was packed", why, "push again; if it stays, pack again")
    return tuple(DataFile(path, found[path]["sha256"], rows.get(path)) for path in sorted(packed))


def _same_rows(path: str, rows: int, records: int | None) -> bool:
    """Whether a count from the pod fits; of text it counts lines, one of which may be a header."""
    most = 0 if path.lower().endswith(PARQUET) else 1
    return records is None or 0 <= records - rows <= most or records == rows == 0
