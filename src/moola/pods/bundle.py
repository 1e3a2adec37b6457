"""What travels to a pod: files by content, and the facts that a run there needs. Same inputs give the same id."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, Self

from moola.config import digest_json, structure
from moola.errors import ConfigError, StorageError
from moola.layout import PendingFile, digest_file, publish_together, read_json, write_bytes
from moola.pods.composed_run import RunName

Kind = Literal["code", "data", "run"]
"""Of the project, named by the configuration, or what moola adds to run it."""
MANIFEST = "manifest.json"
"""Files and facts; the same bytes on every machine that packs the same inputs."""
PLACES = "places.json"
"""Where data lies on this machine, by digest; it never travels."""
OBJECTS = "objects"
"""Folder beside the bundles with the bytes of code and run files, by digest."""
OWN_FOLDER = ".moola_pod"
"""Folder below the project, on the pod, that holds what moola adds; a project's own of that name stays here."""
_ID_DIGITS = 16
_STORED_AT_ONCE = 256
"""Objects that are open at a time; a process may have about a thousand open files."""
_PACK_AGAIN = "pack again: moola pod pack"


@dataclass(frozen=True, order=True)
class BundledFile:
    """One file of a bundle.

    Attributes:
        path: POSIX, relative to the project, normalised; bytes that are no UTF-8 stand as surrogate escapes.
        sha256: hex digest of its content, the name of its object.
        size: bytes.
        executable: whether its owner may run it; no other permission travels.
        kind: code of the project, data of the configuration, or what moola adds for the run.
    """

    path: str
    sha256: str
    size: int
    executable: bool
    kind: Kind

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        normal = bool(parts) and "/".join(parts) == self.path and parts[0] != "/" and ".." not in parts
        if not normal or "\0" in self.path:
            raise ConfigError([f"path: {self.path!r} is no normal path below the project"])
        if len(self.sha256) != hashlib.sha256().digest_size * 2 or set(self.sha256) - set("0123456789abcdef"):
            raise ConfigError([f"sha256: {self.sha256!r} is no SHA-256"])


@dataclass(frozen=True)
class Bundle:
    """Files and facts under one id.

    Attributes:
        bundle_id: first 16 hex digits of the SHA-256 of everything else.
        files: sorted by path, each path once.
        facts: ``git`` {commit, dirty, branch} or None, ``overrides`` as on the pod, ``config`` as they compose there,
            ``run_id``, ``rooms`` {stage: room of its artifacts}, ``requirements`` (pins without torch), ``rows`` {path:
            rows of a data file}, ``moola`` {version, path: the folder to import it from, relative to the project}.
    """

    bundle_id: str
    files: tuple[BundledFile, ...]
    facts: Mapping[str, Any]
    _objects: Path | None = field(default=None, repr=False, compare=False)
    _places: Mapping[str, Path] = field(default_factory=dict[str, Path], repr=False, compare=False)

    @classmethod
    def of(
        cls,
        files: Sequence[BundledFile],
        facts: Mapping[str, Any],
        objects: Path | None = None,
        places: Mapping[str, Path] | None = None,
    ) -> Self:
        """The bundle of these files, in whatever order they come.

        Args:
            files: what travels.
            facts: plain JSON values.
            objects: folder with objects by digest.
            places: digest -> file of this machine, for what is not among the objects.

        Raises:
            ConfigError: a path is there twice.
        """
        ordered = tuple(sorted(files))
        paths = [file.path for file in ordered]
        twice = sorted({path for path, following in itertools.pairwise(paths) if path == following})
        if twice:
            raise ConfigError([f"{path}: two files would travel under this name" for path in twice])
        return cls(_identity(ordered, facts), ordered, facts, objects, places or {})

    def named(self, name: RunName) -> Self:
        """The same files and facts, and what the run is called that they are for."""
        facts = {**self.facts, "run_id": name.run_id, "rooms": dict(name.rooms)}
        return self.of(self.files, facts, self._objects, self._places)

    def open_object(self, sha256: str) -> BinaryIO:
        """The bytes of a file, checked before they are handed out, so that a wrong file never leaves this machine.

        Args:
            sha256: of one of the files.

        Raises:
            StorageError: the file is gone, or is no longer what was packed.
        """
        place = self._places.get(sha256)
        if place is None:
            if self._objects is None:
                raise StorageError(f"the bundle {self.bundle_id} is not stored here", "", _PACK_AGAIN)
            place = object_path(self._objects, sha256)
        try:
            handle = place.open("rb")
        except OSError as error:
            why = f"{place}: {error.strerror or error}"
            raise StorageError(f"a file of the bundle {self.bundle_id} cannot be read", why, _PACK_AGAIN) from error
        try:
            if hashlib.file_digest(handle, "sha256").hexdigest() != sha256:
                raise StorageError(
                    f"{place} is no longer what was packed",
                    f"the bundle {self.bundle_id} holds it with SHA-256 {sha256}",
                    _PACK_AGAIN,
                )
        except BaseException:
            handle.close()
            raise
        handle.seek(0)
        return handle

    def stored(self, objects: Path) -> Self:
        """The same bundle with its code and run files copied, so that later changes of the project do not matter.

        Data stays where it is. Objects that are there and whole are kept.

        Args:
            objects: folder beside the bundles.

        Raises:
            StorageError: a file is gone, or changed since it was digested.
        """
        data = {file.sha256 for file in self.files if file.kind == "data"}
        wanted = {file.sha256: object_path(objects, file.sha256) for file in self.files if file.sha256 not in data}
        missing = [sha256 for sha256, path in wanted.items() if not (path.is_file() and digest_file(path) == sha256)]
        for start in range(0, len(missing), _STORED_AT_ONCE):
            self._copy({sha256: wanted[sha256] for sha256 in missing[start : start + _STORED_AT_ONCE]})
        places = {sha256: path for sha256, path in self._places.items() if sha256 in data}
        return type(self)(self.bundle_id, self.files, self.facts, objects, places)

    def _copy(self, targets: Mapping[str, Path]) -> None:
        """Copy files to where their objects belong, by digest."""
        copies: list[PendingFile] = []
        try:
            for sha256, target in targets.items():
                copies.append(PendingFile(target))
                with self.open_object(sha256) as source:
                    shutil.copyfileobj(source, copies[-1].handle)
            publish_together(copies)
        except BaseException:
            for copy in copies:
                copy.discard()
            raise

    def write(self, folder: Path) -> None:
        """Store the manifest, and where data lies on this machine.

        Args:
            folder: of this bundle, named by its id; objects are in ``objects/`` beside it.
        """
        places = {sha256: str(path) for sha256, path in sorted(self._places.items())}
        write_bytes(folder / PLACES, _canonical(places))
        write_bytes(folder / MANIFEST, _canonical({"bundle_id": self.bundle_id, **_contents(self.files, self.facts)}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `write` stored.

        Raises:
            StorageError: there is no bundle, or its manifest is not what was written.
        """
        said, places = read_json(folder / MANIFEST), read_json(folder / PLACES)
        try:
            files = [structure(BundledFile, values, "files") for values in said["files"]]
            where = {str(sha256): Path(path) for sha256, path in places.items()}
            bundle = cls.of(files, said["facts"], folder.parent / OBJECTS, where)
        except (ConfigError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{folder / MANIFEST} is no manifest of a bundle", str(error), _PACK_AGAIN) from error
        if bundle.bundle_id != said.get("bundle_id"):
            why = f"it says {said.get('bundle_id')}, and its content is that of {bundle.bundle_id}"
            raise StorageError(f"{folder / MANIFEST} was changed", why, _PACK_AGAIN)
        return bundle


def object_path(objects: Path, sha256: str) -> Path:
    """Where the object of this digest lies: ``objects/ab/abcdef...``."""
    return objects / sha256[:2] / sha256


def path_in_words(path: str) -> str:
    """A path as a terminal can show it: one with a line break, an escape or bytes that are no UTF-8 is spelt out."""
    return path if path.isprintable() else ascii(path)


def _contents(files: Sequence[BundledFile], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"files": [asdict(file) for file in files], "facts": facts}


def _identity(files: Sequence[BundledFile], facts: Mapping[str, Any]) -> str:
    return digest_json(_contents(files, facts))[:_ID_DIGITS]


def _canonical(value: Any) -> bytes:
    """ASCII, because a file name that is no UTF-8 could not be written otherwise."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")
