"""What git knows of a folder: its files, what it ignores, and which commit they are of."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from moola.errors import StorageError

_LINK_MODE = "160000"
"""Mode of a submodule in git's index."""


@dataclass(frozen=True)
class GitTree:
    """A folder of a work tree.

    Attributes:
        tracked: names in the index, relative to the folder, those of submodules among them.
        untracked: names that are neither in the index nor ignored; one that ends in ``/`` is a repository of its own.
        ignored: what git ignores; a folder ends in ``/`` and stands for all in it.
        commit: hex, or None before the first commit.
        branch: or None where HEAD is detached.
        dirty: whether the folder differs from the commit.
        absent: submodules that are not checked out.
        dirty_submodules: those whose files or commit are not the ones that the project's index names.
    """

    tracked: tuple[str, ...]
    untracked: tuple[str, ...]
    ignored: tuple[str, ...]
    commit: str | None
    branch: str | None
    dirty: bool
    absent: tuple[str, ...] = field(default=())
    dirty_submodules: tuple[str, ...] = field(default=())


def read_git_tree(folder: Path, not_asked: tuple[str, ...] = ()) -> GitTree | None:
    """Ask git about a folder; None where it is in no work tree, is ignored by the one it is in, or there is no git.

    Args:
        folder: of the project.
        not_asked: names below it whose changes do not count, such as what moola itself writes.

    Raises:
        StorageError: git finds a repository there and refuses to read it.
    """
    if not _is_work_tree(folder):
        return None
    tracked, submodules = _tracked(folder)
    present = [name for name in submodules if (folder / name / ".git").exists()]
    within = [f"{name}/{file}" for name in present for file in _files_of_submodule(folder / name)]
    elsewhere = [f":(exclude,literal){name}" for name in not_asked]
    changes = list(_changes(folder, elsewhere))
    return GitTree(
        tracked=(*tracked, *within),
        untracked=tuple(_names(folder, "ls-files", "-o", "--exclude-standard")),
        ignored=tuple(_names(folder, "ls-files", "-o", "-i", "--exclude-standard", "--directory")),
        commit=_line(folder, "rev-parse", "--verify", "--quiet", "HEAD"),
        branch=_line(folder, "symbolic-ref", "--quiet", "--short", "HEAD"),
        dirty=bool(changes),
        absent=tuple(name for name in submodules if name not in present),
        dirty_submodules=tuple(name for name, is_submodule in changes if is_submodule),
    )


def _is_work_tree(folder: Path) -> bool:
    try:
        asked = _git(folder, "rev-parse", "--is-inside-work-tree")
    except FileNotFoundError:
        if (folder / ".git").exists():
            way_out = "install git, so that moola knows which files are ignored"
            raise StorageError(f"{folder} is a git repository, and there is no git", "", way_out) from None
        return False
    if asked.returncode == 0:
        ignored_by_outer = _git(folder, "check-ignore", "--quiet", ".").returncode == 0
        return asked.stdout.strip() == b"true" and not ignored_by_outer
    why = os.fsdecode(asked.stderr).strip()
    if "not a git repository" in why:
        return False
    raise StorageError(f"git refuses to read {folder}", why, "mend what git names; `git status` has to work there")


def _tracked(folder: Path) -> tuple[list[str], list[str]]:
    """Files of the index, and submodules."""
    files: dict[str, None] = {}
    submodules: dict[str, None] = {}
    for entry in _names(folder, "ls-files", "--stage"):
        head, _, name = entry.partition("\t")
        (submodules if head.startswith(_LINK_MODE) else files)[name] = None  # a conflict lists a name three times
    return list(files), list(submodules)


def _files_of_submodule(folder: Path) -> list[str]:
    tracked, nested = _tracked(folder)
    present = [name for name in nested if (folder / name / ".git").exists()]
    return [*tracked, *(f"{name}/{file}" for name in present for file in _files_of_submodule(folder / name))]


def _changes(folder: Path, elsewhere: list[str]) -> Iterator[tuple[str, bool]]:
    """Name of each change, and whether it is one of a submodule; untracked files are changes."""
    entries = iter(_names(folder, "status", "--porcelain=v2", "--ignore-submodules=none", "--", ".", *elsewhere))
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        if kind == "2":
            next(entries, None)  # the name before a renaming
        words_before_name = {"1": 7, "2": 8, "u": 9}.get(kind, 0)
        *head, name = rest.split(" ", words_before_name)
        yield name, len(head) > 1 and head[1].startswith("S")


def _names(folder: Path, command: str, *words: str) -> list[str]:
    """The null-terminated answers of a git command.

    Raises:
        StorageError: git fails.
    """
    done = _git(folder, command, "-z", *words)
    if done.returncode:
        why = os.fsdecode(done.stderr).strip()
        raise StorageError(f"git {command} fails in {folder}", why, "mend what git names")
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


def _line(folder: Path, *words: str) -> str | None:
    done = _git(folder, *words)
    return os.fsdecode(done.stdout).strip() if done.returncode == 0 else None


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run git on the repository of this folder, whatever a hook or a shell that calls moola has set."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *words]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
