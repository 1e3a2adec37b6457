"""Which files of a project travel: HEAD with all changes, untracked files that nothing ignores, less ``.moolaignore``.

Without git, every file that ``.gitignore`` and ``.moolaignore`` let through. Data travels only where the configuration
names it (`moola.pods.outside_files`), and what moola writes stays.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moola.data.sources.problems import Problems
from moola.layout import Layout
from moola.pods.bundle import OWN_FOLDER, path_in_words
from moola.pods.git_tree import GitTree, read_git_tree
from moola.pods.plain_tree import list_plain_tree, read_rules

IGNORE_FILE = ".moolaignore"
"""Rules like those of ``.gitignore``, at the top of the project, for files that git keeps and a pod does not need."""
_STAYS = "of moola's folders, what the configuration names travels"
_FOLDER_LINK = "a link to a folder of which nothing travels"
_MEND_LINK = f"name it in {IGNORE_FILE}, or put the file itself into the project"


@dataclass
class ProjectFiles:
    """What of a project travels.

    Attributes:
        files: name, relative to the project -> where its content is; another place only behind a link.
        left_out: name -> why it stays. A folder ends in ``/`` and stands for all in it.
        git: ``commit``, ``branch`` and ``dirty``; None without git.
    """

    files: dict[str, Path] = field(default_factory=dict[str, Path])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    git: dict[str, Any] | None = None


def list_project(project: Path, layout: Layout, problems: Problems) -> ProjectFiles:
    """List the files of a project.

    Args:
        project: its folder; a git work tree, a folder in one, or any other.
        layout: the folders that moola writes.
        problems: takes what must not be packed: links that lead out or nowhere, submodules with changes.

    Raises:
        StorageError: git refuses to read the repository, or a folder cannot be read.
    """
    written = _below(project, (layout.artifacts, project / OWN_FOLDER))
    data = _below(project, (layout.data,))
    found = ProjectFiles(left_out={f"{name}/": _STAYS for name in (*data, *written) if (project / name).exists()})
    tree = read_git_tree(project, (*data, *written))
    if tree is None:
        names, ignored = list_plain_tree(project, (*data, *written))
        found.left_out |= ignored
    else:
        found.git = {"commit": tree.commit, "branch": tree.branch, "dirty": tree.dirty}
        names = [name for name in tree.tracked if not _is_in(name, written)]
        names += [name for name in tree.untracked if not _is_in(name, (*data, *written)) and not name.endswith("/")]
        found.left_out |= _left_out_by_git(tree, (*data, *written))
        for name in tree.dirty_submodules:
            problems.say(
                f"the submodule {path_in_words(name)} has changes, or another commit than the project names",
                "commit in the submodule, then `git add` it in the project",
            )
    rules = read_rules(project / IGNORE_FILE)
    for name in sorted(names):
        if rules.match_file(name):
            found.left_out[name] = IGNORE_FILE
        else:
            _add(project, name, found, problems)
    _follow_folder_links(project, found)
    return found


def _below(project: Path, places: Iterable[Path]) -> list[str]:
    """Those of the places that lie below the project, relative to it."""
    return [str(place.relative_to(project)) for place in places if place != project and place.is_relative_to(project)]


def _is_in(name: str, folders: Iterable[str]) -> bool:
    """Whether a name is one of the folders (as a link may be) or lies in one."""
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def _left_out_by_git(tree: GitTree, own: Iterable[str]) -> dict[str, str]:
    told = dict.fromkeys((name for name in tree.ignored if not _is_in(name.rstrip("/"), own)), ".gitignore")
    told |= {f"{name}/": "a submodule that is not checked out" for name in tree.absent}
    nested = [name for name in tree.untracked if name.endswith("/")]
    return told | dict.fromkeys(nested, "a git repository of its own, no submodule of this one")


def _add(project: Path, name: str, found: ProjectFiles, problems: Problems) -> None:
    """Put one file into what was found, or say why it is not."""
    path = project / name
    try:
        mode = path.lstat().st_mode
        real = Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        if path.is_symlink():
            problems.say(f"{path_in_words(name)} is a link to nothing", _MEND_LINK)
        return  # deleted, which is a change as others are
    except OSError as error:
        problems.say(f"{path_in_words(name)} cannot be read: {error.strerror}", _MEND_LINK)
        return
    if not real.is_relative_to(os.path.realpath(project)):
        problems.say(f"{path_in_words(name)} is a link that leads out of the project, to {real}", _MEND_LINK)
    elif real.is_file():
        found.files[name] = real if stat.S_ISLNK(mode) else path
    elif not real.is_dir():
        found.left_out[name] = "no regular file"
    elif stat.S_ISLNK(mode):
        found.left_out[name] = _FOLDER_LINK


def _follow_folder_links(project: Path, found: ProjectFiles) -> None:
    """Behind a link to a folder, the files that travel from that folder travel under the link's name too."""
    plain = [(name, path, os.path.realpath(path)) for name, path in found.files.items() if not path.is_symlink()]
    for link in [name for name, why in found.left_out.items() if why == _FOLDER_LINK]:
        folder = os.path.realpath(project / link)
        behind = {
            f"{link}/{os.path.relpath(real, folder)}": path
            for _, path, real in plain
            if os.path.commonpath([real, folder]) == folder
        }
        if behind:
            found.files |= behind
            del found.left_out[link]
