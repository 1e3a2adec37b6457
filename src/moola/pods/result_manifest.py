"""A pod's list of results, believed only as far as it can do no harm here: names, kinds, sizes and numbers of files."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from moola.errors import StorageError
from moola.pods.remote.files import glob_rule
from moola.pods.wire import RemoteError

HALF = ".half"
"""Folder with files that have not come whole; the same pull goes on with them."""
_LONGEST_NAME, _LONGEST_PATH = 255, 1024
"""Bytes; what common file systems take."""
_UNSEEN = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""Signs that some disks leave out of names."""
_SHOWN = 20
"""Refused names that an error lists."""


@dataclass(frozen=True)
class PullLimits:
    """What a pod may send at most.

    Attributes:
        files: how many.
        file_bytes: of one.
        bytes: of all.
    """

    files: int = 100_000
    file_bytes: int = 64 * 1024**3
    bytes: int = 256 * 1024**3


@dataclass(frozen=True)
class ResultFile:
    """A file that a run wrote.

    Attributes:
        path: relative to the project on the pod, and to the folder here.
        sha256: of its content.
        size: bytes.
    """

    path: str
    sha256: str
    size: int


def checked_results(listing: Mapping[str, Any], wanted: Sequence[str], limits: PullLimits) -> list[ResultFile]:
    """The pod's manifest as far as it can be believed: sorted by path, nothing in it may harm this machine.

    Raises:
        StorageError: something in it is refused; every reason is given.
    """
    files, others = listing.get("files"), listing.get("others")
    if not isinstance(files, list) or not isinstance(others, list):
        raise RemoteError("broken", "the pod's list of results makes no sense", repr(listing)[:200])
    problems = [f"{_name(other)} is no regular file" for other in others]
    if len(files) + len(others) > limits.files:
        problems.append(f"there are more than {limits.files:,} files")
        files = []
    fits = glob_rule(wanted)
    found: list[ResultFile] = []
    for told in files:
        file = _described(told)
        why = "is not described as a file is" if file is None else _why_refused(file, limits)
        if file is None or why:
            problems.append(f"{_name(told)} {why}")
        elif not fits(file.path):
            problems.append(f"{_name(told)} was not asked for")
        else:
            found.append(file)
    if sum(file.size for file in found) > limits.bytes:
        problems.append(f"all files together have more than {limits.bytes:,} bytes")
    problems += _clashes([file.path for file in found])
    if problems:
        more = [f"and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
        raise StorageError(
            "the pod offers results that are refused; nothing was fetched",
            "\n".join(f"- {problem}" for problem in problems[:_SHOWN] + more),
            "look at the pod by hand, or ask for fewer files; a machine of yours does not do this by itself",
        )
    return sorted(found, key=lambda file: file.path)


def _described(told: Any) -> ResultFile | None:
    match told:
        case {"path": str(path), "sha256": str(sha256), "size": int(size)} if size >= 0 and not isinstance(size, bool):
            return ResultFile(path, sha256, size) if re.fullmatch("[0-9a-f]{64}", sha256) else None
        case _:
            return None


def _why_refused(file: ResultFile, limits: PullLimits) -> str:
    """Why a name or a size is refused; empty where it is not."""
    parts = file.path.split("/")
    if file.path.startswith("/"):
        return "is an absolute path"
    if any(part in ("", ".", "..") for part in parts) or "\0" in file.path:
        return "is not plainly below the folder"
    try:
        longest, length = max(len(os.fsencode(part)) for part in parts), len(os.fsencode(file.path))
    except UnicodeEncodeError:
        return "is no name that this machine could write"
    if longest > _LONGEST_NAME or length > _LONGEST_PATH:
        return "is too long a name"
    if _folded(parts[0]) == HALF:
        return "is a name that moola keeps for itself"
    if any(_folded(_UNSEEN.sub("", part)) == ".git" for part in parts):
        return "is a name that git obeys: its configuration names programs to run"
    if file.size > limits.file_bytes:
        return f"has {file.size:,} bytes, more than {limits.file_bytes:,}"
    return ""


def _clashes(paths: Sequence[str]) -> list[str]:
    """Names that are one on a disk that tells neither case nor Unicode forms apart, and files that are folders too."""
    problems: list[str] = []
    spelled: dict[str, str] = {}
    folders = {_folded(str(parent)) for path in paths for parent in PurePosixPath(path).parents}
    for path in paths:
        steps = [*(str(parent) for parent in PurePosixPath(path).parents if parent.name), path]
        other = next((spelled[_folded(step)] for step in steps if spelled.get(_folded(step), step) != step), None)
        if other is not None:
            problems.append(f"{path!r} and {other!r} are one name on some disks")
        elif _folded(path) in folders:
            problems.append(f"{path!r} is a file and a folder")
        elif _folded(path) in spelled:
            problems.append(f"{path!r} is there twice")
        for step in steps:
            spelled.setdefault(_folded(step), step)
    return problems


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _name(told: Any) -> str:
    """How a refused thing is called in a message, whatever signs it holds."""
    path = told.get("path") if isinstance(told, dict) else None
    return ascii(path)[:_LONGEST_NAME] if isinstance(path, str) else "something without a name"
