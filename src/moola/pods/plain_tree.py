"""The files of a folder that no git looks after, as its ``.gitignore`` files let them through."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from pathspec import GitIgnoreSpec

_NEVER = GitIgnoreSpec.from_lines([".git", "__pycache__/", "*.py[co]", ".venv/", ".hypothesis/", ".pytest_cache/"])
"""Left out where nobody wrote a ``.gitignore``; one that has ``!.venv/`` changes nothing."""


def list_plain_tree(folder: Path, besides: Collection[str] = ()) -> tuple[list[str], dict[str, str]]:
    """Names of files and links, and why each of the others is left out.

    Args:
        folder: of the project.
        besides: folders below it that are left alone and not named.
    """
    names: list[str] = []
    left_out: dict[str, str] = {}
    _walk(folder, "", [], set(besides), names, left_out)
    return names, left_out


def read_rules(path: Path) -> GitIgnoreSpec:
    """The rules of a file like ``.gitignore``; none where there is no file."""
    if not path.is_file():
        return GitIgnoreSpec.from_lines([])
    return GitIgnoreSpec.from_lines(path.read_text("utf-8", errors="surrogateescape").splitlines())


def _walk(
    folder: Path,
    below: str,
    rules: list[tuple[str, GitIgnoreSpec]],
    besides: set[str],
    names: list[str],
    left_out: dict[str, str],
) -> None:
    rules = [*rules, (below, read_rules(folder / ".gitignore"))]
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = below + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        shown = f"{name}/" if is_folder else name
        if name in besides:
            continue
        if _NEVER.match_file(entry.name + "/" * is_folder):
            left_out[shown] = "caches, environments and git's own files stay here"
        elif _is_ignored(shown, rules):
            left_out[shown] = ".gitignore"
        elif is_folder:
            _walk(folder / entry.name, f"{name}/", rules, besides, names, left_out)
        else:
            names.append(name)


def _is_ignored(name: str, rules: list[tuple[str, GitIgnoreSpec]]) -> bool:
    """The innermost file that says anything about a name decides, as with git."""
    for base, spec in reversed(rules):
        said = spec.check_file(name[len(base) :]).include
        if said is not None:
            return said
    return False
