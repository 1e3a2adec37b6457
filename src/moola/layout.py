"""The data/ and artifacts/ contract, and the only ways in which moola writes a file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from moola.errors import StorageError

T = TypeVar("T")
_SYNCS_AT_ONCE = 16
_LOOKS_S, _LOOKS = 0.02, 10
"""Pause and number of attempts: whoever asks `is_locked` has the lock himself for an instant."""
_SEARCHES = ("results", "searches")
"""Of the artifacts folder: where searches have their folders."""


@dataclass(frozen=True)
class Layout:
    """The two folders a run reads and writes.

    Attributes:
        data: bars, windows and splits.
        artifacts: encoders, predictions, results.
    """

    data: Path
    artifacts: Path

    @property
    def results(self) -> Path:
        """One folder a run."""
        return self.artifacts / "results"

    @property
    def searches(self) -> Path:
        """One folder a search."""
        return self.results.joinpath(*_SEARCHES[1:])

    def room(self, room: str) -> Path:
        """The folder of a kind of artifact, e.g. ``"data/splits"`` or ``"artifacts/oof"``."""
        top, _, rest = room.partition("/")
        return {"data": self.data, "artifacts": self.artifacts}[top] / rest

    def check_writable(self, words: str = "paths.data=FOLDER paths.artifacts=FOLDER") -> None:
        """Create both folders and write a probe file in each.

        Args:
            words: how the command at hand is given other folders.

        Raises:
            StorageError: a folder cannot be created or written.
        """
        for folder in (self.data, self.artifacts):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder) as probe:
                    probe.write(b"moola")
            except OSError as error:
                raise StorageError(
                    f"cannot write in {folder}",
                    error.strerror or str(error),
                    f"choose another place with {words}",
                ) from error


def is_search_folder(folder: Path) -> bool:
    """Whether a folder lies where searches have theirs, one below those of runs."""
    return folder.absolute().parts[-3:-1] == _SEARCHES


def artifacts_above(folder: Path) -> Path:
    """The artifacts folder that the folder of a run or of a search lies in.

    By where it lies and by no word of its files: what a pod wrote must not widen what may be read or sent.
    """
    return folder.absolute().parents[len(_SEARCHES) if is_search_folder(folder) else 1]


def spoken_folder(folder: Path) -> str:
    """What commands call a run or a search: its id, or ``searches/NAME``."""
    return f"{_SEARCHES[-1]}/{folder.name}" if is_search_folder(folder) else folder.name


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of writing name the file as people know it; what a disk refuses names none, or a temporary one."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


class _NamedFile(io.FileIO):
    """An open file whose errors name the file that it will be."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "r+b")
        self._path = path

    def write(self, data: Any, /) -> int:
        with naming(self._path):
            return super().write(data)


class PendingFile:
    """A file that grows under a temporary name and gets its own, whole and on disk, when it is published.

    Args:
        path: its own name; the folder is made where it is missing.

    Attributes:
        handle: open for reading and writing until the file is published or discarded.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path):
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        self.path, self._temporary = path, Path(name)
        self.handle: IO[bytes] = io.BufferedRandom(_NamedFile(descriptor, path))

    def publish(self) -> None:
        """Bring the content to disk (fsync) and give the file its name, in place of what had it before."""
        publish_together([self])

    def bring_to_disk(self) -> None:
        """Flush and fsync what was written; the file has no name yet."""
        self.handle.flush()
        with naming(self.path):
            os.fsync(self.handle.fileno())
        self.handle.close()

    def take_name(self) -> None:
        """Rename the file, whose content is on disk; its folder has to be synced after it."""
        os.chmod(self._temporary, 0o644)
        with naming(self.path):
            os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Delete what was written; nothing happens after `publish`."""
        with contextlib.suppress(OSError):  # a full disk refuses the rest of the buffer, which nobody wants
            self.handle.close()
        self._temporary.unlink(missing_ok=True)


def publish_together(files: Sequence[PendingFile]) -> None:
    """`PendingFile.publish` for several files: none has its name before all of them are on disk.

    Files that are synced at the same time share the journal's commits, so that hundreds take little longer than ten.
    """
    _at_once(PendingFile.bring_to_disk, files)
    for file in files:
        file.take_name()
    _at_once(sync_folder, {file.path.parent for file in files})


def _at_once(work: Callable[[T], None], things: Collection[T]) -> None:
    """Do what waits for the disk to each of the things, to several at a time."""
    from concurrent.futures import ThreadPoolExecutor

    if len(things) <= 1:
        for thing in things:
            work(thing)
        return
    with ThreadPoolExecutor(min(len(things), _SYNCS_AT_ONCE)) as threads:
        for _ in threads.map(work, things):
            pass


@contextlib.contextmanager
def replace_file_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Give a handle whose content becomes the file `path` when the block ends well; else nothing happens.

    For what does not fit into memory; `replace_atomically` is for the rest.
    """
    pending = PendingFile(path)
    try:
        yield pending.handle
        pending.publish()
    except BaseException:
        pending.discard()
        raise


@contextlib.contextmanager
def replace_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Give a buffer whose content becomes the file `path` when the block ends well; else nothing happens.

    Written data is on disk (fsync) before the rename, so `path` is either whole or absent. Writers get a buffer, not
    the file, because numpy and polars hide the reason why a disk takes no more.
    """
    buffer = io.BytesIO()
    yield buffer
    with replace_file_atomically(path) as handle:
        handle.write(buffer.getbuffer())


def replace_folder(source: Path, target: Path) -> None:
    """Give a folder the name `target`, whole; what had it before is deleted.

    A kill in the middle may leave nothing under the name, and what had it as ``.NAME.old`` beside it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)  # left by a kill between the two renames below
    if target.exists():
        os.replace(target, old)  # never a folder that is half deleted under its final name
    os.replace(source, target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def lock_at_once(handle: IO[Any]) -> bool:
    """Take the lock of an open file, which its process keeps until it closes it or ends; False where another has it."""
    for _ in range(_LOOKS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOKS_S)
        else:
            return True
    return False


def is_locked(path: Path) -> bool:
    """Whether some process has the lock of a file now; False where there is no such file, or none to be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)  # and the lock with it
    return False


def remove_torn_files(folder: Path) -> None:
    """Delete temporary files that a killed process left below `folder`, which no other process may be writing to.

    A folder that was to appear as a whole (a saved model) goes with all it holds.
    """
    for path in list(folder.rglob(".*.part")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    _sync(folder)


def sync_files(files: Collection[Path]) -> None:
    """Make files that have their names already, and these names, survive a power cut."""
    _at_once(_sync, files)
    _at_once(_sync, {file.parent for file in files})


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    with replace_atomically(path) as handle:
        handle.write(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 file or none."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; NaN is refused because JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StorageError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise StorageError(
            f"{path} is missing", "it was deleted or never written", "run the stage that makes it again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} is not JSON", str(error), "delete it and run the same command again") from error


def changed_files(folder: Path, digests: Mapping[str, str]) -> dict[str, str]:
    """Files of a folder that are missing or are not what their digests say -> what is wrong with each.

    Args:
        folder: of the files.
        digests: SHA-256 (hex) by name.
    """
    found: dict[str, str] = {}
    for name, digest in digests.items():
        path = folder / name
        try:
            if digest_file(path) != digest:
                found[name] = f"is not what was written ({path.stat().st_size:,} bytes)"
        except FileNotFoundError:
            found[name] = "is missing"
        except OSError as error:
            found[name] = f"cannot be read: {error.strerror}"
    return found


def digest_file(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
