"""Files that the configuration names: bars, labels, corrections, a saved split, an encoder. They travel as data.

A file below the project keeps its place. One from elsewhere travels as ``outside/DIGEST/NAME``, and the overrides are
rewritten for the pod. A link to data is followed wherever it leads: the configuration asks for what is behind it.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moola.config import override
from moola.data.sources.problems import Problems
from moola.errors import MoolaError
from moola.layout import Layout, digest_file
from moola.pods.bundle import path_in_words
from moola.pods.composed_run import ComposedRun
from moola.pods.rows import count_rows

OUTSIDE = "outside"
"""Folder below the project, on the pod, of data that lay elsewhere."""
_PATHS = {"paths.data": "data", "paths.artifacts": "artifacts"}
"""Where both folders are on a pod, whatever they are here."""
_FETCHED = "data/raw/unlabeled/fetched"
"""The cache of public sets, where the one here is elsewhere."""
_FILE_KEYS = ("data.path", "data.train", "data.test", "task.path", "task.corrections", "stage.label_issues.log")
_NO_FILES = ("paths.", "data.cache", "encoder_from", "split.folder")
"""Keys that are no files, or that are looked at by themselves."""
_MOVE = "move it into the project, and name it relative to that"
_DIGEST_DIGITS = 8


@dataclass(frozen=True)
class DataFile:
    """A file that the configuration names.

    Attributes:
        path: on the pod, relative to the project.
        source: here.
        sha256: of its content.
        size: bytes.
        rows: of a table; None for other files.
    """

    path: str
    source: Path
    sha256: str
    size: int
    rows: int | None


@dataclass(frozen=True)
class OutsideFiles:
    """What a configuration needs beside the code.

    Attributes:
        files: each path once.
        changes: keys of the configuration -> their values on the pod, where these are others.
    """

    files: tuple[DataFile, ...]
    changes: Mapping[str, str]

    def rewrite(self, words: Sequence[str]) -> tuple[str, ...]:
        """Overrides that mean on the pod what these mean here; each in its place, new ones at the end."""
        left = dict(self.changes)
        rewritten: list[str] = []
        for word in words:
            key = word.partition("=")[0]
            bare = key.lstrip("+")
            if bare in self.changes and not word.startswith("~"):
                left.pop(bare, None)
                rewritten.append(override(key, self.changes[bare]))
            else:
                rewritten.append(word)
        return (*rewritten, *(override(key, value) for key, value in left.items()))


@dataclass(frozen=True)
class _Named:
    """A value of the configuration that names files.

    Attributes:
        key: dotted.
        value: as it stands there.
        base: folder whose contents `files` are relative to; absolute.
        files: relative to `base`.
        rest: what stands after the base in the value on the pod: a name, a glob, nothing for a folder.
        pod_base: where the base is on the pod, where moola knows the place by itself.
        header: whether CSV among them begins with a header.
    """

    key: str
    value: str
    base: Path
    files: tuple[str, ...]
    rest: str
    pod_base: str | None = None
    header: bool = True


def list_outside_files(run: ComposedRun, project: Path, layout: Layout, problems: Problems) -> OutsideFiles:
    """Find, digest and count what a configuration names.

    Args:
        run: composed in the project.
        project: its folder, absolute.
        layout: where named encoders are.
        problems: takes files that are missing or broken, and folders of this machine.
    """
    files: dict[str, DataFile] = {}
    changes = {key: there for key, there in _PATHS.items() if run.plain["paths"][key.partition(".")[2]] != there}
    for named in _all_named(run, project, layout, problems):
        found = [_digest(named, file, problems) for file in named.files]
        base = named.pod_base or _base_on_pod(named, [file for file in found if file], project)
        for file in found:
            if file is not None:
                path = os.path.normpath(os.path.join(base, file.path))
                files[path] = DataFile(path, file.source, file.sha256, file.size, file.rows)
        value = os.path.normpath(os.path.join(base, named.rest))
        if named.pod_base is None and value != os.path.normpath(named.value):
            if "[" in named.key:
                problems.say(f"{named.key}={named.value} is no place below the project", _MOVE)
            else:
                changes[named.key] = value
    cache = run.plain["data"].get("cache")
    if run.plain["data"].get("source") == "fetch" and _cache_on_pod(cache, project) != os.path.normpath(cache):
        changes["data.cache"] = _FETCHED
    return OutsideFiles(tuple(files[path] for path in sorted(files)), changes)


def _all_named(run: ComposedRun, project: Path, layout: Layout, problems: Problems) -> Iterator[_Named]:
    """Every value that names files, of the keys that moola knows and of those that other packages brought."""
    values = dict(_leaves(run.plain, ""))
    header = values.get("data.header", True) is not False
    if values.get("data.source") == "fetch":
        yield from _fetched(values, project)
    if isinstance(encoder := values.get("encoder_from"), str):
        yield from _encoder(encoder, project, layout, problems)
    if isinstance(split := values.get("split.folder"), str):
        from moola.data.splits.saved import FILES

        yield _Named("split.folder", split, _absolute(split, project), FILES, "")
    for key, value in values.items():
        if key.startswith(_NO_FILES) or not isinstance(value, str) or not value:
            continue
        place = _absolute(value, project)
        is_asked_for = key in _FILE_KEYS
        if is_asked_for and glob.has_magic(value) and not place.is_file():
            yield _globbed(key, value, project, header, problems)
        elif key == "task.corrections" and place.is_dir():
            yield _Named(key, value, place, ("events.jsonl",), "")
        elif place.is_file() and (is_asked_for or "/" in value or "." in value):
            yield _Named(key, value, place.parent, (place.name,), place.name, header=header or key != "data.path")
        elif is_asked_for:
            problems.say(f"{key}={value}: there is no such file", "give an existing file")
        elif os.path.isabs(value) and place.is_dir():
            problems.say(f"{key}={value} is a folder of this machine, of which the pod has none", _MOVE)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys and what stands there; items of lists as ``key[0]``."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{key}[{i}]")
    else:
        yield key, value


def _absolute(value: str, project: Path) -> Path:
    """Lexically, so that a name with a link in it stays what it is called."""
    return Path(os.path.normpath(project / value))


def _globbed(key: str, value: str, project: Path, header: bool, problems: Problems) -> _Named:
    """Everything that a glob matches, from the innermost folder that has no magic in its name."""
    pattern = _absolute(value, project)
    plain = len(project.parts) if pattern.is_relative_to(project) else 0  # the project's own name may hold brackets
    while not glob.has_magic(pattern.parts[plain]):
        plain += 1
    base, rest = Path(*pattern.parts[:plain]), os.path.join(*pattern.parts[plain:])
    matched = sorted(name for name in glob.glob(rest, root_dir=base) if (base / name).is_file())
    if not matched:
        problems.say(f"{key}={value}: no file matches", "give an existing file or glob")
    return _Named(key, value, base, tuple(matched), rest, header=header)


def _encoder(name: str, project: Path, layout: Layout, problems: Problems) -> Iterator[_Named]:
    """The folder of a named encoder; by its name it is found on the pod as here."""
    from moola.encoders.record import RECORD, read_record
    from moola.encoders.shelf import ROOM, find_folder

    room = layout.room(ROOM)
    try:
        folder = _absolute(str(find_folder(name if (room / name).is_dir() else str(project / name), room)), project)
        files = (RECORD, *read_record(folder).files)
    except MoolaError as error:
        problems.say(error.what, error.way_out)
        return
    by_name = folder == _absolute(str(room / name), project) and not os.path.isabs(name)
    yield _Named("encoder_from", name, folder, files, "", f"{ROOM}/{name}" if by_name else None)


def _fetched(values: Mapping[str, Any], project: Path) -> Iterator[_Named]:
    """Files of a public set, as the cache has them; the pod needs no network for them."""
    from moola.data.sources.public_sets import find_set

    public = find_set(values["data.name"])
    folder = _absolute(str(values["data.cache"]), project) / public.name
    cached = tuple(file.name for file in public.files if (folder / file.name).is_file())
    there = os.path.join(_cache_on_pod(values["data.cache"], project), public.name)
    yield _Named("data.cache", values["data.cache"], folder, cached, "", there)


def _cache_on_pod(cache: str, project: Path) -> str:
    place = _absolute(cache, project)
    return str(place.relative_to(project)) if place.is_relative_to(project) else _FETCHED


def _digest(named: _Named, name: str, problems: Problems) -> DataFile | None:
    """One file with its path relative to the base, or None with the problem told."""
    source = named.base / name
    try:
        size = source.stat().st_size
        return DataFile(name, source, digest_file(source), size, count_rows(source, header=named.header))
    except OSError as error:
        told = path_in_words(str(source))
        problems.say(f"{named.key}: {told} cannot be read: {error.strerror}", "give existing, readable files")
    except MoolaError as error:
        problems.say(f"{named.key}: {error.what} ({error.why})", error.way_out)
    return None


def _base_on_pod(named: _Named, files: Sequence[DataFile], project: Path) -> str:
    """Where the base lies below the project on the pod."""
    if named.base.is_relative_to(project):
        return str(named.base.relative_to(project))
    content = files[0].sha256
    if len(files) > 1 or not named.rest:
        lines = "\n".join(f"{file.path}:{file.sha256}" for file in files)
        content = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    folder = os.path.join(OUTSIDE, content[:_DIGEST_DIGITS])
    return folder if named.rest else os.path.join(folder, named.base.name)
