"""A run's state in a folder that outlives its pod: a network volume, or a folder of the host.

``MOUNT/moola/RUN/objects/`` holds contents under their SHA-256, ``state.json`` beside it names the files of which the
state is made. A state counts from the moment at which ``state.json`` gets its name, and what only the one before needed
is deleted after that: a copy that is torn anywhere leaves the state before. A state that is refused, if only for a bad
read, stays as ``state.refused.json`` with its contents until a later one has come back. A network volume is FUSE, where
links and locks hang and any call may: plain writes and renames alone, in a process of its own that can be given up.

``python3 -m moola.pods.volume save|restore JSON`` does either. Standard library only, Python 3.8 or newer: this file
travels to the pod with the supervisor.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from moola.pods.run_files import write_object

_T = TypeVar("_T")
EXIT_VOLUME = 5
_KEPT = "artifacts"
"""What of the project is kept: bars, windows and splits are made anew in seconds."""
_STATE, _REFUSED, _OBJECTS, _BLOCK = "state.json", "state.refused.json", "objects", 1 << 20
_SEALED, _POD = "metadata/sealed_tests.jsonl", "results/*/pod.json"
"""Below what is kept: runs that opened a sealed test, and what each run's pods are and cost."""
_ATTEMPTS, _PAUSE_S = 5, 1.0
"""Of a copy, while the run replaces its files meanwhile."""


class VolumeError(Exception):
    """The volume cannot be used, or what it holds; the text says what, why and the way out."""


@dataclass(frozen=True)
class Volume:
    """The folder of one run on a volume.

    Attributes:
        mount: the volume.
        run: id of the run.
        mounted: whether it has to be a mount: an image may bring a folder of that name, which dies with the pod.
    """

    mount: str
    run: str
    mounted: bool = False

    @property
    def home(self) -> Path:
        """Of the run."""
        return Path(self.mount) / "moola" / self.run

    def check(self) -> None:
        """Write a little there.

        Raises:
            VolumeError: it is not there, or takes nothing.
        """
        if not os.path.isdir(self.mount) or (self.mounted and not os.path.ismount(self.mount)):
            way_out = "-> look at pod.network_volume or pod.mount; without either nothing is kept beyond the pod"
            raise VolumeError(f"no volume is mounted at {self.mount} on the pod\n{way_out}")
        with self._told():
            (self.home / _OBJECTS).mkdir(parents=True, exist_ok=True)
            write_object(self.home / ".probe.json", {})
            (self.home / ".probe.json").unlink()

    def save(self, project: Path, billed_s: float) -> dict[str, int]:
        """Copy the state of a run that may be at work, as it was at one moment.

        Args:
            project: in which the run works.
            billed_s: seconds since its first pod began to bill: tells the newer of two states.

        Returns:
            How many ``files`` and ``bytes`` the state has, and how many files were ``copied`` for it.

        Raises:
            VolumeError: the volume is gone or full, or the run never stands still; the state before stays.
        """
        self.check()
        with self._told():
            before, refused = None, self._refused()
            doubted = _contents(refused)
            try:
                before = self._state()
                self._sweep(before, refused)  # what a torn copy left is in the way on a full volume
            except VolumeError:  # nobody knows what it needs: all stays until there is another state
                doubted = {path.name for path in (self.home / _OBJECTS).iterdir()}
            files = {} if before is None or before == refused else dict(before["files"])
            copied = self._settled(project, files, doubted)
            state = {"billed_s": billed_s, "files": files}
            write_object(self.home / _STATE, state)
            self._sweep(state, refused)
        return {"files": len(files), "bytes": sum(entry["size"] for entry in files.values()), "copied": copied}

    def restore(self, project: Path, newer_than_s: float) -> str:
        """Put the state that is kept in the place of the project's own, if it is newer and every byte of it is right.

        Of the project's own stays what no state may take back: which sealed tests were opened, and ``pod.json``.

        Args:
            project: of a run that is not at work.
            newer_than_s: `billed_s` of the state that the project has.

        Returns:
            What was done, in words.

        Raises:
            VolumeError: what is kept is damaged; the project is as it was.
        """
        state = _twice(self._state)
        if state is None:
            return f"nothing is kept at {self.home} yet"
        if state["billed_s"] <= newer_than_s:
            return f"what is kept at {self.home} is not newer than what came with the run"
        place, aside, old = project / _KEPT, project / f".{_KEPT}.part", project / f".{_KEPT}.old"
        if old.exists() and not place.exists():
            os.replace(str(old), str(place))  # a kill came between the two renames below
        shutil.rmtree(str(aside), ignore_errors=True)
        shutil.rmtree(str(old), ignore_errors=True)
        try:
            for path, entry in state["files"].items():
                target = aside / path[len(_KEPT) + 1 :]
                _twice(lambda entry=entry, target=target: self._fetch(entry, target))
            aside.mkdir(exist_ok=True)
            _take_along(place, aside)
            if place.exists():
                os.replace(str(place), str(old))
            os.replace(str(aside), str(place))
            shutil.rmtree(str(old), ignore_errors=True)
        except VolumeError:
            write_object(self.home / _REFUSED, state)
            raise
        finally:
            shutil.rmtree(str(aside), ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.home / _REFUSED).unlink()
        hours = state["billed_s"] / 3600
        return (
            f"{len(state['files'])} files of the state after {hours:.2f} h came from {self.home}, every byte verified"
        )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the volume refuses, in words."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = "is full\n-> make room on it, or take a larger one" if full else f"does not work: {error}"
            raise VolumeError(f"the volume at {self.mount} {why}") from error

    def _settled(self, project: Path, files: dict[str, Any], doubted: set[str]) -> int:
        """Copy until nothing changed meanwhile: half of one state and half of the next is none; how many travelled."""
        copied = 0
        for _ in range(_ATTEMPTS):
            copied += self._copy(project, files, doubted)
            now = dict(_walk(project))
            if files.keys() == now.keys() and all(_same(files[path], facts) for path, facts in now.items()):
                return copied
            time.sleep(_PAUSE_S)
        raise VolumeError("the run replaces its files faster than the volume takes them")

    def _state(self, name: str = _STATE) -> dict[str, Any] | None:
        """What is kept; None where nothing is.

        Raises:
            VolumeError: it makes no sense.
        """
        try:
            state = json.loads((self.home / name).read_text())
            _check_state(state)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise VolumeError(f"{self.home / name} makes no sense: {error}") from error
        return state

    def _refused(self) -> dict[str, Any] | None:
        """The state that `restore` refused last, if any."""
        try:
            return self._state(_REFUSED)
        except VolumeError:
            return None

    def _object(self, sha256: str) -> Path:
        return self.home / _OBJECTS / sha256

    def _copy(self, project: Path, files: dict[str, Any], doubted: set[str]) -> int:
        """Bring `files` up to date with the project; how many contents travelled.

        Contents that are there are believed by their size; those that are `doubted` are read.
        """
        now, copied = dict(_walk(project)), 0
        for path in set(files) - set(now):
            del files[path]
        for path, facts in now.items():
            known = files.get(path)
            if known and _same(known, facts) and self._has(known):
                continue
            with contextlib.suppress(FileNotFoundError):  # replaced or deleted by the run just now: seen afterwards
                entry = _entry(project / path)
                if not self._has(entry) or (entry["sha256"] in doubted and not self._is_right(entry)):
                    copied += 1
                    _copy_file(project / path, self._object(entry["sha256"]), entry["sha256"])
                files[path] = entry
        return copied

    def _has(self, entry: dict[str, Any]) -> bool:
        try:
            return self._object(entry["sha256"]).stat().st_size == entry["size"]
        except FileNotFoundError:
            return False

    def _is_right(self, entry: dict[str, Any]) -> bool:
        return _entry(self._object(entry["sha256"]))["sha256"] == entry["sha256"]

    def _fetch(self, entry: dict[str, Any], target: Path) -> None:
        source = self._object(entry["sha256"])
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _copy_file(source, target, entry["sha256"])
        except _ChangedError as error:
            raise VolumeError(f"{source} is damaged") from error
        except FileNotFoundError as error:
            raise VolumeError(f"{source} is missing") from error

    def _sweep(self, *states: dict[str, Any] | None) -> None:
        """Delete contents that none of the states needs."""
        needed = set().union(*map(_contents, states))
        for path in (self.home / _OBJECTS).iterdir():
            if path.name not in needed:
                path.unlink()


class _ChangedError(FileNotFoundError):
    """A file is not what it was when it was hashed."""


def _contents(state: dict[str, Any] | None) -> set[str]:
    return {entry["sha256"] for entry in state["files"].values()} if state else set()


def _twice(read: Callable[[], _T]) -> _T:
    """What it reads, the second time where the first makes no sense: a network disk may give wrong bytes once."""
    try:
        return read()
    except VolumeError:
        return read()


def _check_state(state: dict[str, Any]) -> None:
    """Refuse what could do harm: a volume is as far to be believed as the pods that wrote it.

    Raises:
        ValueError: or another of Python's own where the value has not even the form of a state.
    """
    float(state["billed_s"])
    for path, entry in state["files"].items():
        parts = path.split("/")
        if parts[0] != _KEPT or len(parts) < 2 or any(part in ("", ".", "..") for part in parts) or "\0" in path:
            raise ValueError(f"{path!r} is no name of an artifact")
        if not re.fullmatch("[0-9a-f]{64}", entry["sha256"]) or not isinstance(entry["size"], int):
            raise ValueError(f"{path!r} is not described as a file is")


def _walk(project: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files that are kept, by path below the project; no links, and none that is being written."""
    for folder, _, names in os.walk(str(project / _KEPT)):
        for name in names:
            if name.startswith(".") and name.endswith(".part"):
                continue
            with contextlib.suppress(FileNotFoundError):
                facts = os.lstat(os.path.join(folder, name))
                if stat.S_ISREG(facts.st_mode):
                    yield os.path.relpath(os.path.join(folder, name), str(project)), facts


def _take_along(place: Path, aside: Path) -> None:
    """Bring what the client sent with the run into the state that takes its place; openings are those of both."""
    found = {path.relative_to(place): path.read_bytes() for path in place.glob(_POD)}
    openings = [
        line for path in (place / _SEALED, aside / _SEALED) if path.is_file() for line in path.read_bytes().splitlines()
    ]
    if openings:
        found[Path(_SEALED)] = b"".join(line + b"\n" for line in dict.fromkeys(openings))
    for path, content in found.items():
        (aside / path).parent.mkdir(parents=True, exist_ok=True)
        with (aside / path).open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())


def _same(entry: dict[str, Any], facts: os.stat_result) -> bool:
    return [entry["size"], entry.get("seen")] == [facts.st_size, [facts.st_ino, facts.st_mtime_ns]]


def _entry(path: Path) -> dict[str, Any]:
    """What a file is now."""
    total, size = hashlib.sha256(), 0
    with path.open("rb") as handle:
        facts = os.fstat(handle.fileno())
        for block in iter(lambda: handle.read(_BLOCK), b""):
            total.update(block)
            size += len(block)
    return {"sha256": total.hexdigest(), "size": size, "seen": [facts.st_ino, facts.st_mtime_ns]}


def _copy_file(source: Path, target: Path, sha256: str) -> None:
    """Copy a file whose content is known: whole, verified and on disk, or not at all.

    Raises:
        FileNotFoundError: it is gone, or another by now.
    """
    part, total = target.with_name(f".{target.name}.part"), hashlib.sha256()
    try:
        with source.open("rb") as before, part.open("wb") as after:
            for block in iter(lambda: before.read(_BLOCK), b""):
                total.update(block)
                after.write(block)
            after.flush()
            os.fsync(after.fileno())
        if total.hexdigest() != sha256:
            raise _ChangedError(str(source))
        os.replace(str(part), str(target))
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def main(words: list[str]) -> int:
    """Save or restore as the second word says, in JSON; what came of it is the last line."""
    told = json.loads(words[1])
    volume, project = Volume(told["mount"], told["run"], told["mounted"]), Path(told["project"])
    try:
        if words[0] == "save":
            print(json.dumps(volume.save(project, told["billed_s"])))
            return 0
        volume.check()
    except VolumeError as error:
        print(error)
        return EXIT_VOLUME
    try:
        print(volume.restore(project, told["newer_than_s"]))
    except VolumeError as error:
        print(f"what is kept on the volume cannot be used: {error}\nthe run goes on from what came with it")
    except OSError as error:
        print(f"what is kept on the volume could not be fetched: {error}\n-> run it again, or without the volume")
        return EXIT_VOLUME
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
