"""From the pod: files by a manifest that is believed only where it can do no harm, each hashed before it has its name.

Not by tar or rsync, whose receivers have been tricked into writing elsewhere (CVE-2025-4517, CVE-2024-12087).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from moola.errors import MoolaError, StorageError
from moola.layout import digest_file, sync_files
from moola.pods.patience import Patience
from moola.pods.result_manifest import HALF, PullLimits, ResultFile, checked_results
from moola.pods.transfer import Progress, silent
from moola.pods.wire import ConnectionLostError, PodConnection, RemoteError

_SILENCE_S = 60.0
_LISTING_S = 600.0
"""Silence while the pod hashes its results."""
_RELEASE_S = 10.0
"""Silence while the pod lets go of what it held: worth no long wait."""
_SHOWN = 20
"""Names that an error lists."""


@dataclass(frozen=True)
class PullReport:
    """What a pull brought.

    Attributes:
        files: all that the pod has of what was wanted, by path.
        fetched_files: those that were not here before.
        fetched_bytes: bytes that travelled, those of attempts that broke included.
        took_s: wall time, seconds.
    """

    files: tuple[ResultFile, ...]
    fetched_files: int
    fetched_bytes: int
    took_s: float


def pull(
    connection: PodConnection,
    root: str,
    run: str,
    wanted: Sequence[str],
    into: Path,
    *,
    limits: PullLimits | None = None,
    progress: Progress = silent,
    patience: Patience | None = None,
) -> PullReport:
    """Fetch what fits the patterns below the run's project.

    A name that could do harm here refuses all of it before a byte is fetched. Files that are here already stay; what
    was cut goes on at the byte; what the run replaces meanwhile comes as it was when it was listed, or is asked for
    anew.

    Args:
        connection: to the pod.
        root: pod root.
        run: run id.
        wanted: patterns such as ``artifacts/results/**``; ``**`` spans folders, ``*`` and ``?`` stay in one.
        into: a folder of this pull's own.
        limits: what may come at most; `PullLimits()` where none are given.
        progress: told as bytes arrive.
        patience: when to give up; `Patience()` where none is given.

    Raises:
        StorageError: the pod found what is refused, with every reason, or this disk is too small.
        ConnectionLostError: the connection does not come back.
    """
    started, limits, patience = time.monotonic(), limits or PullLimits(), patience or Patience()
    arrivals = _Arrivals(into, progress)
    here = {"root": root, "run": run, "hold": _hold_of(into)}
    try:
        found = _attempts(connection, here, wanted, limits, arrivals, patience)
    finally:
        with contextlib.suppress(MoolaError):  # the next pull into this folder lets it go, too
            connection.request("release_files", here, timeout_s=_RELEASE_S)
    sync_files([into / file.path for file in found])  # also those of a pull before, which may have been killed
    shutil.rmtree(into / HALF, ignore_errors=True)
    return PullReport(tuple(found), arrivals.fetched_files, arrivals.fetched_bytes, time.monotonic() - started)


def _hold_of(into: Path) -> str:
    """Under which the pod holds files for a folder here: the same for each pull into it, and nobody else's."""
    return hashlib.sha256(os.fsencode(f"{platform.node()} {into.resolve()}")).hexdigest()[:16]


def _attempts(
    connection: PodConnection,
    here: Mapping[str, Any],
    wanted: Sequence[str],
    limits: PullLimits,
    arrivals: _Arrivals,
    patience: Patience,
) -> list[ResultFile]:
    """What an attempt found that went through, after those that did not."""
    while True:
        try:
            return _attempt(connection, here, wanted, limits, arrivals)
        except ConnectionLostError as error:
            patience.failed(error, arrivals.left)
        except RemoteError as error:
            if error.kind not in ("changed", "missing"):
                raise
            patience.failed(error, arrivals.left)
        finally:
            arrivals.close()


def _attempt(
    connection: PodConnection, here: Mapping[str, Any], wanted: Sequence[str], limits: PullLimits, arrivals: _Arrivals
) -> list[ResultFile]:
    """All that the pod has of what is wanted, after what is missing of it has come."""
    asked = {**here, "patterns": list(wanted), "most_files": limits.files}
    listing = connection.request("list_files", asked, timeout_s=_LISTING_S)
    found = checked_results(listing.value, wanted, limits)
    arrivals.expect(found)
    if arrivals.pieces:
        pieces = {**here, "pieces": arrivals.pieces}
        connection.request("read_files", pieces, timeout_s=_SILENCE_S, sink=arrivals.take)
    arrivals.check_complete()
    return found


class _Arrivals:
    """Files on their way into a folder.

    Attributes:
        pieces: what to ask the pod for: path, first byte and byte after the last.
        left: bytes still to come; infinite before anything is known.
    """

    def __init__(self, into: Path, progress: Progress) -> None:
        self.into, self.progress = into, progress
        self.pieces: list[tuple[str, int, int]] = []
        self.left: float = float("inf")
        self.fetched_files, self.fetched_bytes = 0, 0
        self._waiting: list[ResultFile] = []
        self._total = 0
        self._handle: IO[bytes] | None = None
        self._missing, self._digest = 0, hashlib.sha256()
        self._wrong: list[str] = []

    def expect(self, found: Sequence[ResultFile]) -> None:
        """Prepare for files; what is here is not asked for again."""
        self.into.mkdir(parents=True, exist_ok=True)
        self._waiting, self._wrong, self.pieces = [], [], []
        for file in found:
            if self._is_here(file):
                continue
            held = self._held(file)
            self._waiting.append(file)
            self.pieces.append((file.path, held, file.size))
        self._total = sum(file.size for file in self._waiting)
        self.left = self._total - sum(offset for _, offset, _ in self.pieces)
        free = shutil.disk_usage(self.into).free
        if self.left > free:
            raise StorageError(
                f"{self.into} has too little room", f"{self.left:,} bytes are to come, {free:,} are free", "make room"
            )
        self._waiting.reverse()
        self._go_on()

    def take(self, block: bytes) -> None:
        """The next bytes from the pod."""
        rest = memoryview(block)
        while rest:
            if self._handle is None:
                raise RemoteError("broken", "the pod sends more than it announced")
            part, rest = rest[: self._missing], rest[self._missing :]
            self._handle.write(part)
            self._digest.update(part)
            self._missing -= len(part)
            self.left -= len(part)
            self.fetched_bytes += len(part)
            self.progress(int(self._total - self.left), self._total)
            if not self._missing:
                self._finish()
                self._go_on()

    def check_complete(self) -> None:
        """Refuse an answer that left something out.

        Raises:
            RemoteError: of kind "changed", which another attempt may mend.
        """
        missing = [file.path for file in self._waiting] + self._wrong
        if missing:
            names = ", ".join(map(repr, missing[:_SHOWN]))
            raise RemoteError("changed", "files did not come as the pod announced them", names, "pull again")

    def close(self) -> None:
        """Keep what has come of the file at hand."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _is_here(self, file: ResultFile) -> bool:
        path = self._place(file)
        if path.is_symlink() or not path.exists():
            return False
        if not path.is_file():
            raise StorageError(f"{path} is in the way", "the pod has a file of that name", "pull into another folder")
        return path.stat().st_size == file.size and digest_file(path) == file.sha256

    def _place(self, file: ResultFile) -> Path:
        path = self.into / file.path
        if not path.parent.resolve().is_relative_to(self.into.resolve()):
            raise StorageError(f"{path} would be written elsewhere", "a link is in its way", "delete the link")
        return path

    def _half(self, file: ResultFile) -> Path:
        name = hashlib.sha256(f"{file.sha256} {file.path}".encode("utf-8", "surrogateescape")).hexdigest()
        return self.into / HALF / name

    def _held(self, file: ResultFile) -> int:
        """Bytes of a file that came before."""
        half = self._half(file)
        size = half.stat().st_size if half.exists() else 0
        if size <= file.size:
            return size
        half.unlink()
        return 0

    def _go_on(self) -> None:
        """Open the next file that lacks something; those that lack nothing are finished on the way."""
        while self._waiting and self._handle is None:
            self._open(self._waiting[-1])
            if not self._missing:
                self._finish()

    def _open(self, file: ResultFile) -> None:
        half = self._half(file)
        half.parent.mkdir(exist_ok=True)
        self._digest, held = hashlib.sha256(), 0
        self._handle = half.open("ab+")
        self._handle.seek(0)
        while block := self._handle.read(1 << 20):
            self._digest.update(block)
            held += len(block)
        self._missing = file.size - held

    def _finish(self) -> None:
        """Give the open file its name, if it is what was announced."""
        file = self._waiting.pop()
        half, path = self._half(file), self._place(file)
        self.close()
        if self._digest.hexdigest() != file.sha256:
            half.unlink()
            self._wrong.append(file.path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        half.chmod(0o644)
        half.replace(path)
        self.fetched_files += 1
