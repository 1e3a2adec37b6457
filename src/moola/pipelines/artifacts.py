"""Content-addressed results of stages: a folder, whole or absent, with a manifest that says what it is worth."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import moola
from moola.config import digest_json
from moola.errors import StorageError
from moola.layout import Layout, digest_file, read_json, remove_torn_files, replace_folder, write_json
from moola.pipelines.events import now
from moola.pipelines.spent import Spent

_PACKAGES = (
    "aeon",
    "arch",
    "cleanlab",
    "mapie",
    "numba",
    "numpy",
    "polars",
    "pytorch-lightning",
    "scikit-learn",
    "scipy",
    "skops",
    "torch",
    "xgboost-cpu",
)


@dataclass(frozen=True)
class Artifact:
    """What a stage left.

    Attributes:
        stage: name of the stage.
        key: digest of what it was made from.
        digest: digest of what is in it.
        folder: where its files are.
        manifest: files with their SHA-256, config, lineage, code, versions, times.
    """

    stage: str
    key: str
    digest: str
    folder: Path
    manifest: Mapping[str, Any]

    def path(self, name: str) -> Path:
        """A file of the artifact.

        Raises:
            StorageError: it has no such file.
        """
        if name not in self.manifest["files"]:
            raise StorageError(
                f"the artifact of stage '{self.stage}' has no file {name}",
                f"it has {', '.join(self.manifest['files'])}",
                f"run the stage again with --force={self.stage}",
            )
        return self.folder / name

    def narrowed(self, names: Sequence[str]) -> Artifact:
        """The same artifact as if it held these files alone; its digest is theirs.

        Raises:
            StorageError: it has no such file.
        """
        for name in names:
            self.path(name)
        files = {name: self.manifest["files"][name] for name in names}
        return dataclasses.replace(self, digest=digest_json(files), manifest={**self.manifest, "files": files})


@dataclass(frozen=True)
class Recipe:
    """What an artifact is made from; its digest is the key.

    Attributes:
        stage: name of the stage.
        room: folder of the layout it belongs to.
        config: the stage's own configuration.
        inputs: digests of the artifacts it reads, by what they provide.
        code: digest of the source it depends on.
        outside: digest of what it reads from outside moola.
    """

    stage: str
    room: str
    config: Any
    inputs: Mapping[str, str]
    code: str
    outside: str

    @property
    def key(self) -> str:
        """SHA-256 of all of it."""
        return digest_json({k: v for k, v in vars(self).items() if k != "room"})


class ArtifactStore:
    """Finds and builds artifacts below a layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def folder(self, recipe: Recipe) -> Path:
        """Where the artifact of a recipe is, or will be."""
        return self.layout.room(recipe.room) / f"{recipe.stage}-{recipe.key[:16]}"

    def building(self, recipe: Recipe) -> Path:
        """Where the artifact of a recipe is while it is made."""
        final = self.folder(recipe)
        return final.with_name(f".{final.name}.building")

    def find(self, recipe: Recipe) -> Artifact | None:
        """The finished artifact, checked file by file, or None.

        Raises:
            StorageError: a file is missing or is not what was written, or the manifest was edited.
        """
        folder = self.folder(recipe)
        if not (folder / "manifest.json").exists():
            return None
        manifest = read_json(folder / "manifest.json")
        if edited := _edited(manifest, recipe):
            problems = [f"- manifest.json: {edited}"]
        else:
            changed = [name for name, digest in manifest["files"].items() if not _is_file(folder / name, digest)]
            problems = [f"- {name}: {_what_is_wrong(folder / name)}" for name in changed]
        if problems:
            raise StorageError(
                f"the artifact {folder} was changed since it was written",
                "\n".join(problems),
                f"make it again with --force={recipe.stage}, or put the files back",
            )
        return Artifact(recipe.stage, manifest["key"], manifest["digest"], folder, manifest)

    @contextlib.contextmanager
    def lock(self, recipe: Recipe, on_wait: Callable[[], None]) -> Iterator[None]:
        """Let one process at a time build an artifact; `on_wait` is called when another one is at it."""
        folder = self.folder(recipe)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f".{folder.name}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def build(self, recipe: Recipe, run: Callable[[Path, Callable[[], None]], None]) -> Artifact:
        """Let `run` fill a folder, then publish it under its key in one step.

        A folder left by a crash is handed to `run` again, so that it can go on from what it finds there. Files below
        ``resume/`` are working state and are not published. Time and energy are those of all attempts; one that was
        killed counts until it last called what `run` gets besides the folder.
        """
        final, building = self.folder(recipe), self.building(recipe)
        building.mkdir(parents=True, exist_ok=True)
        remove_torn_files(building)
        started, spent = now(), Spent(building / "resume" / "spent.json")
        try:
            run(building, spent.keep)
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk must not hide the error that it caused
                spent.keep()
            raise
        shutil.rmtree(building / "resume", ignore_errors=True)
        files = {
            str(path.relative_to(building)): digest_file(path) for path in sorted(building.rglob("*")) if path.is_file()
        }
        files.pop("manifest.json", None)
        manifest = {
            "stage": recipe.stage,
            "key": recipe.key,
            "digest": digest_json(files),
            "files": files,
            "config": recipe.config,
            "inputs": dict(recipe.inputs),
            "outside": recipe.outside,
            "code": {"digest": recipe.code, **git_state(), "moola": moola.__version__},
            "versions": versions(),
            "started": started,
            **spent.total(),
        }
        write_json(building / "manifest.json", manifest)
        replace_folder(building, final)
        return Artifact(recipe.stage, recipe.key, manifest["digest"], final, manifest)

    def discard(self, recipe: Recipe) -> None:
        """Forget what a crash left, so that the next build starts from nothing."""
        shutil.rmtree(self.building(recipe), ignore_errors=True)


def git_state() -> dict[str, Any]:
    """Commit of the source and whether it was changed since; nulls where moola does not run from a repository."""
    here = Path(moola.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"git_commit": None, "git_dirty": None}
    status = git("status", "--porcelain")
    return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": None if status is None else bool(status)}


def versions() -> dict[str, str]:
    """Python and the packages whose version can change a figure, as far as they are installed."""
    found = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _edited(manifest: Any, recipe: Recipe) -> str:
    """What shows that a manifest was changed by hand; empty where nothing does."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return "it lists no files"
    if manifest.get("key") != recipe.key:
        return "its key is that of another configuration"
    return "" if manifest.get("digest") == digest_json(manifest["files"]) else "its digest is not that of its files"


def _what_is_wrong(path: Path) -> str:
    return "not what the manifest says" if path.is_file() else "is missing"


def _is_file(path: Path, digest: str) -> bool:
    return path.is_file() and digest_file(path) == digest
